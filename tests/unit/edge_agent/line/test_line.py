"""The whole way of an image with fakes and a clock of the test's: random orders of what happens.

What is promised, and checked after each step:

- I1: a frame is in ``work/`` until its inspection is committed, and is filed exactly once after.
- I2: exactly one inspection each, of every frame that was claimed, kills and restarts included.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from edge_agent.bundle import Decision
from edge_agent.engine.worker.pool import Lost, Outcome
from edge_agent.engine.worker.protocol import Failed, Judged, Ready
from edge_agent.journal import JournalError
from edge_agent.line.judgement import Judgement
from edge_agent.line.loop import Loop, Stages
from edge_agent.line.recorder import Outlets, Recorder
from edge_agent.settings import WorkerSettings
from edge_agent.types import (
    Claim,
    Failure,
    Image,
    Inspection,
    Latency,
    Message,
    Prediction,
    Recorded,
    Verdict,
)
from tests.fakes import Clock
from tests.inspections import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

RAN = Ready("fp32", "cpu", "CPU", 0.0, 0)
DECISION = Decision(threshold=0.5, rule="max-f1")
FILE = Path(__file__)
"""The bytes of every frame: they do not change."""
SIGNATURE = (FILE.lstat().st_size, FILE.lstat().st_mtime_ns)
MOST = 3
"""``max_attempts``."""


class Disk:
    """What outlives a kill: ``work/``, where frames are filed, and the journal's rows."""

    def __init__(self) -> None:
        self.inbox: list[str] = []
        self.work: dict[str, Claim] = {}
        self.synced: set[str] = set()
        self.filed: list[str] = []
        self.rows: dict[str, Inspection] = {}
        self.attempts: dict[str, int] = {}
        self.full = False
        """No room: for the journal's commits, and where frames are filed."""
        self.offered = 0


class Source:
    def __init__(self, disk: Disk, clock: Clock) -> None:
        self.disk, self.clock = disk, clock

    def claim(self, limit: int) -> list[Claim]:
        taken, self.disk.inbox[:limit] = self.disk.inbox[:limit], []
        claims = [claim_of(name, self.clock()) for name in taken]
        self.disk.work.update((claim.id, claim) for claim in claims)
        return claims

    def due(self) -> float:
        return 0.0 if self.disk.inbox else 60.0

    def waiting(self) -> int:
        return len(self.disk.inbox)

    def look(self) -> None: ...

    def again(self, _: Claim) -> bool:
        return False


def claim_of(name: str, now: float) -> Claim:
    return Claim(name, name, FILE, 0.0, 0.0, now)


class Spool:
    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def recover(self) -> Iterator[Claim]:
        return iter([replace(claim, recovered=True) for claim in self.disk.work.values()])

    def sync(self, claims: Iterable[Claim]) -> None:
        self.disk.synced |= {claim.id for claim in claims}

    def reserve(self, claim: Claim, *, quarantined: bool) -> str:
        return f"{'quarantine' if quarantined else 'processed'}/{claim.name}"

    def reserve_again(self, _: Claim, stored: str) -> None:
        assert stored

    def keep(self, claim: Claim, sha256: str = "") -> Iterator[None]:
        return self._file(claim, Verdict.OK)

    def quarantine(self, claim: Claim, reason: str, sha256: str = "") -> Iterator[None]:
        assert reason
        return self._file(claim, Verdict.ERROR)

    def _file(self, claim: Claim, verdict: Verdict) -> Iterator[None]:
        if self.disk.full:
            raise OSError(28, "No space left on device")
        yield  # a copy's step
        row = self.disk.rows[claim.id]  # I1: not before it stands in the journal
        assert (row.verdict is Verdict.ERROR) is (verdict is Verdict.ERROR)
        del self.disk.work[claim.id]
        self.disk.filed.append(claim.id)

    def probe(self) -> bool:
        return not self.disk.full

    def reachable(self, _: Claim) -> bool:
        return True

    def ours(self, _: Claim) -> bool:
        return True


class Journal:
    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def _room(self) -> None:
        if self.disk.full:
            raise JournalError("the disk is full", full=True)

    def record(
        self, inspections: Sequence[Inspection], render: Callable[[int, Inspection], bytes]
    ) -> list[Message]:
        self._room()
        new = []
        for one in inspections:
            assert one.id in self.disk.synced  # nothing of a claim that a power cut may undo
            if one.id not in self.disk.rows:
                self.disk.rows[one.id] = one
                sequence = len(self.disk.rows)
                alarm = one.verdict is Verdict.DEFECT
                new.append(Message(sequence, one.id, alarm, render(sequence, one)))
        return new

    def find(self, identity: str) -> Recorded | None:
        row = self.disk.rows.get(identity)
        return row and Recorded(row.verdict, row.reason, row.image.sha256, row.stored)

    def add_attempts(self, identity: str, number: int) -> int:
        self._room()
        self.disk.attempts[identity] = self.attempts(identity) + number
        return self.disk.attempts[identity]

    def attempts(self, identity: str) -> int:
        return self.disk.attempts.get(identity, 0)


class Pool:
    """Two workers that answer when the test lets them."""

    ready = RAN

    def __init__(self) -> None:
        self.has: list[Claim] = []
        self.answers: list[Outcome] = []

    def room(self) -> int:
        return 2 - len(self.has)

    def working(self) -> int:
        return 2

    def pending(self) -> int:
        return len(self.has)

    def submit(self, claim: Claim) -> None:
        assert len(self.has) < 2
        assert claim.id not in {one.id for one in self.has}
        self.has.append(claim)

    def poll(self, _: float) -> list[Outcome]:
        answers, self.answers = self.answers, []
        return answers


class Line(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.disk = Disk()
        self.numbers = count(1)
        self.start()

    def start(self) -> None:
        """A daemon's start: all but the disk is new."""
        self.pool = Pool()
        self.counted: list[str] = []
        spool: Any = Spool(self.disk)
        parts: Any = Stages(
            Source(self.disk, self.clock),  # type: ignore[arg-type]
            spool,
            self.pool,  # type: ignore[arg-type]
            Journal(self.disk),  # type: ignore[arg-type]
        )
        judgement = Judgement(
            {"fp32": DECISION},
            "error",
            lambda _: MODEL,
            spool.reserve,
        )
        outlets = Outlets(
            render=lambda sequence, one: f"{sequence} {one.id}".encode(),
            counts=(lambda one: self.counted.append(one.id),),
        )
        worker = WorkerSettings(max_attempts=MOST, retry_truncated=1.0)
        self.loop = Loop(worker, judgement, parts, outlets, clock=self.clock)
        self.loop.recover()

    @initialize()
    def begin(self) -> None:
        self.arrive(1)

    @rule(images=strategies.integers(1, 12))
    def arrive(self, images: int) -> None:
        self.disk.inbox += [f"{next(self.numbers):04d}.png" for _ in range(images)]
        self.disk.offered += images

    @rule(seconds=strategies.sampled_from([0.01, 0.06, 1.1, 11.0]))
    def step(self, seconds: float) -> None:
        self.clock.now += seconds
        self.loop.step(1.0)

    @precondition(lambda self: self.pool.has)
    @rule(
        how=strategies.sampled_from(["ok", "defect", "lost", "damaged", "truncated", "implausible"])
    )
    def answer(self, how: str) -> None:
        claim = self.pool.has.pop(0)
        self.pool.answers.append(Outcome(claim, reply_of(claim, how), RAN))

    @rule()
    def fill_the_disk(self) -> None:
        self.disk.full = True

    @precondition(lambda self: self.disk.full)
    @rule()
    def make_room(self) -> None:
        self.disk.full = False

    @rule()
    def kill(self) -> None:
        self.start()

    @rule()
    def stop(self) -> None:
        self.clock.now += 1.0
        while self.pool.has:
            self.answer("ok")
        self.loop.drain(0.0)
        self.start()

    @invariant()
    def every_frame_is_somewhere(self) -> None:
        disk = self.disk
        assert len(disk.filed) == len(set(disk.filed))  # I1: filed once
        assert set(disk.filed) <= disk.rows.keys()  # and not before it is recorded
        assert not set(disk.filed) & disk.work.keys()
        assert len(disk.inbox) + len(disk.work) + len(disk.filed) == disk.offered
        assert all(number < MOST + 1 for number in disk.attempts.values())
        assert len(self.counted) == len(set(self.counted))
        assert self.loop.recorded == len(self.counted)

    def teardown(self) -> None:
        """With room and workers that work, everything is judged and filed: I1 and I2."""
        self.disk.full = False
        for _ in range(40 + 4 * self.disk.offered):
            while self.pool.has:
                self.answer("ok")
            self.step(11.0)
            if len(self.disk.filed) == self.disk.offered:
                break
        assert sorted(self.disk.filed) == sorted(self.disk.rows)
        assert len(self.disk.rows) == self.disk.offered


def reply_of(claim: Claim, how: str) -> Judged | Failed | Lost:
    if how == "lost":
        return Lost("died")
    image = Image("0" * 64, 10)
    if how in ("damaged", "truncated"):
        failure = Failure(f"is {how}", image)
        return Failed(claim.id, failure, SIGNATURE, truncated=how == "truncated")
    score = 0.9 if how == "defect" else 0.1
    odd = "brightness 0" if how == "implausible" else ""
    prediction = Prediction(score, (), image, Latency(0, 1, 1, 5, 7), 0, implausible=odd)
    return Judged(claim.id, prediction, SIGNATURE)


def test_in_whatever_order_things_happen_no_frame_is_lost_or_judged_twice() -> None:
    run_state_machine_as_test(Line, settings=settings(stateful_step_count=40))


def test_it_finds_a_recorder_that_files_before_the_commit(monkeypatch: Any) -> None:
    def hasty(self: Recorder, group: list[Any]) -> None:
        for one in group:
            made = one.inspection
            self._recorded(
                one.claim, Recorded(made.verdict, made.reason, made.image.sha256, made.stored)
            )
        record(self, group)

    record = Recorder.record
    monkeypatch.setattr(Recorder, "record", hasty)
    once = settings(stateful_step_count=40, database=None, report_multiple_bugs=False)
    with pytest.raises(KeyError):  # its row, where it is filed
        run_state_machine_as_test(Line, settings=once)
