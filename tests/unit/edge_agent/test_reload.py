"""An order that changes over to another product says so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_agent.bundle import Bundle, BundleError
from edge_agent.engine.orders import Order
from edge_agent.reload import check_name
from tests.bundles import make_manifest, make_model

MODEL = make_model()


def bundle(name: str, digit: str) -> Bundle:
    return Bundle(Path(f"/shelf/{name}-dir"), make_manifest(MODEL, name=name)[0], digit * 64)


RUNS, OTHER = bundle("brackets", "a"), bundle("housings", "b")


def order(activate: str | None, name: str | None = None) -> Order:
    return Order(activate, SimpleNamespace(), name)


def test_what_is_called_alike_needs_no_name():
    check_name(None, OTHER, RUNS)  # no order: it is what station.toml says
    check_name(order("x"), RUNS, RUNS)
    check_name(order(None), RUNS, RUNS)
    check_name(order("x", "brackets"), RUNS, RUNS)


def test_another_name_has_to_be_said():
    check_name(order("x", "housings"), OTHER, RUNS)
    check_name(order(None, "housings"), OTHER, RUNS)
    with pytest.raises(BundleError) as caught:
        check_name(order("x"), OTHER, RUNS)
    assert str(caught.value) == (
        "housings 1.0.0 (bbbbbbbbbbbb) has another name than brackets 1.0.0 (aaaaaaaaaaaa), which "
        "is running: to switch the station to it, send "
        '{"activate": "x", "name": "housings"}'
    )
    with pytest.raises(BundleError, match=r'send {"roll_back": true, "name": "housings"}$'):
        check_name(order(None), OTHER, RUNS)


@pytest.mark.parametrize("found", [RUNS, OTHER])
def test_a_name_that_it_does_not_have_is_refused(found):
    with pytest.raises(BundleError, match=r"dir holds .*, not lids: send {"):
        check_name(order("x", "lids"), found, RUNS)
