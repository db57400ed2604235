"""An agent that runs, or doesn't, or is something else on its port."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from edge_agent.doctor.station import (
    holder_of,
    look_at_health,
    look_at_journal,
    look_at_losses,
    look_at_station,
)
from edge_agent.journal import Journal
from edge_agent.settings import HttpSettings
from edge_agent.system.lock import hold
from tests.broker import free_port
from tests.inspections import inspection

HOLDER = """
import signal, sys
from pathlib import Path
from edge_agent.system.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""


def test_who_holds_the_lock_is_named(make_settings, tmp_path):
    settings = make_settings()
    lock = settings.storage.lock
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"

        (found,) = look_at_station(settings)

        assert found.level == "ok"
        assert found.what == f"an agent runs on {tmp_path}/state (process {process.pid})"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert look_at_station(settings)[0].what == f"no agent runs on {tmp_path}/state"


def test_looking_takes_no_lock_and_leaves_none(tmp_path):
    assert holder_of(tmp_path / "lock") is None
    assert not (tmp_path / "lock").exists()
    with hold(tmp_path / "lock"):
        pass
    assert holder_of(tmp_path / "lock") is None
    with hold(tmp_path / "lock"):
        pass


@contextmanager
def page(status: int, body: bytes):
    """Something that answers every GET with this."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield HttpSettings(port=server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "level", "said"),
    [
        (200, b'{"status": "ok", "reasons": []}', "ok", "says ok"),
        (200, b'{"status": "degraded", "reasons": ["mqtt: x"]}', "warning", "degraded: mqtt: x"),
        (503, b'{"status": "failing", "reasons": ["no worker"]}', "error", "failing: no worker"),
        (200, b"<html>", "error", "another program answers"),
        (404, b"[]", "error", "another program answers"),
    ],
)
def test_what_the_page_says(status, body, level, said):
    with page(status, body) as http:
        (found,) = look_at_health(http, runs=True)

    assert found.level == level
    assert said in found.what


def test_a_page_of_another_station():
    with page(200, b'{"status": "ok", "reasons": []}') as http:
        (found,) = look_at_health(http, runs=False)

    assert found.level == "error"
    assert found.mend == "give each station its own [http] port"


def test_a_page_that_is_silent():
    http = HttpSettings(port=free_port())

    assert look_at_health(http, runs=False) == []
    (found,) = look_at_health(http, runs=True)
    assert found.level == "error"
    assert found.what.endswith("Connection refused")


def test_a_journal(tmp_path):
    with Journal(tmp_path / "journal.db") as journal:
        assert look_at_journal(journal_file(tmp_path), time.time()).what == "the journal is empty"
        one = replace(inspection(1), completed=1_000_000.0)
        journal.record([one], lambda _sequence, _inspection: b"{}")

    assert look_at_journal(journal_file(tmp_path), 1_000_030.0).level == "ok"
    back = look_at_journal(journal_file(tmp_path), 900_000.0)
    assert back.level == "warning"
    assert "the clock was set back since" in back.what


def test_a_journal_that_is_none(tmp_path):
    journal_file(tmp_path).write_bytes(b"words, words, words" * 100)

    found = look_at_journal(journal_file(tmp_path), 0.0)

    assert found.level == "error"
    assert "journal.db" in found.what


def journal_file(directory):
    return directory / "journal.db"


def test_what_is_missing_from_a_journal_is_an_error(tmp_path):
    with Journal(journal_file(tmp_path)) as journal:
        journal.record([inspection(n) for n in (1, 2)], lambda *_: b"{}")
    assert look_at_losses(journal_file(tmp_path)) == []
    older = journal_file(tmp_path).read_bytes()
    with Journal(journal_file(tmp_path)) as journal:
        journal.record([inspection(3)], lambda *_: b"{}")
    journal_file(tmp_path).write_bytes(older)

    (found,) = look_at_losses(journal_file(tmp_path))

    assert found.level == "error"
    assert found.what == "inspection 3 is missing from journal.db"
    assert "edge-agent journal repair" in found.mend


def test_a_last_row_that_can_not_be_read_is_named(tmp_path):
    with Journal(journal_file(tmp_path)) as journal:
        journal.record([inspection(1)], lambda *_: b"{}")
    with closing(sqlite3.connect(journal_file(tmp_path))) as db:
        db.execute("UPDATE inspections SET verdict = 'oj'")
        db.commit()

    found = look_at_journal(journal_file(tmp_path), 0.0)

    assert found.level == "error"
    assert "row 1 of the journal can't be read: verdict is 'oj'" in found.what
