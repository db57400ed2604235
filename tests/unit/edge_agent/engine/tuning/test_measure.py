"""Candidates are measured by the daemon's own pool; what is wrong with one is its reason."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import onnxruntime
import pytest

from edge_agent.engine.tuning import measure as module
from edge_agent.engine.tuning.candidates import Candidate
from edge_agent.engine.tuning.measure import Measured, choose, measure
from edge_agent.engine.tuning.select import Selector
from edge_agent.engine.worker.pool import WorkerPool
from edge_agent.settings import RuntimeSettings, WorkerSettings
from edge_agent.types.target import ProviderError
from tests.bundles import make_two_variants

pytestmark = pytest.mark.slow

CPU = Candidate("fp32", "cpu", threads=1, workers=1)
OPENVINO = Candidate("fp32", "openvino:CPU", threads=1, workers=1)
needs_openvino = pytest.mark.skipif(
    "OpenVINOExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="onnxruntime-openvino is not installed",
)


@pytest.fixture
def options(bundle):
    return Selector(bundle, RuntimeSettings(), WorkerSettings(), None).options


@pytest.fixture
def pools(monkeypatch):
    """Every pool that is made, and how many frames each worker had after each submit."""
    made = []

    class Watched(WorkerPool):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.busy = []
            made.append(self)

        def submit(self, claim):
            super().submit(claim)
            self.busy.append([len(worker.claims) for worker in self._workers])

    monkeypatch.setattr(module, "WorkerPool", Watched)
    return made


def test_the_rate_is_of_all_workers_at_once_and_the_latency_of_one_frame_alone(
    bundle, options, pools
):
    two = Candidate("fp32", "cpu", threads=1, workers=2)

    (one,) = measure(bundle, [two], options, seconds=0.1)

    assert (one.candidate, one.ok, one.reason) == (two, True, "")
    assert one.fps > 0
    assert one.latency_ms > 0
    assert one.golden_error <= 0.01
    (pool,) = pools
    alone = module._WARM_UP * 2 + module._SINGLE
    assert all(sum(busy) == 1 for busy in pool.busy[:alone])
    assert [2, 2] in pool.busy[alone:]


def test_the_frames_are_what_the_manifest_names_and_not_what_lies_in_the_bundle(
    bundle, options, monkeypatch, tmp_path
):
    """Whoever can write there could exchange an image after its hash was compared."""
    offered = {}

    class Watched(WorkerPool):
        def submit(self, claim):
            offered[claim.path] = hashlib.sha256(claim.path.read_bytes()).hexdigest()
            super().submit(claim)

    monkeypatch.setattr(module, "WorkerPool", Watched)

    (one,) = measure(bundle, [CPU], options, scratch=tmp_path, seconds=0.05)

    assert one.ok
    assert set(offered.values()) == {golden.sha256 for golden in bundle.manifest.golden}
    assert all(path.is_relative_to(tmp_path) for path in offered)
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_the_frames_is_said(bundle, options, tmp_path):
    with pytest.raises(ProviderError, match=r"nothing can be measured: .* No such file"):
        measure(bundle, [CPU], options, scratch=tmp_path / "none")


def test_a_variant_is_out_where_its_trainer_saw_it_judge_wrongly(tmp_path):
    """Whatever its golden images say."""
    gates = {"int8": {"cpu": "3 of 90 verdicts change", "openvino:CPU": ""}}
    bundle = make_two_variants(tmp_path / "bundle", gates)
    options = Selector(bundle, RuntimeSettings(), WorkerSettings(), None).options

    right, out = measure(bundle, [CPU, replace(CPU, variant="int8")], options, seconds=0.05)

    assert (right.ok, out.ok) == (True, False)
    assert "variant int8" in out.reason
    assert out.reason.endswith("3 of 90 verdicts change")


@needs_openvino
def test_every_candidate_has_its_own_line_and_close_ones_are_measured_again(
    bundle, options, pools, monkeypatch
):
    monkeypatch.setattr(module, "CLOSE", 0.0)  # all of them, on a machine of any speed
    both = [CPU, Candidate("int8", "openvino:CPU", threads=1, workers=1)]
    told = []

    table = measure(bundle, both, options, seconds=0.05, tell=told.append)

    assert [one.candidate for one in table] == both
    assert [one.candidate for one in told] == both
    assert all(one.ok for one in table)
    asked = [(pool._options.variant, pool._options.provider) for pool in pools]
    assert asked == [("fp32", "cpu"), ("int8", "openvino:CPU")] * (1 + module._ROUNDS)


FAULTS = {
    "raise": "the device was removed",
    "raise@4": "openvino:CPU failed: the device was removed",  # after the golden images
    "raise@12": "openvino:CPU failed: the device was removed",
    "hang@1": "hung for 5 s at its start",
    "hang@4": "hung for 1 s at a frame",
    "segv@1": "it was killed by SIGSEGV",
    "segv@12": "it was killed by SIGSEGV",
    "elsewhere": "instead of OpenVINOExecutionProvider without an error",
    "lie": "the graph does not run there",
    "wrong": "it must be 0.0000 within 0.01",
}


@needs_openvino
@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_candidate_that_fails_is_out_with_its_reason_in_all_layouts_at_once(
    bundle, options, pools, go_wrong, fault
):
    go_wrong(fault)
    more = Candidate("fp32", "openvino:CPU", threads=1, workers=2)
    limits = {"start_timeout": 5 if fault == "hang@1" else 60, "frame_timeout": 1}

    first, again, right = measure(bundle, [OPENVINO, more, CPU], options, seconds=0.05, **limits)

    assert (first.ok, again.ok, right.ok) == (False, False, True)
    assert FAULTS[fault] in first.reason
    assert (again.candidate, again.reason) == (more, first.reason)
    assert (first.fps, first.latency_ms, first.golden_error) == (None, None, None)
    assert len(pools) == 2  # what is out is not waited for twice


def result(variant, provider, fps, latency=10.0):
    return Measured(Candidate(variant, provider, 1, 1), fps > 0, "", 0.0, latency, fps or None)


def test_the_same_file_may_be_the_fastest_here_and_the_slowest_there():
    table = [
        result("fp32", "cpu", 40.0),
        result("int8", "cpu", 18.0),
        result("fp32", "openvino:CPU", 45.0),
        result("int8", "openvino:CPU", 75.0),
    ]

    assert choose(table) is table[3]
    assert choose(table[:2]) is table[0]


def test_of_equally_fast_ones_the_one_with_the_lower_latency():
    table = [result("fp32", "cpu", 40.0, 20.0), result("int8", "cpu", 40.0, 10.0)]

    assert choose(table) is table[1]


def test_what_is_out_is_never_chosen():
    out = Measured(OPENVINO, ok=False, reason="wrong", fps=1000.0, latency_ms=0.1)

    assert choose([out]) is None
    assert choose([out, result("fp32", "cpu", 1.0)]).candidate.provider == "cpu"
