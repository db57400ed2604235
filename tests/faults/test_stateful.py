"""Rows 2, 14 to 16, 22 and 26 at once: whatever comes, by whatever way, at whatever fault.

A script is a few arrivals and at most one fault. One daemon plays many of them, one after another,
and is started again only where a fault has ended it. Whoever checks looks from outside: at the
files, and at the journal read-only.

``SEED=N`` repeats a run, as it is printed; ``EXAMPLES=N`` plays so many by each way.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import random
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, note, reject, seed, settings
from hypothesis import strategies as st

from tests.bundles import make_image
from tests.calls import Calls
from tests.clock import COMPILER, Clock
from tests.line import Station, wait_for
from tests.mounts import needs_root
from tests.ways import COPIED, KEPT, RENAMED, end, station_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.broker import Broker
    from tests.subscriber import Subscriber

pytestmark = [
    pytest.mark.slow,
    pytest.mark.broker,
    pytest.mark.skipif(COMPILER is None, reason="no C compiler, for faults at calls"),
]

MQTT = "mqtt"
EXAMPLES, SOME = 2000, 52
"""Of `make faults` and of `make test`, by all ways together."""
SHORTER = 6
"""Scripts that are tried to say the same with less: each that fails has waited in vain."""

FOLDER = "settle = 0.1\nscan_every = 0.2\n"
LIMITS = "[worker]\nretry_truncated = 2.0\n"
PAUSE = 0.15
"""Between two parts of a file: longer than it has to be quiet, shorter than it is waited for."""

PLACES = {
    "inbox": "*/inbox?(/[!.]*)",
    "claims": "*/@(state/work|inbox/.edge-agent-*)*",
    "processed": "*/state/processed*",
    "quarantine": "*/state/quarantine*",
    "journal": "*/state/journal.db*",
}
ERRORS = (errno.EIO, errno.ESTALE, errno.EBUSY)
FULL = (errno.ENOSPC, errno.EDQUOT)
GROWING = {"create", "write", "sync", "rename", "mkdir", "rmdir", "unlink", "truncate"}
"""What a full disk or a quota can refuse."""
# The calls that there are, by place: those of a way that has others are not met there.
CALLS = {
    "inbox": ("stat", "list", "open", "read", "rename"),
    "claims": (
        "stat", "list", "open", "read", "create", "write", "sync", "rename", "mkdir", "rmdir",
        "unlink", "truncate", "utime",
    ),
    "processed": ("stat", "open", "create", "write", "sync", "rename", "truncate", "utime"),
    "quarantine": ("stat", "create", "write", "sync", "rename"),
    "journal": ("read", "write", "sync"),
}  # fmt: skip
# Where images are renamed, nothing is copied; where they are kept, nothing is filed.
NOT_MET = {
    RENAMED: {"create", "write", "unlink", "truncate", "utime"},
    COPIED: set(),
    KEPT: {"processed", "quarantine"},
    "mqtt": {"inbox", "truncate", "utime", "list"},
}
PICTURES = ("ok",) * 8 + ("defect",) * 8 + ("words",)
"""What is no image is waited for: that takes its time."""
DAY = 86_400


@dataclass(frozen=True)
class Arrival:
    """One image, and how it comes."""

    writer: str
    picture: str
    clock: int = 0
    """So many seconds is the station's clock ahead when it comes."""


@dataclass(frozen=True)
class Fault:
    """At one call or two, counted from the script's begin."""

    call: str
    place: str
    number: int
    times: int
    error: int
    """0: the daemon or the worker is killed there."""

    def __repr__(self) -> str:
        what = errno.errorcode[self.error] if self.error else "kill"
        return f"<{what} at {self.call} of {self.place} {self.number}, {self.times} times>"


@dataclass(frozen=True)
class Script:
    arrivals: tuple[Arrival, ...]
    fault: Fault | None


FOLDER_WRITERS = (
    "rename", "in place", "pauses", "length first", "link", "moved back", "again", "growing",
    "mmap", "mmap closed",
)  # fmt: skip
TOPIC_WRITERS = ("publish", "publish again", "other id")


def scripts(way: str) -> st.SearchStrategy[Script]:
    writers = TOPIC_WRITERS if way == MQTT else FOLDER_WRITERS
    arrivals = st.builds(
        Arrival,
        writer=st.sampled_from(writers),
        picture=st.just("ok"),
        clock=st.sampled_from([0] * 6 + [-400 * DAY, -3600, 3600, 400 * DAY]),
    )
    met = [
        (call, place)
        for place, calls in CALLS.items()
        for call in calls
        if place == "journal" or not NOT_MET[way] & {call, place}
    ]

    def script(number: int, come: list[Arrival]) -> Script:
        """Fault and pictures by chance alone: hypothesis likes to repeat itself."""
        chance = random.Random(f"{number} {come}")
        come = [replace(one, picture=chance.choice(PICTURES)) for one in come]
        # Moved away and back while nobody looks, a kept file is what it was (docs/reliability.md).
        unknowable = way == KEPT and any(one.writer == "moved back" for one in come)
        if unknowable or not chance.randrange(8):
            return Script(tuple(come), None)
        call, place = chance.choice(met)
        fault = Fault(
            call,
            place,
            number=chance.choice((1, 1, 2, 2, 3, 4)),
            times=chance.choice((1, 2)),
            error=chance.choice((*(FULL if call in GROWING else ()), *ERRORS, 0, 0)),
        )
        return Script(tuple(come), fault)

    return st.builds(script, st.integers(0, 2**32 - 1), st.lists(arrivals, min_size=1, max_size=3))


@dataclass
class Tally:
    """What was played: a sweep that meets nothing proves nothing."""

    scripts: int = 0
    images: int = 0
    met: Counter[str] = field(default_factory=Counter)
    """Faults that the station met, by kind."""
    ends: Counter[str] = field(default_factory=Counter)
    """What ended the daemon."""


class Player:
    """Plays scripts to a station that lives as long as it is right."""

    def __init__(
        self,
        way: str,
        station: Station,
        calls: Calls,
        clock: Clock,
        tally: Tally,
        send: Callable[[str, bytes], object],
    ) -> None:
        self.way = way
        self.station = station
        self.send = send
        """Publish an image under this id."""
        self.calls = calls
        self.clock = clock
        self.tally = tally
        self.serial = 0
        self.offered: list[tuple[str, bytes]] = []
        """In this script: the verdict that it is to get, and the bytes."""
        self.moved: Counter[str] = Counter()
        """What was taken out of ``processed/`` or ``quarantine/`` again."""
        self.before = 0
        self.fault: Fault | None = None

    # -- the station ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemon, again and again where the fault meets it there."""
        for _ in range(5):
            said = self.station.log.count("ready: ")
            self.station.start(wait=False, under=self.calls.under(self.clock))

            def started(said: int = said) -> bool:
                ready = self.station.log.count("ready: ") > said
                return ready or self.station.daemon.poll() is not None

            wait_for(started, 300)  # however busy the machine is
            if self.station.daemon.poll() is None:
                return
            self.ended()
        raise AssertionError("it does not start any more")

    def ended(self) -> None:
        """The daemon is gone: only for a reason that a fault has given."""
        fault, code = self.fault, self.station.daemon.returncode
        assert fault is not None, f"ended with {code}: {self.station.log[-2000:]}"
        if fault.error:
            assert code == 2, f"ended with {code}: {self.station.log[-2000:]}"
            # A quota that refuses once, and not what is tried then, looks like a disk that fails.
            waited = fault.error == errno.ENOSPC and fault.call == "write"
            assert not waited, f"a full disk is waited for: {self.station.log[-2000:]}"
            running = self.station.log.rfind("ready: ") > self.station.log.rfind("stopped")
            assert fault.place != "inbox" or not running, self.station.log[-2000:]
        else:
            assert code == -9, f"ended with {code}: {self.station.log[-2000:]}"
        self.tally.ends[f"{fault.call} of {fault.place}: {code}"] += 1

    def until(self, satisfied: Callable[[], bool], what: str, seconds: float = 40) -> None:
        """Wait, as the service manager does: what has ended is started again."""
        deadline = time.monotonic() + seconds
        while not satisfied():
            if self.station.daemon.poll() is not None:
                self.ended()
                self.start()
                deadline = time.monotonic() + seconds
            assert time.monotonic() < deadline, f"{what}: {self.state()}"
            time.sleep(0.01)

    def rows(self) -> list[sqlite3.Row]:
        file = self.station.state / "journal.db"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as db:
            db.row_factory = sqlite3.Row
            asked = "SELECT * FROM inspections WHERE sequence > ? ORDER BY sequence"
            return list(db.execute(asked, [self.before]))

    def judged(self) -> Counter[str]:
        with suppress(sqlite3.OperationalError):  # just before or after a kill
            return Counter(row["sha256"] for row in self.rows())
        return Counter()

    def filed(self) -> list[Path]:
        places = (self.station.filed(), self.station.filed("quarantine"))
        return [path for place in places for path in place if not path.name.startswith(".")]

    def waiting(self) -> list[Path]:
        return [path for path in self.station.inbox.iterdir() if not path.name.startswith(".")]

    def state(self) -> str:
        return (
            f"rows {[(row['name'], row['verdict'], row['reason']) for row in self.rows()]}, "
            f"claimed {self.station.claimed()}, inbox {self.waiting()}, "
            f"log {self.station.log[-1500:]}"
        )

    # -- a script ------------------------------------------------------------------------------

    def play(self, script: Script) -> None:
        """Play it, and hold what became of it to the promises."""
        self.offered, self.moved, self.fault = [], Counter(), script.fault
        self.tally.scripts += 1
        if self.station.daemon is None:
            self.start()
        self.before = self.station.last_sequence()
        logged = len(self.station.log)
        rule = None
        if script.fault:
            fault = script.fault
            rule = self.calls.meet(
                fault.call,
                PLACES[fault.place],
                error=fault.error,
                kill=not fault.error,
                # A second death at the same call would be that of the next start.
                calls=(fault.number, fault.number + (fault.times - 1 if fault.error else 0)),
            )
        try:
            for arrival in script.arrivals:
                self.clock.set(arrival.clock)
                self.arrive(arrival)
            self.until(self.complete, "not judged, or not filed")
            if rule and rule.hits:
                what = errno.errorcode[fault.error] if fault.error else "kill"
                self.tally.met[f"{what} at {fault.call} of {fault.place}"] += 1
            if self.way == KEPT or (rule and rule.hits):
                # Nothing comes after it any more: what is new goes first, but a scan comes first.
                self.arrive(Arrival("publish" if self.way == MQTT else "in place", "ok"))
                self.until(self.complete, "not judged, or not filed, after the fault")
        finally:
            self.calls.clear()
            self.clock.set(0)
        self.tally.images += len(self.offered)
        self.check(self.station.log[logged:])
        self.clean()

    def complete(self) -> bool:
        offered = self.hashes()
        if offered - self.judged() or self.station.claimed():
            return False
        return self.way == KEPT or not self.waiting()

    def hashes(self) -> Counter[str]:
        return Counter(sha256(content).hexdigest() for _, content in self.offered)

    def check(self, log: str) -> None:
        rows = self.rows()
        expected = Counter(
            (verdict, sha256(content).hexdigest()) for verdict, content in self.offered
        )
        found = Counter((row["verdict"], row["sha256"]) for row in rows)
        assert found == expected, (
            f"missing {expected - found}, too many {found - expected}: {self.state()}"
        )
        assert [row["sequence"] for row in rows] == list(
            range(self.before + 1, self.before + 1 + len(rows))
        )
        assert "Traceback" not in log, log
        if self.way == KEPT:
            return
        filed = Counter(sha256(path.read_bytes()).hexdigest() for path in self.filed())
        contents = self.hashes() - self.moved
        assert filed == contents, (
            f"bytes lost {contents - filed}, too many {filed - contents}: {self.state()}"
        )

    def clean(self) -> None:
        """As somebody who takes away what is done."""
        for where in ("processed", "quarantine"):
            for path in (self.station.state / where).iterdir():
                path.unlink()
        if self.way == KEPT:
            for path in self.waiting():
                path.unlink()

    # -- arrivals ------------------------------------------------------------------------------

    def arrive(self, arrival: Arrival) -> None:
        self.serial += 1
        name, content = f"{self.serial}.png", picture(arrival.picture, self.serial)
        verdict = "error" if arrival.picture == "words" else arrival.picture
        self.offered.append((verdict, content))
        getattr(self, arrival.writer.replace(" ", "_"))(name, content)

    def rename(self, name: str, content: bytes) -> None:
        aside = self.station.aside / f".{name}"
        aside.write_bytes(content)
        os.utime(aside, ns=(10**18, 10**18))
        aside.rename(self.station.inbox / name)

    def in_place(self, name: str, content: bytes) -> None:
        (self.station.inbox / name).write_bytes(content)

    def pauses(self, name: str, content: bytes, *, length: int = 0) -> None:
        with (self.station.inbox / name).open("wb", buffering=0) as camera:
            camera.truncate(length)
            camera.write(content[: len(content) // 2])
            time.sleep(PAUSE)
            camera.write(content[len(content) // 2 :])

    def length_first(self, name: str, content: bytes) -> None:
        self.pauses(name, content, length=len(content))

    def growing(self, name: str, content: bytes) -> None:
        """Whole long before it is finished."""
        with (self.station.inbox / name).open("wb", buffering=0) as camera:
            camera.write(content[:-4])
            for at in range(-4, 0):
                time.sleep(PAUSE / 4)
                camera.write(content[at : at + 1 or None])

    def mmap(self, name: str, content: bytes, *, closed: bool = False) -> None:
        with ExitStack() as stack:
            camera = stack.enter_context((self.station.inbox / name).open("w+b", buffering=0))
            camera.truncate(len(content))
            with mmap.mmap(camera.fileno(), 0) as memory:
                if closed:
                    camera.close()  # as if it were finished: nothing tells of what comes
                middle = len(content) // 2
                memory[:middle] = content[:middle]
                time.sleep(PAUSE)
                memory[middle:] = content[middle:]

    def mmap_closed(self, name: str, content: bytes) -> None:
        self.mmap(name, content, closed=True)

    def link(self, name: str, content: bytes) -> None:
        aside = self.station.aside / f".{name}"
        aside.write_bytes(content)
        os.link(aside, self.station.inbox / name)
        time.sleep(PAUSE / 3)
        aside.unlink()

    def again(self, name: str, content: bytes) -> None:
        """The same name, size, mtime and bytes, once the first is judged."""
        self.rename(name, content)
        self.until(self.complete, "not judged, before it comes again")
        self.offered.append(self.offered[-1])
        self.rename(name, content)

    def moved_back(self, name: str, content: bytes) -> None:
        """By somebody who wants it judged again."""
        self.rename(name, content)
        self.until(self.complete, "not judged, before it is moved back")
        self.offered.append(self.offered[-1])
        if self.way == KEPT:
            aside = self.station.home / ".aside"
            subprocess.run(["mv", self.station.inbox / name, aside], check=True)
            subprocess.run(["mv", aside, self.station.inbox / name], check=True)
            return
        (path,) = (path for path in self.filed() if path.read_bytes() == content)
        self.moved[sha256(content).hexdigest()] += 1
        subprocess.run(["mv", path, self.station.inbox / name], check=True)

    def publish(self, name: str, content: bytes) -> None:
        self.send(name, content)

    def publish_again(self, name: str, content: bytes) -> None:
        """By a camera that repeats itself: it is one image."""
        self.send(name, content)
        self.send(name, content)

    def other_id(self, name: str, content: bytes) -> None:
        self.send(name, content)
        self.offered.append(self.offered[-1])
        self.send("other " + name, content)


_PICTURES = {
    name: [make_image(defect=name == "defect", seed=number) for number in range(3)]
    for name in ("ok", "defect")
}


def picture(kind: str, number: int) -> bytes:
    """No two alike."""
    if kind == "words":
        return b"words, and no image at all: %08d" % number
    return _PICTURES[kind][number % 3] + b"%08d" % number


@contextmanager
def playing(
    way: str,
    home: Path,
    bundle: Path,
    call_library: Path,
    tally: Tally,
    plant: tuple[Broker, Subscriber] | None,
) -> Iterator[Player]:
    """A station that has seen nothing yet."""
    home.mkdir()
    with closing(Calls(home / "calls.rules", call_library)) as calls:
        clock = Clock(home)
        if plant is None:
            with station_by(way, home / "station", bundle, LIMITS, folder=FOLDER) as station:
                yield Player(way, station, calls, clock, tally, lambda *_: None)
            return
        broker, subscriber = plant
        lines = f'{LIMITS}[station]\nname = "{home.name}"\n'
        lines += f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        source = f'[source.mqtt]\ntopic = "{home.name}/{{id}}"\n'
        station = Station(home / "station", bundle, lines, source=source)

        def send(name: str, content: bytes) -> None:
            assert subscriber.send(f"{home.name}/{name}", content) == 0

        player = Player(way, station, calls, clock, tally, send)
        try:
            player.start()
            wait_for(lambda: f"SUBACK to edge-agent-site-line-{home.name}-source" in broker.log())
            yield player
        finally:
            end(station)


def explore(
    way: str,
    examples: int,
    number: int,
    place: Callable[[Tally], contextmanager[Player]],
) -> Tally:
    """Play so many scripts; a station that was wrong is not played to again."""
    tally = Tally()
    with ExitStack() as stack:
        now: list[Player] = []
        failed: dict[Script, BaseException] = {}
        last_of: list[int] = []

        @seed(number)
        @settings(
            max_examples=examples,
            database=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(scripts(way))
        def play(script: Script) -> None:
            note(str(script))
            if script in failed:
                raise failed[script]
            if len(failed) >= SHORTER or (failed and tally.scripts >= last_of[0]):
                reject()
            if not now:
                now.append(stack.enter_context(place(tally)))
            try:
                now[0].play(script)
            except BaseException as error:
                if not failed:
                    last_of.append(tally.scripts + SHORTER)
                failed[script] = error
                now.clear()
                stack.close()
                raise

        play()
    return tally


def seed_or(default: int) -> int:
    return int(os.environ.get("SEED") or default)


@pytest.fixture
def place_of(tmp_path, bundle, call_library, request):
    """How a station is made whose images go one way: ``place_of(way)(tally)``."""

    def of(way: str) -> Callable[[Tally], contextmanager[Player]]:
        plant = None
        if way == MQTT:
            broker = request.getfixturevalue("broker")
            subscriber = request.getfixturevalue("subscribe")(
                broker.port, "none", client_id="camera"
            )
            plant = broker, subscriber
        numbers = itertools.count()

        def place(tally: Tally) -> contextmanager[Player]:
            home = tmp_path / f"home{next(numbers)}"
            return playing(way, home, bundle, call_library, tally, plant)

        return place

    return of


ALL = [RENAMED, pytest.param(COPIED, marks=needs_root), KEPT, MQTT]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", ALL)
def test_some_scripts_are_judged_once_each(place_of, way):
    number = seed_or(1)
    print(f"SEED={number}")

    print(explore(way, SOME // len(ALL), number, place_of(way)))


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", ALL)
def test_two_thousand_scripts_are_judged_once_each(place_of, way, capsys):
    number = seed_or(int.from_bytes(os.urandom(4), "big"))
    with capsys.disabled():
        print(f"\nSEED={number}", flush=True)

    examples = int(os.environ.get("EXAMPLES") or EXAMPLES // len(ALL))
    found = explore(way, examples, number, place_of(way))

    with capsys.disabled():
        print(way, found)
    assert len(found.met) > 20
