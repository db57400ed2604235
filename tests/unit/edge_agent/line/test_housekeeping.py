"""What is old goes, what was not asked for stays; the numbers and identities go on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.journal import Journal, JournalError, Outbox, tail
from edge_agent.journal.archive import may_come_again
from edge_agent.line import housekeeping
from edge_agent.line.housekeeping import Housekeeping
from edge_agent.mqtt import Arrived
from edge_agent.mqtt.pattern import TopicPattern
from edge_agent.settings import MqttSourceSettings, Settings, SettingsError, load_settings
from edge_agent.sources.message import read_message
from edge_agent.sources.spool import Note, Spool, new_id
from edge_agent.types import Image, Verdict
from tests.inspections import inspection, plain

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.types import Claim

DAY = 86_400.0
NOW = 1_800_000_000.0


class Line:
    """A station's state without its daemon: images judged at any age, and the housekeeping."""

    def __init__(self, home: Path, retention: str = "", *, broker: bool = True) -> None:
        home.joinpath("inbox").mkdir()
        config = home / "station.toml"
        config.write_text(
            'bundle = "b"\n[source.folder]\npath = "inbox"\n[storage]\nroot = "state"\n'
            f"[retention]\n{retention}\n" + ('[mqtt]\nhost = "h"\n' if broker else "")
        )
        self.settings: Settings = load_settings(config)
        storage = self.settings.storage
        self.inbox = home / "inbox"
        places = (storage.work_dir, storage.processed_dir, storage.quarantine_dir)
        self.spool = Spool(*places, inbox=self.inbox)
        self.processed, self.quarantine = storage.processed_dir, storage.quarantine_dir
        self.journal = Journal(storage.journal)
        self.now = NOW
        self.uptime = 1000.0
        self.free = lambda directory: shutil.disk_usage(directory).free
        self.keeper = Housekeeping(
            self.settings,
            clock=lambda: self.now,
            uptime=lambda: self.uptime,
            free=lambda directory: self.free(directory),  # noqa: PLW0108  tests change it
        )

    def wait(self, days: float) -> None:
        """Time passes, and the machine runs."""
        self.now += days * DAY
        self.uptime += days * DAY

    def judge(self, name: str, verdict: Verdict = Verdict.OK, days: float = 0.0, **changes: Any):
        """Claim, record and file away an image that was judged so many days ago."""
        source = self.inbox / name
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(os.urandom(16))
        claim = self.spool.claim(source)
        return self._finish(claim, claim.path.read_bytes(), verdict, days, **changes)

    def _finish(
        self, claim: Claim, content: bytes, verdict: Verdict, days: float, **changes: Any
    ) -> Claim:
        size = changes.pop("size", len(content))
        image = Image(hashlib.sha256(content).hexdigest(), size, 1, 1)
        at = self.now - days * DAY
        made = replace(
            inspection(1, verdict),
            **{"id": claim.id, "name": claim.name, "image": image, "completed": at, **changes},
        )
        self.journal.record([made], plain)
        if verdict is Verdict.ERROR:
            self.spool.quarantine(claim, "why")
        else:
            self.spool.keep(claim)
        return claim

    def receive(
        self, name: str, content: bytes, verdict: Verdict = Verdict.OK, days: float = 0.0
    ) -> None:
        """The same of an image that came in a message, under the name that its camera gave it."""
        arrived = Arrived(
            "cameras/top", content, packet=1, repeated=False, retained=False, user=(("name", name),)
        )
        source = MqttSourceSettings(topic="cameras/{camera}")
        offer = read_message(arrived, TopicPattern(source.topic), source)
        note = Note(offer.name, NOW, NOW, None, None)
        self._finish(
            self.spool.receive(new_id(), offer.file, content, note), content, verdict, days
        )

    def acknowledge(self, days: float = 0.0) -> None:
        """As if the broker had taken everything, so many days ago."""
        with closing(Outbox(self.journal.path, clock=lambda: self.now - days * DAY)) as outbox:
            outbox.acknowledge([message.sequence for message in outbox.pending(0, 1_000_000)])

    def left(self) -> set[str]:
        found = [*self.processed.iterdir(), *self.quarantine.iterdir()]
        return {path.name for path in found}

    def names(self) -> list[str]:
        return [r.inspection.name for r in sorted(tail(self.journal.path, 9999), key=_sequence)]


def _sequence(record: Any) -> int:
    return record.sequence


@pytest.fixture
def line(tmp_path):
    made: list[Line] = []

    def make(*args: Any, **options: Any) -> Line:
        made.append(Line(tmp_path, *args, **options))
        return made[-1]

    yield make
    for one in made:
        one.journal.close()


# -- images ------------------------------------------------------------------------------------


def test_nothing_is_deleted_that_nobody_asked_for(line):
    state = line()
    for verdict in Verdict:
        state.judge(f"{verdict.value}.png", verdict, days=9999)
    before = state.left()

    state.keeper.tidy()

    assert state.left() == before
    assert len(state.names()) == 4


def test_images_go_by_age_and_defects_are_kept_longest(line):
    state = line("ok_days = 10\ndefect_days = 100")
    for days in (101, 99, 11, 9):
        for verdict in Verdict:
            state.judge(f"{verdict.value} {days}.png", verdict, days=days)

    state.keeper.tidy()

    assert state.left() == {
        "ok 9.png",
        *(f"{kind} {days}.png" for kind in ("defect", "review", "error") for days in (9, 11, 99)),
        *(f"error {days}.png.reason.json" for days in (9, 11, 99)),
    }
    assert len(state.names()) == 16  # the inspections stay
    state.wait(2)
    state.keeper.tidy()
    assert "ok 9.png" not in state.left()


def test_beyond_a_number_the_oldest_go_and_defects_last(line, monkeypatch):
    monkeypatch.setattr(housekeeping, "BATCH", 2)
    state = line("max_images = 4")
    state.judge("defect 1.png", Verdict.DEFECT)
    for number in range(5):
        state.judge(f"ok {number}.png")
    state.judge("error.png", Verdict.ERROR)
    state.keeper.tidy()
    assert state.left() == {
        "defect 1.png", "ok 3.png", "ok 4.png", "error.png", "error.png.reason.json",
    }  # fmt: skip

    for number in range(2, 6):
        state.judge(f"defect {number}.png", Verdict.DEFECT)
    state.keeper.tidy()

    assert state.left() == {f"defect {number}.png" for number in range(2, 6)}


def test_for_want_of_room_the_oldest_go_until_there_is_enough(line, monkeypatch):
    monkeypatch.setattr(housekeeping, "BATCH", 2)
    state = line("min_free_mb = 100")
    state.judge("defect.png", Verdict.DEFECT, size=20 << 20)
    for number in range(7):
        state.judge(f"ok {number}.png", size=20 << 20)
    # Each image is 20 MB of a disk of 220.
    state.free = lambda _: (220 - 20 * len(state.left())) << 20

    state.keeper.tidy()

    assert state.left() == {"defect.png", *(f"ok {number}.png" for number in range(2, 7))}


@pytest.mark.parametrize(
    "name", ["a.png", "two\nlines.png", "\udcff\udcfe.png", r"back\nslash.png", "n" * 251 + ".png"]
)
def test_an_image_is_found_whatever_its_name(line, name):
    state = line("ok_days = 1\ndefect_days = 1")
    state.judge(name, days=2)
    state.judge(name, days=2)  # filed under a numbered name
    state.judge(name, Verdict.ERROR, days=2)
    state.judge(name)

    state.keeper.tidy()

    (kept,) = state.left()
    state.wait(2)
    state.judge(name)  # under the name that has become free
    state.keeper.tidy()
    assert len(state.left() - {kept}) == len(state.left()) == 1
    state.wait(2)
    state.keeper.tidy()
    assert state.left() == set()


def test_a_file_that_has_taken_the_name_of_one_that_is_gone_stays(line):
    state = line("ok_days = 1\ndefect_days = 1")
    state.judge("a.png", days=2)
    state.judge("b.png", Verdict.ERROR, days=2)
    for path in (*state.processed.iterdir(), *state.quarantine.iterdir()):
        path.unlink()  # by hand
    state.judge("a.png")
    state.judge("b.png", Verdict.ERROR)

    state.keeper.tidy()

    assert state.left() == {"a.png", "b.png", "b.png.reason.json"}


def test_a_note_that_is_no_longer_ours_is_left_alone(line):
    state = line("ok_days = 1\ndefect_days = 1")
    state.judge("b.png", Verdict.ERROR, days=2)
    (state.quarantine / "b.png.reason.json").write_text(json.dumps({"id": "another"}))

    state.keeper.tidy()

    assert state.left() == {"b.png", "b.png.reason.json"}


@pytest.mark.parametrize("folder", ["day", "2026/11", "\udcff"])
def test_an_image_of_a_folder_is_found_by_its_own_name(line, folder):
    state = line("ok_days = 1\ndefect_days = 1")
    for _ in range(2):
        state.judge(f"{folder}/a.png", days=2)
        state.judge(f"{folder}/a.png", Verdict.ERROR, days=2)

    state.keeper.tidy()

    assert state.left() == set()


@pytest.mark.parametrize("content", [b"\x89PNG of a part", b"words"])
@pytest.mark.parametrize("name", ["top-17", "Teil 1/\xdf.png", "../../part", "two\nlines", "."])
def test_an_image_of_a_message_is_found_whatever_its_camera_calls_it(line, name, content):
    state = line("ok_days = 1\ndefect_days = 1")
    for _ in range(2):
        state.receive(name, content, days=2)
        state.receive(name, content, Verdict.ERROR, days=2)
    assert len([*state.processed.iterdir(), *state.quarantine.iterdir()]) == 2 + 2 * 2

    state.keeper.tidy()

    assert state.left() == set()


def test_no_name_leads_out_of_the_folder(line, tmp_path):
    """A camera that knows a file's content must not be able to have it deleted."""
    state = line("ok_days = 1\ndefect_days = 1")
    for name in (str(tmp_path / "precious"), "../../precious"):
        (tmp_path / "precious").write_bytes(b"known to the camera")
        state.receive(name, b"known to the camera", days=2)
        (path,) = state.processed.iterdir()
        path.unlink()

        state.keeper.tidy()

        assert (tmp_path / "precious").exists()


def test_a_note_that_a_power_cut_has_emptied_is_of_the_image_beside_it(line):
    state = line("ok_days = 1\ndefect_days = 1")
    for name in ("a.png", "b.png", "c.png"):
        state.judge(name, Verdict.ERROR, days=2)
    (state.quarantine / "a.png.reason.json").write_bytes(b"")
    (state.quarantine / "b.png.reason.json").write_bytes(b"[]")
    (state.quarantine / "b.png").write_bytes(b"another image")

    state.keeper.tidy()

    assert state.left() == {"b.png", "b.png.reason.json"}


def test_a_file_that_can_not_go_does_not_keep_the_others(line, caplog):
    state = line("ok_days = 1\ndefect_days = 1")
    for name in ("a.png", "b.png", "c.png"):
        state.judge(name, days=2)
    (state.processed / "b.png").unlink()
    (state.processed / "b.png").mkdir()  # by hand

    state.keeper.tidy()

    assert state.left() == {"b.png"}
    assert "b.png is due for deletion, but can't be deleted: Is a directory" in caplog.text


def test_what_could_not_be_deleted_goes_later(line, monkeypatch):
    state = line("ok_days = 1\ndefect_days = 1")
    for name in ("a.png", "b.png"):
        state.judge(name, days=2)
    (state.processed / "a.png").rename(state.processed / "aside")
    (state.processed / "a.png").mkdir()
    state.keeper.tidy()
    assert state.left() == {"a.png", "aside"}
    (told,) = state.keeper.trouble
    assert told.startswith(f"{state.processed}/a.png is due for deletion, but can't be deleted")

    (state.processed / "a.png").rmdir()
    (state.processed / "aside").rename(state.processed / "a.png")
    state.keeper.tidy()

    assert state.left() == set()
    assert state.keeper.trouble == []


def test_images_that_can_not_be_deleted_cost_no_others(line):
    state = line("max_images = 3")
    for number in range(5):
        state.judge(f"ok {number}.png")
        (state.processed / f"ok {number}.png").unlink()
        (state.processed / f"ok {number}.png").mkdir()
    for number in range(3):
        state.judge(f"defect {number}.png", Verdict.DEFECT)

    for _ in range(3):
        state.keeper.tidy()

    assert {f"defect {number}.png" for number in range(3)} <= state.left()
    assert "ok 0.png is due for deletion" in state.keeper.trouble[0]
    assert "and 4 more" in state.keeper.trouble[0]


def test_a_folder_that_may_not_be_changed_is_told_once_and_tried_again(line, monkeypatch, caplog):
    monkeypatch.setattr(housekeeping, "BATCH", 2)
    state = line("max_images = 1")
    for number in range(6):
        state.judge(f"{number}.png")
    unlink = type(state.processed).unlink

    def refuse(path: Path, **_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(state.processed), "unlink", refuse)
    for _ in range(5):
        state.keeper.tidy()
    assert len(state.left()) == 6
    assert caplog.text.count("is due for deletion") == 1

    monkeypatch.setattr(type(state.processed), "unlink", unlink)
    for _ in range(5):
        state.keeper.tidy()

    assert state.left() == {"5.png"}


def test_what_waits_for_a_person_goes_last(line):
    state = line("max_images = 2")
    for verdict in (Verdict.REVIEW, Verdict.DEFECT, Verdict.OK, Verdict.ERROR):
        state.judge(f"{verdict.value}.png", verdict)

    state.keeper.tidy()

    assert state.left() == {"review.png", "error.png", "error.png.reason.json"}


def test_files_that_the_journal_does_not_know_cost_none_that_it_knows(line):
    state = line("max_images = 3")
    for number in range(5):
        (state.processed / f"before {number}.png").write_bytes(b"image")
    for number in range(4):
        state.judge(f"{number}.png")

    state.keeper.tidy()

    assert {f"{number}.png" for number in (1, 2, 3)} <= state.left()
    assert len(state.left()) == 5 + 3
    (told,) = state.keeper.trouble
    assert told.startswith("retention.max_images = 3: 8 images lie in ")
    assert "5 of them are not in the journal" in told
    for number in range(5):
        (state.processed / f"before {number}.png").unlink()
    state.keeper.tidy()
    assert state.keeper.trouble == []


def test_what_is_not_filed_yet_is_not_taken_for_gone(line):
    state = line("ok_days = 1")
    source = state.inbox / "a.png"
    source.write_bytes(b"image")
    claim = state.spool.claim(source)
    digest = Image(hashlib.sha256(b"image").hexdigest(), 5, 1, 1)
    made = replace(
        inspection(1), id=claim.id, name=claim.name, image=digest, completed=NOW - 2 * DAY
    )
    state.journal.record([made], plain)
    state.keeper.tidy()  # `processed/` was full, say

    state.spool.keep(claim)
    state.keeper.tidy()

    assert state.left() == set()


def test_images_on_a_disk_that_is_away_are_not_taken_for_gone(line):
    state = line("ok_days = 1")
    away = [""]
    state.keeper = Housekeeping(
        state.settings, away=lambda *_: away[0], clock=lambda: state.now, uptime=lambda: 1.0
    )
    state.judge("a.png", days=2)
    (state.processed / "a.png").rename(state.inbox / "a.png")
    away[0] = "not mounted"
    with pytest.raises(Exception, match="not mounted"):
        state.keeper.tidy()

    (state.inbox / "a.png").rename(state.processed / "a.png")
    away[0] = ""
    state.keeper.tidy()

    assert state.left() == set()


# -- the clock ---------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [-2190, -1, 400, 2190])
def test_a_clock_that_is_set_makes_nothing_old_and_nothing_eternal(line, step, caplog):
    state = line("ok_days = 10\ndefect_days = 10\njournal_days = 10\nreplay_days = 10")
    state.keeper.tidy()
    state.now += step * DAY  # wrong, or right at last
    state.judge("wrong.png")
    state.acknowledge()
    state.keeper.tidy()
    assert "nothing is deleted by age for an hour" in caplog.text
    state.now -= step * DAY
    state.judge("right.png", Verdict.DEFECT)
    state.acknowledge()

    for _ in range(9):
        state.keeper.tidy()
        assert state.left() == {"wrong.png", "right.png"}
        assert state.names() == ["wrong.png", "right.png"]
        with closing(Outbox(state.journal.path)) as outbox:
            assert outbox.replay(1, 9, 9).messages == 2
        state.acknowledge()
        state.wait(1)
    state.wait(2)
    state.keeper.tidy()
    assert state.left() == set()


def test_a_journal_of_an_older_program_with_a_clock_that_was_wrong(line):
    state = line("ok_days = 10\ndefect_days = 10")
    state.judge("old.png", days=11)
    state.judge("ahead.png", days=-400)
    state.judge("behind.png", days=20)  # of a lower sequence than one of -400
    state.judge("battery.png", Verdict.DEFECT, days=2500)

    state.keeper.tidy()
    assert state.left() == {"ahead.png", "behind.png", "battery.png"}

    state.wait(11)
    state.keeper.tidy()
    assert state.left() == set()


def test_ages_go_on_after_a_restart_and_a_reboot(line, monkeypatch):
    state = line("ok_days = 2")
    state.judge("a.png")
    state.keeper.tidy()
    monkeypatch.setattr(housekeeping.ownclock, "boot", lambda: "another")
    state.now += 1.5 * DAY
    state.uptime = 5.0
    state.keeper = Housekeeping(
        state.settings, clock=lambda: state.now, uptime=lambda: state.uptime
    )
    state.keeper.tidy()
    assert state.left() == {"a.png"}

    state.wait(0.6)
    state.keeper.tidy()

    assert state.left() == set()


# -- room --------------------------------------------------------------------------------------


def test_nothing_is_deleted_for_room_that_deleting_can_not_make(line, monkeypatch):
    state = line("min_free_mb = 100")
    for number in range(3):
        state.judge(f"{number}.png", size=20 << 20)
    state.free = lambda _: 30 << 20

    state.keeper.tidy()

    assert len(state.left()) == 3
    assert "60 MB: deleting them is not enough" in state.keeper.trouble[0]


def test_deleting_stops_when_it_frees_nothing(line, monkeypatch):
    monkeypatch.setattr(housekeeping, "FREED_LATE", 0.0)
    state = line("min_free_mb = 100")
    for number in range(9):
        state.judge(f"{number}.png", size=20 << 20)
    state.free = lambda _: 90 << 20  # a snapshot holds it all

    for _ in range(5):
        state.keeper.tidy()

    assert len(state.left()) == 8
    assert "no more room than before" in state.keeper.trouble[0]
    state.free = lambda _: 110 << 20
    state.keeper.tidy()
    assert state.keeper.trouble == []


def test_images_with_another_link_are_not_deleted_for_room(line, monkeypatch):
    state = line("min_free_mb = 100")
    for number in range(4):
        state.judge(f"{number}.png", size=20 << 20)
        if number < 2:
            os.link(state.processed / f"{number}.png", state.inbox / f"{number}.png")
    state.free = lambda _: (95 + 20 * (4 - len(state.left()))) << 20

    state.keeper.tidy()

    assert state.left() == {"0.png", "1.png", "3.png"}


def test_a_disk_that_is_full_is_made_room_on_all_the_same(line, monkeypatch):
    """The journal can't take up what is new; what it knows is deleted."""
    state = line("min_free_mb = 100")
    for number in range(3):
        state.judge(f"{number}.png", size=60 << 20)
    state.keeper.tidy()
    state.free = lambda _: (60 * (3 - len(state.left()))) << 20

    def full(*_: Any) -> None:
        raise JournalError("the disk is full", full=True)

    monkeypatch.setattr(housekeeping.Archive, "take_up", full)
    with pytest.raises(JournalError, match="full"):
        state.keeper.tidy()

    assert state.left() == {"2.png"}


# -- the journal -------------------------------------------------------------------------------


def test_inspections_go_by_age_when_their_messages_have_gone(line):
    state = line("journal_days = 30\nreplay_days = 5")
    for days in (40, 31, 20):
        state.judge(f"{days}.png", days=days)
    state.acknowledge(days=6)
    state.judge("unsent.png", days=40)

    state.keeper.tidy()

    assert state.names() == ["20.png", "unsent.png"]
    with closing(Outbox(state.journal.path)) as outbox:
        assert [message.sequence for message in outbox.pending(0, 9)] == [4]
        outbox.replay(1, 9999, 9999)
        assert [message.sequence for message in outbox.pending(0, 9)] == [4]
    (message,) = state.journal.record([inspection(7)], plain)
    assert message.sequence == 5  # no number is given twice


def test_the_numbers_go_on_when_every_inspection_is_gone(line):
    state = line("journal_days = 1\nreplay_days = 1")
    for number in range(3):
        state.judge(f"{number}.png", days=3)
    state.acknowledge(days=2)

    state.keeper.tidy()

    assert state.names() == []
    (message,) = state.journal.record([inspection(7)], plain)
    assert message.sequence == 4


def test_without_a_broker_messages_go_with_their_inspections(line):
    state = line("journal_days = 30", broker=False)
    state.judge("old.png", days=31)
    state.judge("new.png", days=1)

    state.keeper.tidy()

    assert state.names() == ["new.png"]
    with closing(Outbox(state.journal.path)) as outbox:
        assert outbox.unacknowledged() == 1


def test_an_inspection_is_kept_until_its_image_has_gone(line):
    state = line("journal_days = 10\nok_days = 20\ndefect_days = 20\nreplay_days = 1")
    state.judge("ok.png", days=21)
    state.judge("defect.png", Verdict.DEFECT, days=21)
    state.judge("later.png", days=15)
    state.acknowledge(days=2)

    state.keeper.tidy()

    assert state.names() == ["later.png"]
    assert state.left() == {"later.png"}


def test_what_is_held_does_not_hide_what_may_go(line, monkeypatch):
    monkeypatch.setattr("edge_agent.journal.archive._STEP", 2)
    state = line("journal_days = 10\ndefect_days = 100\nok_days = 10", broker=False)
    for number in range(5):
        state.judge(f"defect {number}.png", Verdict.DEFECT, days=50)
    for number in range(5):
        state.judge(f"ok {number}.png", days=20)

    state.keeper.tidy()

    assert state.names() == [f"defect {number}.png" for number in range(5)]


@pytest.mark.parametrize("identity", ["k" + "0" * 23, hashlib.sha256(b"file").hexdigest()[:24]])
def test_a_file_that_stays_is_known_when_its_inspection_is_gone(line, identity):
    state = line("journal_days = 1\nreplay_days = 1")
    claim = state.judge("a.png", days=3, received=NOW)
    kept = state.judge("b.png", days=3, id=identity)
    state.acknowledge(days=2)

    state.keeper.tidy()

    assert state.names() == []
    assert state.journal.has(identity)
    assert state.journal.record([inspection(1, id=identity)], plain) == []
    assert kept.id != identity
    # An identity of the claim's own time never comes again: it is not kept for ever.
    with closing(sqlite3.connect(state.journal.path)) as db:
        pruned = {row[0] for row in db.execute("SELECT id FROM pruned")}
    assert identity in pruned
    assert (claim.id in pruned) is (abs(int(claim.id[:12], 16) / 1000 - NOW) > DAY)


def test_the_identity_of_a_claim_does_not_come_again():
    identity = new_id()
    at = int(identity[:12], 16) / 1000
    assert not may_come_again(identity, at)
    assert may_come_again(identity, at - 3 * DAY)  # the clock was set: better kept
    assert may_come_again("k" + identity[1:], at)


@pytest.mark.slow
def test_a_large_journal_stops_growing_and_the_writer_is_not_held_up(line):
    state = line("journal_days = 1\nreplay_days = 1")
    sizes = []
    number = 0

    def old(number):
        identity = f"{round(state.now * 1000):012x}{number:012x}"
        return inspection(number, id=identity, received=state.now, completed=state.now - 3 * DAY)

    for _ in range(4):
        state.wait(5)
        batch = [old(number + n) for n in range(2000)]
        number += 2000
        state.journal.record(batch, plain)
        state.acknowledge(days=2)
        slow = []
        over = threading.Event()

        def write(over=over, slow=slow):
            written = 0
            while not over.is_set():
                written += 1
                state.journal.record([inspection(10**6, completed=state.now)], plain)
            slow.append(written)

        writer = threading.Thread(target=write)
        writer.start()
        state.keeper.tidy()
        over.set()
        writer.join()
        assert slow[0] > 0  # it got its turn, or `record` had raised
        with closing(sqlite3.connect(state.journal.path)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sizes.append(state.journal.path.stat().st_size)
    assert sizes[3] < sizes[0] * 1.3, sizes


def test_a_journal_that_fails_is_logged_and_tried_again(line, caplog, monkeypatch):
    state = line("journal_days = 1")
    rounds = threading.Semaphore(0)

    def failing(*_: Any) -> None:
        rounds.release()
        raise OSError(5, "Input/output error")

    keeper = Housekeeping(state.settings, period=0.0)
    monkeypatch.setattr(keeper, "tidy", failing)
    with caplog.at_level(logging.WARNING):
        keeper.start()
        for _ in range(3):
            assert rounds.acquire(timeout=60)
        keeper.stop()

    assert "housekeeping failed" in caplog.text


def test_the_thread_outlives_what_nobody_thought_of(line, caplog, monkeypatch):
    state = line("journal_days = 1")
    rounds = threading.Semaphore(0)

    def failing(*_: Any) -> None:
        rounds.release()
        raise ValueError("unheard of")

    keeper = Housekeeping(state.settings, period=0.0)
    monkeypatch.setattr(keeper, "tidy", failing)
    keeper.start()
    for _ in range(3):
        assert rounds.acquire(timeout=60)
    keeper.stop()

    assert "housekeeping failed and is retried" in caplog.text
    assert "unheard of" in caplog.text


def test_defects_are_not_to_be_kept_shorter(tmp_path):
    with pytest.raises(SettingsError, match="defects are kept longest"):
        Line(tmp_path, "ok_days = 10\ndefect_days = 5")
