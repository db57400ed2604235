"""The bare loop of ``edge-agent bench``, beside which the daemon is measured."""

from __future__ import annotations

import pytest

from edge_agent.bench.bare import run_bare
from edge_agent.settings import SettingsError
from edge_agent.tuning.candidates import Candidate
from tests.bundles import make_bundle, make_image


def test_an_image_that_is_too_large_is_told_and_judged_where_it_is_asked_for(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    image = tmp_path / "a.png"
    image.write_bytes(make_image(defect=False))
    candidate = Candidate("fp32", "cpu", 1, 1)
    with pytest.raises(SettingsError, match=r"a\.png: 64 x 96 pixels .* limit of 6143: raise it"):
        run_bare(bundle, candidate, [image], 1, max_pixels=6143)
    assert run_bare(bundle, candidate, [image], 1, max_pixels=6144).milliseconds.keys() == {
        str(image)
    }
