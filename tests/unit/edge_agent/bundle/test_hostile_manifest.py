"""A manifest from anywhere: it is taken whole, or refused in words. It never leads outside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.bundle import BundleError, open_bundle, read_manifest
from tests.bundles import make_bundle, make_manifest, make_model

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = json.loads(make_manifest(make_model())[0].model_dump_json())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def places(content: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in a JSON object."""
    steps = content.items() if isinstance(content, dict) else enumerate(content)
    found = []
    for step, value in steps:
        found.append((*way, step))
        if isinstance(value, dict | list):
            found += places(value, (*way, step))
    return found


def put(content: Any, way: tuple[Any, ...], value: Any) -> None:
    for step in way[:-1]:
        content = content[step]
    content[way[-1]] = value


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    place = tmp_path_factory.mktemp("manifest")

    def from_bytes(raw: bytes):
        (place / "manifest.json").write_bytes(raw)
        return read_manifest(place)

    return from_bytes


@settings(max_examples=150)
@given(way=st.sampled_from(places(WHOLE)), value=JSON)
def test_any_value_in_any_place(read, way, value):
    content = json.loads(json.dumps(WHOLE))
    put(content, way, value)
    taken_or_refused(read, json.dumps(content).encode())


@settings(max_examples=150)
@given(
    raw=st.binary(max_size=200)
    | JSON.map(lambda v: json.dumps(v).encode())
    | st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=4)).map(
        lambda edit: (
            json.dumps(WHOLE).encode()[: edit[0]]
            + edit[1]
            + json.dumps(WHOLE).encode()[edit[0] + len(edit[1]) :]
        )
    )
)
def test_any_bytes(read, raw):
    taken_or_refused(read, raw)


def taken_or_refused(read, raw: bytes) -> None:
    try:
        read(raw)
    except BundleError as refusal:
        reason = str(refusal)
    else:
        return
    assert "manifest.json" in reason


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "/etc/passwd",
        "golden/../../secret",
        "a\0b",
        "..",
        ".hidden",
        "a//b",
        "C:\\x",
        "",
    ],
)
@pytest.mark.parametrize("way", [("variants", 0, "file"), ("golden", 0, "file")])
def test_a_path_that_leads_outside_is_refused_before_it_is_looked_at(read, name, way):
    content = json.loads(json.dumps(WHOLE))
    put(content, way, name)

    with pytest.raises(BundleError, match="is not a plain path inside the bundle"):
        read(json.dumps(content).encode())


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (("name",), "name: must be 1 to 64 of the letters"),
        (("version",), "version: must be three numbers with dots between, such as 1.2.0"),
        (("variants", 0, "name"), "variants.0.name: must be of the letters a to z"),
        (("golden", 0, "sha256"), "golden.0.sha256: must be a SHA-256"),
    ],
)
def test_the_form_of_a_field_is_asked_for_in_words(read, way, said):
    content = json.loads(json.dumps(WHOLE))
    put(content, way, "~")

    with pytest.raises(BundleError) as caught:
        read(json.dumps(content).encode())
    assert f"manifest.json: {said}" in str(caught.value)
    assert "^" not in str(caught.value)


@pytest.mark.parametrize("file", ["model.fp32.onnx", "golden/ok.png"])
def test_a_link_that_leads_outside_is_refused(tmp_path: Path, file):
    bundle = make_bundle(tmp_path / "bundle")
    outside = tmp_path / "outside"
    (bundle.path / file).rename(outside)
    (bundle.path / file).symlink_to(outside)

    with pytest.raises(BundleError):
        open_bundle(bundle.path)
