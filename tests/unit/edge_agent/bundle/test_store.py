"""A bundle is written whole or not at all, and opened whole or refused with the reason."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.bundle import BundleError, Manifest, open_bundle, read_manifest, write_bundle
from tests.bundles import make_bundle, make_image, make_manifest, make_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle").path


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of a bundle on disk, as nobody should."""
    file = path / "manifest.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_was_written_is_opened(path):
    bundle = open_bundle(path)

    assert bundle.manifest == make_manifest(make_model())[0]
    assert bundle.variant("fp32").file == "model.fp32.onnx"
    assert bundle.read(bundle.manifest.golden[0]) == make_image(defect=False)
    assert sorted(p.name for p in path.parent.iterdir()) == ["bundle"]


def test_a_manifest_comes_back_the_same_from_its_json():
    manifest, _ = make_manifest(make_model(), notice="for trying only: “ü”")

    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_a_variant_that_there_is_not(path):
    with pytest.raises(BundleError, match="has no variant 'int8'; it has: fp32"):
        open_bundle(path).variant("int8")


# -- the manifest ----------------------------------------------------------------------------


def test_no_such_directory(tmp_path):
    assert "does not exist: give the folder that `trainer train` wrote" in refusal(tmp_path / "x")


def test_no_manifest(path):
    (path / "manifest.json").unlink()
    assert "has no manifest.json" in refusal(path)


def test_a_file_instead_of_a_directory(path):
    assert "can't be read: Not a directory" in refusal(path / "manifest.json")


def test_a_directory_instead_of_a_manifest(path):
    (path / "manifest.json").unlink()
    (path / "manifest.json").mkdir()
    assert "can't be read: Is a directory" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"not JSON", b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 100_000, b'{"a": NaN}'],
    ids=["empty", "cut", "words", "UTF-16", "deep list", "deep object", "NaN"],
)
def test_a_manifest_that_is_not_json(path, content):
    (path / "manifest.json").write_bytes(content)
    assert "manifest.json is not JSON: " in refusal(path)


def test_a_manifest_that_is_no_object(path):
    (path / "manifest.json").write_text("[1, 2]")
    assert "must hold a JSON object" in refusal(path)


def test_a_manifest_that_would_fill_the_memory(path):
    with (path / "manifest.json").open("wb") as stream:
        stream.truncate(1 << 40)
    assert "is larger than a manifest can be" in refusal(path)


@pytest.mark.parametrize("place", [(), ("preprocess",), ("variants", 0), ("golden", 1)])
def test_an_unknown_field_is_named_with_its_place(path, place):
    def change(content):
        for step in place:
            content = content[step]
        content["surprise"] = 1

    rewrite(path, change)

    assert f"unknown field {'.'.join(map(str, (*place, 'surprise')))}" in refusal(path)


def test_a_newer_format_is_refused_as_such_whatever_else_it_holds(path):
    rewrite(path, lambda content: content.update(format=2, novelty=True))

    assert "is of format 2, this program reads format 1: upgrade edge-inspect" in refusal(path)


@pytest.mark.parametrize("found", [None, True, "1", 1.5])
def test_a_format_that_is_no_format(path, found):
    rewrite(path, lambda content: content.update(format=found))

    assert "states no format" in refusal(path)


def test_no_format(path):
    rewrite(path, lambda content: content.pop("format"))

    assert "states no format" in refusal(path)


@pytest.mark.parametrize("field", ["name", "decision", "variants", "golden", "reference"])
def test_a_missing_field_is_named(path, field):
    rewrite(path, lambda content: content.pop(field))

    assert f"{field}: Field required" in refusal(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["decision"].update(threshold=1.5), "decision.threshold: "),
        (lambda c: c["decision"].update(review=[0.6, 0.7]), "must enclose 0.5"),
        (lambda c: c["decision"].update(review=[0.9, 0.1]), "must enclose 0.5"),
        (lambda c: c["preprocess"].update(width=0), "preprocess.width: "),
        (lambda c: c["preprocess"].update(fit="squeeze"), "preprocess.fit: "),
        (lambda c: c["variants"].clear(), "variants: "),
        (lambda c: c["golden"].clear(), "golden: "),
        (lambda c: c["golden"][0].update(tolerance=0.0), "golden.0.tolerance: "),
        (lambda c: c["golden"][0]["scores"].update(fp32=1.1), "golden.0.scores.fp32: "),
        (lambda c: c["golden"][0].update(scores={"int8": 0.0}), "expected scores for ['int8']"),
        (lambda c: c["golden"][0]["scores"].update(int8=0.0), "the variants are ['fp32']"),
        (lambda c: c["variants"].append(c["variants"][0]), "two variants share a name"),
        (lambda c: c["variants"][0].update(sha256="ab"), "variants.0.sha256: "),
        (lambda c: c.update(version="new"), "version: "),
        (lambda c: c.update(name="../../etc"), "name: "),
        (lambda c: c["reference"]["score"].update(counts=[1, 2]), "one more edge than counts"),
        # Drift would be divided by them, in the middle of the line's work.
        (lambda c: c["reference"]["score"].update(edges=[0, 1], counts=[0]), "at least one value"),
        (lambda c: c["reference"]["score"].update(edges=[0], counts=[]), "at least one value"),
        (lambda c: c["reference"]["score"].update(edges=[0, 1, 2], counts=[2, -1]), "at least one"),
        (
            lambda c: c["reference"]["score"].update(edges=[0, 0, 1], counts=[1, 1]),
            "the edges of a histogram rise",
        ),
    ],
)
def test_a_value_that_makes_no_sense_is_named(path, change, said):
    rewrite(path, change)

    assert said in refusal(path)


@pytest.mark.parametrize(
    "name",
    [
        "../model.onnx", "/etc/passwd", "golden/../../x", "./model.onnx", "a//b", "a/", "",
        ".hidden", "golden/.hidden", "a\\b", "model\n.onnx", "model.onnx\n", "ü.onnx", "~/x",
    ],
)  # fmt: skip
def test_a_path_that_could_leave_the_bundle(path, name):
    rewrite(path, lambda content: content["variants"][0].update(file=name))

    assert "is not a plain path inside the bundle" in refusal(path)


# -- the files -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.fp32.onnx", "golden/ok.png"])
def test_a_missing_file(path, name):
    (path / name).unlink()

    assert f"{name} is missing: copy the whole bundle again" in refusal(path)


def test_a_directory_or_a_pipe_instead_of_a_file(path):
    (path / "golden/ok.png").unlink()
    os.mkfifo(path / "golden/ok.png")

    assert "golden/ok.png is missing" in refusal(path)


@pytest.mark.parametrize("name", ["model.fp32.onnx", "golden/ok.png"])
def test_one_flipped_bit(path, name):
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes(content)

    said = refusal(path)

    assert f"{name} was changed or damaged: its sha256 is" in said
    assert "Copy the whole bundle again" in said


def test_a_model_that_was_not_copied_whole(path):
    file = path / "model.fp32.onnx"
    file.write_bytes(file.read_bytes()[:100])

    assert "model.fp32.onnx has 100 bytes, the manifest says" in refusal(path)


def test_a_link_that_leads_outside(path, tmp_path):
    outside = tmp_path / "outside.onnx"
    (path / "model.fp32.onnx").rename(outside)
    (path / "model.fp32.onnx").symlink_to(outside)

    assert "leads outside the bundle: a link to " in refusal(path)


def test_a_directory_that_leads_outside(path, tmp_path):
    (path / "golden").rename(tmp_path / "elsewhere")
    (path / "golden").symlink_to(tmp_path / "elsewhere")

    assert "leads outside the bundle" in refusal(path)


def test_a_link_to_itself(path):
    (path / "golden/ok.png").unlink()
    (path / "golden/ok.png").symlink_to("ok.png")

    assert "golden/ok.png" in refusal(path)


def test_a_link_that_stays_inside_is_a_file_like_any_other(path):
    (path / "golden/ok.png").rename(path / "golden/real.png")
    (path / "golden/ok.png").symlink_to("real.png")

    assert open_bundle(path).manifest.name == "dark"


def test_a_bundle_behind_a_link_is_opened(path, tmp_path):
    (tmp_path / "current").symlink_to("bundle")

    assert open_bundle(tmp_path / "current").manifest.name == "dark"


def test_a_file_that_may_not_be_read(unprivileged):
    path = make_bundle(unprivileged / "bundle").path
    (path / "model.fp32.onnx").chmod(0)

    assert "model.fp32.onnx can't be read: Permission denied" in refusal(path)


def test_without_graphs_the_hashes_are_still_checked(path):
    (path / "model.fp32.onnx").write_bytes(b"other")

    with pytest.raises(BundleError, match="bytes, the manifest says"):
        open_bundle(path, graphs=False)


def test_the_manifest_alone_can_be_read(path):
    (path / "model.fp32.onnx").unlink()

    assert read_manifest(path).name == "dark"


# -- writing ---------------------------------------------------------------------------------


def test_a_bundle_is_never_written_over(path):
    manifest, files = make_manifest(make_model())
    before = (path / "manifest.json").read_bytes()

    with pytest.raises(BundleError, match="exists: a bundle is never changed"):
        write_bundle(path, manifest, files)

    assert (path / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("lost", ["model.fp32.onnx", "golden/ok.png"])
def test_what_does_not_verify_leaves_nothing(tmp_path, lost):
    manifest, files = make_manifest(make_model())
    del files[lost]

    with pytest.raises(BundleError, match="is missing"):
        write_bundle(tmp_path / "new/bundle", manifest, files)

    assert list((tmp_path / "new").iterdir()) == []


def test_a_copy_that_fails_leaves_nothing(tmp_path):
    manifest, files = make_manifest(make_model())

    with pytest.raises(FileNotFoundError):
        write_bundle(tmp_path / "bundle", manifest, {**files, "golden/ok.png": tmp_path / "none"})

    assert list(tmp_path.iterdir()) == []


def test_killed_in_the_middle_there_is_no_bundle_and_the_next_write_succeeds(tmp_path):
    # The last file is a pipe that nobody writes to: the writer stands in the middle, for ever.
    os.mkfifo(tmp_path / "pipe")
    program = """if True:
        import sys
        from pathlib import Path
        from edge_agent.bundle import write_bundle
        from tests.bundles import make_manifest, make_model
        manifest, files = make_manifest(make_model())
        here = Path(sys.argv[1])
        last = files.popitem()[0]
        write_bundle(here / "bundle", manifest, {**files, last: here / "pipe"})
    """
    writer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".bundle.*/golden/ok.png")):
            assert writer.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()

    assert not (tmp_path / "bundle").exists()
    assert make_bundle(tmp_path / "bundle").manifest == open_bundle(tmp_path / "bundle").manifest
