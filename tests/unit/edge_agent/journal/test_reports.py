"""What people ask of a journal."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.journal import Journal, JournalError, Selection, export, stats
from edge_agent.system.percentiles import Percentiles
from edge_agent.types import Verdict
from tests.inspections import MODEL, inspection, plain


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "journal.db"
    with Journal(path) as journal:
        journal.record([inspection(n) for n in range(1, 2401)], plain)
        journal.record([inspection(n, Verdict.DEFECT) for n in range(2401, 2501)], plain)
        journal.record([inspection(2501, Verdict.ERROR, name='a,"b".png')], plain)
    return path


def test_export_csv(path):
    stream = io.StringIO(newline="")
    assert export(path, stream, "csv") == 2501
    rows = list(csv.DictReader(io.StringIO(stream.getvalue(), newline="")))
    assert [int(row["sequence"]) for row in rows] == list(range(1, 2502))
    assert rows[0]["completed"] == "2026-09-21T14:13:21.750Z"
    assert rows[-1]["name"] == 'a,"b".png'
    assert rows[-1]["score"] == ""
    assert json.loads(rows[2450]["regions"])[0]["peak"] == 0.875


def test_no_text_of_a_camera_is_a_formula_in_a_spreadsheet(path):
    names = ["=cmd|' /C calc'!A0", "+1.png", "-2.png", "@SUM(A1)", "\uff1d1", "a=b.png"]
    with Journal(path) as journal:
        journal.record([inspection(3000 + n, name=name) for n, name in enumerate(names)], plain)
    stream = io.StringIO(newline="")
    export(path, stream, "csv")
    rows = list(csv.DictReader(io.StringIO(stream.getvalue(), newline="")))
    assert [row["name"] for row in rows[-6:]] == [*("'" + name for name in names[:5]), names[5]]
    stream = io.StringIO()
    export(path, stream, "jsonl")  # for programs: as it is
    assert json.loads(stream.getvalue().splitlines()[-6])["name"] == names[0]


def test_a_mark_tells_a_spreadsheet_that_it_is_utf_8(path):
    stream = io.StringIO(newline="")
    export(path, stream, "csv", mark=True)
    assert stream.getvalue().startswith("\ufeffsequence,id,")


def test_an_export_says_where_each_image_is_filed(path):
    stream = io.StringIO()
    export(path, stream, "jsonl")
    lines = stream.getvalue().splitlines()
    assert json.loads(lines[0])["stored"] == "processed/part 1.png"
    assert json.loads(lines[-1])["stored"] == "quarantine/part 2501.png"


def test_export_jsonl_selected(path):
    stream = io.StringIO()
    wanted = Selection(
        since=inspection(2399).completed,
        until=inspection(2405).completed,
        verdicts=frozenset({Verdict.DEFECT, Verdict.ERROR}),
    )
    assert export(path, stream, "jsonl", wanted) == 4
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [row["id"] for row in rows] == [inspection(n).id for n in range(2401, 2405)]
    assert rows[0]["regions"] == [{"x": 10, "y": 20, "width": 30, "height": 40, "peak": 0.875}]


def test_a_clock_that_was_set_back_hides_nothing(path):
    with Journal(path) as journal:
        journal.record([inspection(3000, completed=inspection(7).completed)], plain)
    stream = io.StringIO()
    selection = Selection(since=inspection(7).completed, until=inspection(8).completed)
    assert export(path, stream, "jsonl", selection) == 2
    assert [json.loads(line)["sequence"] for line in stream.getvalue().splitlines()] == [7, 2502]


def test_stats(path):
    found = stats(path)
    assert found.count == 2501
    assert found.verdicts == {
        Verdict.OK: 2400,
        Verdict.DEFECT: 100,
        Verdict.REVIEW: 0,
        Verdict.ERROR: 1,
    }
    assert found.defect_rate == 100 / 2500
    assert (found.first, found.last) == (inspection(1).completed, inspection(2501).completed)
    # infer is the frame's number: 1 ... 2500, the error not counted
    assert found.latency["infer"] == Percentiles(1250.0, 2375.0, 2475.0)
    assert [(m.model, m.count) for m in found.models] == [(MODEL, 2501)]
    assert found.unacknowledged == 2501


def test_stats_say_which_bundle_and_threshold_judged_when(tmp_path):
    path, other = tmp_path / "journal.db", replace(MODEL, digest="f" * 64)
    made = [inspection(1), inspection(2)]
    made += [inspection(3, threshold=0.34), inspection(4, model=other, threshold=0.34)]
    made += [inspection(5, model=replace(other, variant="int8"), threshold=0.34), inspection(6)]
    with Journal(path) as journal:
        journal.record(made, plain)

    found = stats(path).judged

    assert [(one.digest, one.threshold, one.count) for one in found] == [
        (MODEL.digest, 0.5, 2),
        (MODEL.digest, 0.34, 1),
        (other.digest, 0.34, 2),
        (MODEL.digest, 0.5, 1),
    ]
    assert (found[2].first, found[2].last) == (made[3].completed, made[4].completed)
    assert (found[0].name, found[0].version) == (MODEL.name, MODEL.version)
    assert {one.model.digest for one in stats(path).models} == {MODEL.digest, other.digest}
    assert len(stats(path, Selection(since=made[4].completed)).judged) == 2


def test_stats_of_nothing(path):
    found = stats(path, Selection(since=9e9))
    assert (found.count, found.defect_rate, found.first, found.latency) == (0, None, None, {})


def test_an_mtime_that_no_calendar_holds_can_be_exported(path):
    with Journal(path) as journal:
        journal.record([inspection(4000, captured=1e18, received=-1e18)], plain)
    stream = io.StringIO()
    export(path, stream, "jsonl")
    last = json.loads(stream.getvalue().splitlines()[-1])
    assert last["captured"].startswith("9999-12-31")
    assert last["received"].startswith("0001-01-01")


def test_reports_work_while_the_daemon_writes(path):
    with Journal(path) as journal:
        journal._db.execute("BEGIN IMMEDIATE")
        journal._db.execute("DELETE FROM inspections")
        assert stats(path).count == 2501
        journal._db.execute("ROLLBACK")


def test_an_export_does_not_hold_up_checkpoints(path, tmp_path):
    class Slow(io.StringIO):
        """Writes to the journal while it is being read, as a daemon does."""

        def write(self, text):
            if self.tell() == 0:
                for n in range(10_000, 10_060):
                    journal.record([inspection(n + k * 1000) for k in range(50)], plain)
            return super().write(text)

    with Journal(path) as journal:
        assert export(path, Slow(), "jsonl") >= 2501
        journal.record([inspection(99_999)], plain)
        busy = journal._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]
    assert busy == 0


def read_as_nobody(place, journal):
    """What a user gets who may read in a folder, and not write."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from edge_agent.journal import JournalError, stats\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: print(stats(Path(sys.argv[1])).count)\n"
        "except JournalError as error: print(error)\n"
    )
    place.chmod(0o755)
    for file in place.iterdir():
        file.chmod(0o644)
    done = subprocess.run(
        [sys.executable, "-c", code, str(journal)],
        cwd=Path(__file__).parents[4],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user without rights")
def test_a_user_who_may_only_read(path):
    # Not below pytest's own directory, which it keeps to itself.
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copy(path, place))
        assert read_as_nobody(Path(place), copy) == "2501"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user without rights")
def test_a_killed_stations_journal_that_can_only_be_read_says_why_and_how(path):
    with tempfile.TemporaryDirectory() as place, Journal(path) as journal:
        journal.record([inspection(9000)], plain)
        for name in ("journal.db", "journal.db-wal"):  # as a kill leaves them, on another disk
            shutil.copy(path.with_name(name), place)
        copy = Path(place, "journal.db")
        said = read_as_nobody(Path(place), copy)
        assert said.startswith(f"{copy} was not closed, as after a kill: its latest inspections")
        assert f"cp {copy} {copy}-wal DIR, then edge-agent journal tail --journal DIR/" in said
        with tempfile.TemporaryDirectory() as home:  # and so it is
            for file in (copy, Path(f"{copy}-wal")):
                shutil.copy(file, home)
            assert stats(Path(home, "journal.db")).count == 2502


def test_damage_behind_the_first_look_is_refused_when_it_is_read(path):
    with path.open("r+b") as stream:
        for page in range(8, path.stat().st_size // 4096):
            stream.seek(page * 4096)
            stream.write(b"\xff" * 4096)
    with pytest.raises(JournalError, match="is damaged"):
        stats(path)
