"""By measurement, within what the settings allow; a table that nobody had to wait for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_agent.bundle import BundleError
from edge_agent.engine.runtime.inventory import Inventory
from edge_agent.engine.runtime.wheels import Wheels
from edge_agent.engine.tuning import select as module
from edge_agent.engine.tuning.candidates import Candidate
from edge_agent.engine.tuning.measure import Measured
from edge_agent.engine.tuning.select import Selector, describe
from edge_agent.settings import RuntimeSettings, WorkerSettings
from edge_agent.types.target import ProviderError

ABSENT = {"cuda": "not installed here: pip install it", "tensorrt": "neither"}


class Machine:
    """Frames a second by (variant, provider); what is not there is out."""

    def __init__(self) -> None:
        self.inventory = Inventory(("cpu", "openvino:CPU"), ABSENT, ())
        self.speed = {
            ("fp32", "cpu"): 40.0,
            ("int8", "cpu"): 18.0,
            ("fp32", "openvino:CPU"): 45.0,
            ("int8", "openvino:CPU"): 75.0,
        }
        self.measured: list[set[str]] = []
        self.inventories = 0

    def take_inventory(self):
        self.inventories += 1
        return self.inventory

    def measure(self, bundle, candidates, options_for, *, tell, **limits):
        self.measured.append({one.provider for one in candidates})
        table = []
        for one in candidates:
            options_for(one)
            fps = self.speed.get((one.variant, one.provider))
            if fps:
                table.append(Measured(one, True, "", 0.0, 1000 / fps, fps * one.workers))
            else:
                table.append(Measured(one, ok=False, reason="the device was removed"))
            tell(table[-1])
        return table


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    monkeypatch.setattr(module, "take_inventory", made.take_inventory)
    monkeypatch.setattr(module, "measure", made.measure)
    monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.setattr(module, "find_wheels", lambda: Wheels({"onnxruntime": "1"}, None))
    return made


@pytest.fixture
def selector(bundle, tmp_path):
    def make(**settings):
        return Selector(bundle, RuntimeSettings(**settings), WorkerSettings(), tmp_path)

    return make


def named(candidate):
    return candidate.variant, candidate.provider


def test_auto_takes_the_fastest_and_lists_all(machine, selector):
    one = selector()

    choice = one.select()

    assert choice.candidate == Candidate("int8", "openvino:CPU", threads=1, workers=2)
    assert (choice.degraded, choice.spare, choice.remembered) == ("", (), False)
    table = one.table()
    assert {named(line.candidate) for line in table if line.ok} == set(machine.speed)
    assert {line.candidate.provider: line.reason for line in table if not line.ok} == ABSENT


def test_where_int8_is_slower_fp32_is_taken(machine, selector):
    assert named(selector(provider="cpu").select().candidate) == ("fp32", "cpu")


def test_a_named_provider_is_measured_alone(machine, selector):
    choice = selector(provider="cpu").select()

    assert choice.candidate.provider == "cpu"
    assert machine.measured == [{"cpu"}]


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_named_provider_that_there_is_not_is_refused_and_nothing_measured(
    machine, selector, name
):
    with pytest.raises(
        ProviderError,
        match=r"is not available: cuda.*: not installed here.*pip "
        r"install",
    ):
        selector(provider=name).select()
    assert machine.measured == [set()]  # no candidate at all


def test_a_numbered_device_is_tried_where_its_kind_is_offered(machine, selector):
    machine.inventory = Inventory(("cpu", "cuda"), {}, ())
    machine.speed["fp32", "cuda:1"] = 500.0

    assert named(selector(provider="cuda:1").select().candidate) == ("fp32", "cuda:1")


def test_a_named_provider_that_fails_is_refused_with_its_reason(machine, selector, tmp_path):
    machine.speed = {("fp32", "cpu"): 40.0}

    with pytest.raises(ProviderError, match="openvino:CPU: the device was removed") as refusal:
        selector(provider="openvino:CPU").select()
    assert str(refusal.value).count("the device was removed") == 1
    assert list(tmp_path.iterdir()) == []  # a refusal is not remembered


def test_with_fallback_the_next_best_and_why(machine, selector):
    choice = selector(provider="cuda", fallback=True).select()

    assert named(choice.candidate) == ("int8", "openvino:CPU")
    assert choice.degraded == f"cuda: {ABSENT['cuda']}"
    assert [named(one) for one in choice.spare] == [("fp32", "cpu")]


def test_with_fallback_the_named_one_comes_first_even_if_it_is_slower(machine, selector):
    choice = selector(provider="cpu", fallback=True).select()

    assert named(choice.candidate) == ("fp32", "cpu")
    assert choice.degraded == ""
    assert [named(one) for one in choice.spare] == [("int8", "openvino:CPU")]


def test_nothing_that_is_right(machine, selector):
    machine.speed = {}

    with pytest.raises(
        ProviderError, match=r"runtime.provider = 'auto' is not available: cpu: the dev"
    ):
        selector().select()


def test_a_second_start_measures_nothing_and_asks_no_driver(machine, selector):
    first = selector().select()
    second = selector().select()

    assert second == replace(first, remembered=True)
    assert (len(machine.measured), machine.inventories) == (1, 1)


def test_again_means_again(machine, selector):
    selector().select()
    del machine.speed["int8", "openvino:CPU"]

    assert named(selector().select(again=True).candidate) == ("fp32", "openvino:CPU")
    assert named(selector().select().candidate) == ("fp32", "openvino:CPU")
    assert len(machine.measured) == 2


def test_a_damaged_table_is_measured_again_and_mended(machine, selector, tmp_path):
    first = selector().select()
    (tmp_path / "tuning.json").write_text('{"key": ')

    assert selector().select() == first
    assert selector().select().remembered
    assert len(machine.measured) == 2


def test_what_is_forgotten_is_measured_again(machine, selector):
    selector().select()
    selector().forget()
    selector().select()

    assert len(machine.measured) == 2


def test_what_was_missed_is_looked_for_at_each_start(machine, selector):
    del machine.speed["int8", "openvino:CPU"], machine.speed["fp32", "openvino:CPU"]
    asked = {"provider": "openvino:CPU", "fallback": True}
    assert selector(**asked).select().degraded

    again = selector(**asked).select()
    assert (bool(again.degraded), again.remembered) == (True, True)
    assert machine.measured[1:] == [{"openvino:CPU"}]  # and nothing else

    machine.speed["fp32", "openvino:CPU"] = 45.0
    back = selector(**asked).select()
    assert named(back.candidate) == ("fp32", "openvino:CPU")
    assert back.degraded == ""


def test_everything_given_is_taken_at_its_word(machine, selector):
    choice = selector(provider="cuda", variant="fp32", workers=1, threads=1).select()

    assert choice.candidate == Candidate("fp32", "cuda", 1, 1)  # the worker refuses it, if so
    assert (machine.measured, machine.inventories) == ([], 0)


def test_what_other_bundles_were_compiled_to_is_removed_at_each_start(
    machine, selector, bundle, tmp_path
):
    given = {"provider": "cpu", "variant": "fp32", "workers": 1, "threads": 1}
    own, other = bundle.manifest.variants[0].sha256, "0" * 64
    selector().select()
    for settings in ({}, given):
        for name in (own, other, "golden-killed"):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "1.blob").touch()

        selector(**settings).select()

        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([own, "tuning.json"])
    assert len(machine.measured) == 1


@pytest.mark.parametrize(
    "settings", [{}, {"provider": "cpu", "variant": "fp32", "workers": 1}, {"provider": "cpu"}]
)
def test_clashing_wheels_are_named_before_anything_runs(machine, selector, monkeypatch, settings):
    both = {"onnxruntime": "1.24.1", "onnxruntime-openvino": "1.24.1"}
    monkeypatch.setattr(module, "find_wheels", lambda: Wheels(both, None))

    with pytest.raises(ProviderError, match="onnxruntime and onnxruntime-openvino are installed"):
        selector(**settings).select()
    assert machine.inventories == 0


@pytest.mark.parametrize("settings", [{}, {"provider": "cpu", "workers": 1}])
def test_a_variant_that_there_is_not(machine, selector, settings):
    with pytest.raises(BundleError, match="has no variant 'fp16'; it has: fp32, int8"):
        selector(variant="fp16", **settings).select()
    assert machine.measured == []


def test_a_line_for_each():
    candidate = Candidate("fp32", "cpu", threads=2, workers=1)

    assert describe(Measured(candidate, True, "", 0.0, 12.34, 56.78)) == (
        "fp32 on cpu, 1 worker x 2 threads: 12.3 ms, 56.8 frames/s"
    )
    assert describe(Measured(candidate, ok=False, reason="it hung")) == (
        "fp32 on cpu, 1 worker x 2 threads: not used: it hung"
    )
    absent = Measured(Candidate("-", "cuda", 0, 0), ok=False, reason="none")
    assert describe(absent) == "cuda: not available: none"
