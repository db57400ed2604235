"""What a person gets from ``edge-agent journal``."""

from __future__ import annotations

import json
import time

import pytest

from edge_agent import cli
from edge_agent.journal import Journal
from edge_agent.types import Verdict
from tests.inspections import inspection, plain


@pytest.fixture
def path(tmp_path, monkeypatch):
    path = tmp_path / "journal.db"
    made = [
        inspection(1, name="same.jpg", stored="processed/same.jpg"),
        inspection(2, Verdict.DEFECT, name="same.jpg", stored="processed/same.0199.jpg"),
        inspection(3, Verdict.ERROR, name="same.jpg", stored="quarantine/same.jpg"),
        inspection(4, name="same.jpg", stored=""),
    ]
    with Journal(path) as journal:
        journal.record(made, plain)
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield path
    time.tzset()


def lines(capsys, *arguments):
    assert cli.run(["journal", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def test_tail_says_when_by_the_clock_on_the_wall_and_where_each_image_lies(path, capsys):
    found = lines(capsys, "tail", "--journal", path)
    assert found[0] == (
        "       1  2026-09-21T16:13:21.750+02:00  ok      0.0010      5.0 ms  same.jpg"
    )
    assert found[1].endswith("  same.jpg in processed/same.0199.jpg")
    assert found[2].endswith("  same.jpg in quarantine/same.jpg  the file is empty")
    assert found[3].endswith("  same.jpg")
    assert lines(capsys, "tail", "--journal", path, "--verdict", "error") == [found[2]]


def test_tail_follows_until_it_is_ended(path, capsys, monkeypatch):
    def end(_):
        monkeypatch.setattr(time, "sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with Journal(path) as journal:
            journal.record([inspection(5), inspection(6, Verdict.DEFECT)], plain)

    monkeypatch.setattr(time, "sleep", end)
    arguments = ["tail", "-f", "-n", "1", "--verdict", "defect", "--journal", str(path)]
    assert cli.run(["journal", *arguments]) == 130
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["2", "6"]


def test_stats_by_shift(path, capsys):
    found = lines(capsys, "stats", "--journal", path, "--by", "shift")
    assert found[2] == "from, to      2026-09-21T16:13:21.750+02:00  2026-09-21T16:13:24.750+02:00"
    assert found[-2].split() == ["shift", "ok", "defect", "review", "error", "defect", "rate"]
    assert found[-1].split() == ["2026-09-21T14:00+02:00", "2", "1", "0", "1", "33.33%"]
    (period,) = json.loads(
        "".join(lines(capsys, "stats", "--journal", path, "--by=hour", "--json"))
    )["periods"]
    assert period == {
        "start": 1_789_999_200.0,
        "verdicts": {"ok": 2, "defect": 1, "review": 0, "error": 1},
        "defect_rate": 1 / 3,
    }
    assert "periods" not in json.loads("".join(lines(capsys, "stats", "--journal", path, "--json")))


def test_a_mark_is_for_spreadsheets(path, capsys):
    assert cli.run(["journal", "export", "--journal", str(path), "--bom"]) == 0
    assert capsys.readouterr().out.startswith("\ufeffsequence,")
    assert cli.run(["journal", "export", "--journal", str(path), "--bom", "--format=jsonl"]) == 2
    assert "it needs --format csv" in capsys.readouterr().err


def test_a_journal_that_is_not_there_is_named(tmp_path, capsys):
    assert cli.run(["journal", "tail", "--journal", str(tmp_path / "none.db")]) == 2
    assert f"there is no journal at {tmp_path}/none.db" in capsys.readouterr().err
