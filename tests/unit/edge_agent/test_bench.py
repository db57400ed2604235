"""The bare loop of ``edge-agent bench``, beside which the daemon is measured."""

from __future__ import annotations

import pytest

from edge_agent.bench.bare import run_bare
from edge_agent.bench.whole import Plant
from edge_agent.engine.tuning.candidates import Candidate
from edge_agent.settings import SettingsError
from tests.broker import free_port
from tests.bundles import make_bundle, make_image

pytestmark = pytest.mark.slow

CANDIDATE = Candidate("fp32", "cpu", 1, 1)


def test_an_image_that_is_too_large_is_told_and_judged_where_it_is_asked_for(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    image = tmp_path / "a.png"
    image.write_bytes(make_image(defect=False))
    with pytest.raises(SettingsError, match=r"a\.png: 64 x 96 pixels .* limit of 6143: raise it"):
        run_bare(bundle, CANDIDATE, [image], 1, max_pixels=6143)
    assert run_bare(bundle, CANDIDATE, [image], 1, max_pixels=6144).milliseconds.keys() == {
        str(image)
    }


def test_an_image_that_is_gone_is_told(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    (tmp_path / "a.png").symlink_to("nowhere")
    with pytest.raises(SettingsError, match=r"a\.png can't be read: No such file or directory$"):
        run_bare(bundle, CANDIDATE, [tmp_path / "a.png"], 1)


def test_a_broker_that_is_not_there_is_told(tmp_path):
    where = ("127.0.0.1", free_port())
    with pytest.raises(SettingsError, match=r"can't be reached \(Connection refused\)"):
        Plant(tmp_path, tmp_path / "bundle", CANDIDATE, where)
