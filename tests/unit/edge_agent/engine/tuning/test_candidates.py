"""Every variant on every target, in layouts that fit the machine; what is given stands."""

from __future__ import annotations

import pytest

from edge_agent.engine.tuning.candidates import Candidate, list_candidates


def layouts(bundle, cores, target="cpu", **given):
    found = list_candidates(bundle.manifest, [target], cores, variant="fp32", **given)
    assert all((one.variant, one.provider) == ("fp32", target) for one in found)
    return [(one.workers, one.threads) for one in found]


def test_auto_is_every_variant_on_every_target(bundle):
    found = list_candidates(bundle.manifest, ["cpu", "openvino:CPU"], 2)

    assert {(one.variant, one.provider) for one in found} == {
        ("fp32", "cpu"),
        ("int8", "cpu"),
        ("fp32", "openvino:CPU"),
        ("int8", "openvino:CPU"),
    }


@pytest.mark.parametrize(
    ("cores", "given", "expected"),
    [
        (1, {}, [(1, 1)]),
        (2, {}, [(1, 2), (2, 1)]),
        (8, {}, [(1, 8), (4, 2), (8, 1)]),
        (8, {"workers": 3}, [(3, 2)]),
        (
            16,
            {"fit": 3},
            [(1, 16), (3, 5)],
        ),  # where sixteen would be killed, and all else with them
        (16, {"fit": 1}, [(1, 16)]),
        (2, {"fit": 99}, [(1, 2), (2, 1)]),
        (8, {"workers": 3, "fit": 1}, [(3, 2)]),
        (2, {"workers": 5}, [(5, 1)]),
        (8, {"threads": 2}, [(1, 2), (4, 2)]),
        (2, {"threads": 4}, [(1, 4)]),
        (2, {"workers": 5, "threads": 7}, [(5, 7)]),
    ],
)
def test_layouts_on_a_cpu(bundle, cores, given, expected):
    assert layouts(bundle, cores, **given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [(1, 1), (2, 1)]),
        ({"fit": 1}, [(1, 1)]),
        ({"workers": 4}, [(4, 1)]),
        ({"threads": 3}, [(1, 3), (2, 3)]),
    ],
)
def test_layouts_on_a_device(bundle, given, expected):
    assert layouts(bundle, 8, "openvino:NPU", **given) == expected


def test_fp16_is_not_for_a_cpu_unless_it_is_asked_for(bundle):
    int8 = bundle.manifest.variants[1]
    fp16 = int8.model_copy(update={"name": "fp16", "precision": "fp16"})
    manifest = bundle.manifest.model_copy(update={"variants": (fp16,)})

    assert list_candidates(manifest, ["cpu", "openvino:CPU"], 2) == []
    assert list_candidates(manifest, ["cuda"], 2)[0] == Candidate("fp16", "cuda", 1, 1)
    assert len(list_candidates(manifest, ["cpu"], 2, variant="fp16")) == 2
