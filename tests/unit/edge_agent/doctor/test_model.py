"""What is said of the station's bundle, beside whether it is whole and right."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edge_agent import reload
from edge_agent.bundle import look_at_bundle
from edge_agent.bundle.history import remember
from edge_agent.doctor import model
from tests.bundles import EXPECTS, make_bundle


@pytest.fixture
def brackets(tmp_path):
    return make_bundle(tmp_path / "brackets", name="brackets", expects=EXPECTS)


@pytest.fixture
def look(monkeypatch, make_settings, brackets):
    """The findings for these settings; nothing is verified, and no worker started."""
    ready = SimpleNamespace(provider="CPUExecutionProvider", device="CPU", golden_error=0.0)
    monkeypatch.setattr(reload, "verify_apart", lambda place, _: look_at_bundle(place))
    monkeypatch.setattr(model, "prove_apart", lambda *_: ready)

    def look_at(more=""):
        made = make_settings(more, bundle=brackets.path)
        return made, {one.what: one for one in model.look_at_bundle(made)}

    return look_at


def test_the_threshold_is_told_with_what_judges(look, brackets):
    _, found = look()
    assert found[f"{brackets.title}, threshold 0.5000"].level == "ok"
    assert all(one.level == "ok" for one in found.values())


def test_a_threshold_that_is_another_bundles_is_an_error(look, brackets):
    _, found = look(f'[decision]\nthreshold = 0.34\nbundle = "{"0" * 12}"')
    (error,) = (one for one in found.values() if one.level == "error")
    assert f'write bundle = "{brackets.digest[:12]}" into [decision]' in error.what
    assert "bundle show" in error.mend


def test_that_another_product_comes_next_is_a_warning(look, brackets, tmp_path):
    settings, _ = look()
    settings.storage.root.mkdir(exist_ok=True)
    lids = make_bundle(tmp_path / "lids", name="lids")
    remember(settings.storage.bundles, lids, lids.path, chosen=False)

    _, found = look()

    (warning,) = (one for one in found.values() if one.level == "warning")
    assert warning.what == (
        f"lids ran here last; the next start or reload switches to {brackets.title}"
    )
