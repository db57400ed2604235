"""Images that no row names get one, once, whatever cuts it short."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_agent.journal import Journal, JournalError, Outbox, tail
from edge_agent.line.repair import Repaired, repair
from edge_agent.settings import StorageSettings
from edge_agent.sources.spool import Spool
from edge_agent.system import lock
from edge_agent.system.lock import LockedError
from edge_agent.types import Image, Verdict
from tests.inspections import inspection, plain


class Line:
    """A station without a daemon: images that were judged, filed away and recorded."""

    def __init__(self, home):
        self.storage = StorageSettings(root=home / "state")
        self.storage.root.mkdir()
        self.spool = Spool(
            self.storage.work_dir, self.storage.processed_dir, self.storage.quarantine_dir
        )
        self.settings = SimpleNamespace(
            storage=self.storage, station=SimpleNamespace(site="s", line="l", name="n")
        )
        self.inbox = home

    def judge(self, name, content, verdict=Verdict.OK, mtime=None):
        source = self.inbox / name
        source.write_bytes(content)
        if mtime is not None:
            os.utime(source, (mtime, mtime))
        claim = self.spool.claim(source)
        made = inspection(
            1, verdict, id=claim.id, name=claim.name, captured=claim.captured,
            received=claim.received, image=Image(sha256(content).hexdigest(), len(content)),
        )  # fmt: skip
        with Journal(self.storage.journal) as journal:
            journal.record([made], plain)
        if verdict is Verdict.ERROR:
            self.spool.quarantine(claim, made.reason)
        else:
            self.spool.keep(claim)

    def lose(self, which="1"):
        """Take rows out of the journal, as damage does."""
        with closing(sqlite3.connect(self.storage.journal)) as db:
            which = f"SELECT sequence FROM inspections WHERE {which}"
            for table in ("outbox", "inspections"):
                db.execute(f"DELETE FROM {table} WHERE sequence IN ({which})")
            db.execute("UPDATE meta SET value = 0 WHERE key = 'absent'")
            db.commit()

    def rows(self):
        return [record.inspection for record in tail(self.storage.journal, 999)]

    def names(self, where):
        directory = self.storage.root / where
        return sorted(p.name for p in directory.iterdir() if not p.name.endswith(".reason.json"))


@pytest.fixture
def line(tmp_path):
    return Line(tmp_path)


def test_images_without_a_row_get_one_and_lie_in_quarantine(line):
    line.judge("kept.png", b"kept")
    line.judge("lost.png", b"lost")
    line.judge("bad.png", b"bad", Verdict.ERROR)
    (before,) = [one for one in line.rows() if one.name == "bad.png"]
    line.lose("name <> 'kept.png'")

    done = repair(line.settings)

    assert (done.images, done.recovered) == (2, 2)
    kept, *recovered = line.rows()
    assert kept.name == "kept.png"
    by_name = {one.name: one for one in recovered}
    lost, bad = by_name["lost.png"], by_name["bad.png"]
    assert lost.verdict is bad.verdict is Verdict.ERROR
    assert lost.image.sha256 == sha256(b"lost").hexdigest()
    assert lost.reason.startswith("recovered: the journal has lost the inspection")
    assert (bad.id, bad.reason) == (before.id, f"recovered: {before.reason}")
    assert line.names("processed") == ["kept.png"]
    assert line.names("quarantine") == ["bad.png", "lost.png"]
    note = json.loads((line.storage.quarantine_dir / "lost.png.reason.json").read_text())
    assert note["id"] == lost.id
    with closing(Outbox(line.storage.journal)) as outbox:
        sent = [json.loads(m.payload) for m in outbox.pending(3, 9)]
    assert {one["id"] for one in sent} == {lost.id, bad.id}
    assert all(one["verdict"] == "error" and one["score"] is None for one in sent)


def test_what_is_missing_is_acknowledged_and_nothing_is_done_twice(line):
    line.judge("a.png", b"a")
    line.lose()
    with Journal(line.storage.journal) as journal:
        (loss,) = journal.losses

    assert repair(line.settings) == Repaired((loss,), 1, 1)
    rows = line.rows()
    assert repair(line.settings) == Repaired((), 0, 0)
    assert line.rows() == rows
    with Journal(line.storage.journal) as journal:
        assert journal.losses == ()


def test_acknowledging_alone_touches_no_image(line):
    line.judge("a.png", b"a")
    line.lose()
    done = repair(line.settings, images=False)
    assert len(done.losses) == 1
    assert line.rows() == []
    assert line.names("processed") == ["a.png"]


def test_each_row_names_one_image(line):
    """A reference part each morning: the same name, time and bytes."""
    for _ in range(5):
        line.judge("same.png", b"same", mtime=1_000_000)
    for number in range(3):
        line.judge(f"{number}.png", b"same", mtime=1_000_000)
    assert repair(line.settings).images == 0

    line.lose("sequence IN (2, 5, 7)")

    assert repair(line.settings).recovered == 3
    assert len(line.rows()) == 8
    assert repair(line.settings).images == 0


@pytest.mark.parametrize("kind", ["0", "k", "s", "r"])
def test_an_image_is_known_by_the_identity_in_its_name(line, kind):
    """Whatever the claim was: the bytes that its row speaks of are not those that lie there."""
    line.judge("a.png", b"first")
    identity = kind + "0123456789abcdef0123456"
    made = inspection(2, id=identity, name="a.png", image=Image(sha256(b"judged").hexdigest(), 6))
    with Journal(line.storage.journal) as journal:
        journal.record([made], plain)
    (line.storage.processed_dir / f"a.{identity}.png").write_bytes(b"written to since")

    assert repair(line.settings).images == 0


def test_names_that_a_journal_holds_in_another_form(line):
    line.judge("t\u00fcr\n.png", b"1")
    line.judge(os.fsdecode(b"\xff\xfe.png"), b"2")
    line.judge("x" * 240 + ".png", b"3")
    assert repair(line.settings).images == 0
    line.lose()
    assert repair(line.settings).recovered == 3
    assert {one.image.sha256 for one in line.rows()} == {
        sha256(content).hexdigest() for content in (b"1", b"2", b"3")
    }


def test_a_name_that_is_taken_in_quarantine(line):
    line.judge("a.png", b"bad", Verdict.ERROR)
    line.judge("a.png", b"good")
    line.lose("verdict = 'ok'")
    assert repair(line.settings).recovered == 1
    files = {p.read_bytes() for p in line.storage.quarantine_dir.glob("*.png")}
    assert files == {b"bad", b"good"}
    assert repair(line.settings).images == 0


def test_what_is_no_image_of_ours_is_left_alone(line):
    line.judge("a.png", b"a")
    places = line.storage.processed_dir
    (places / "folder").mkdir()
    (places / ".hidden").write_bytes(b"1")
    (places / "link").symlink_to("a.png")
    os.mkfifo(places / "pipe")
    assert repair(line.settings).images == 0


def test_on_two_filesystems(line, monkeypatch):
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(line.storage.quarantine_dir)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount a tmpfs")
    try:
        line.judge("a.png", b"a")
        line.lose()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", interrupted)  # between the copy and the removal
            with pytest.raises(KeyboardInterrupt):
                repair(line.settings)
        assert line.names("quarantine") == line.names("processed") == ["a.png"]

        repair(line.settings)

        assert line.names("quarantine") == ["a.png"]
        assert line.names("processed") == []
        assert len(line.rows()) == 1
    finally:
        subprocess.run(["umount", str(line.storage.quarantine_dir)], check=True)


def interrupted(path, **_):
    raise KeyboardInterrupt


def test_the_same_image_lost_again_is_another_one(line):
    for _ in range(2):
        line.judge("same.png", b"same", mtime=1_000_000)
        line.lose("verdict <> 'error'")
        assert repair(line.settings).recovered == 1
    assert len(line.rows()) == 2
    assert len(line.names("quarantine")) == 2
    assert repair(line.settings).images == 0


def test_while_the_agent_runs_it_is_refused(line):
    line.judge("a.png", b"a")
    with lock.hold(line.storage.lock), pytest.raises(LockedError, match="in use by another"):
        repair(line.settings)


def test_without_a_journal_none_is_made(line):
    with pytest.raises(JournalError, match="there is no journal"):
        repair(line.settings)
    assert not line.storage.journal.exists()
