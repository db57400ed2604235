"""A real small filesystem that runs full, and is freed."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from itertools import count

import pytest

from edge_agent.journal import Journal, JournalError, Outbox
from tests.inspections import inspection, plain


@pytest.fixture
def small(tmp_path):
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=32", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount a tmpfs")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def _record_for_ever(journal):
    for n in count():
        journal.record([inspection(n)], plain)


def _touch_for_ever(directory):
    for n in count():
        (directory / str(n)).touch()


def test_the_disk_runs_full_and_is_freed(small):
    path = small / "journal.db"
    ballast = small / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    with Journal(path) as journal, closing(Outbox(path)) as outbox:
        with pytest.raises(JournalError, match="full: free some space") as caught:
            _record_for_ever(journal)
        assert caught.value.full
        committed = outbox.unacknowledged()
        assert committed > 20
        # nothing that was not committed can be published, and everything that was can be
        assert outbox.pending(0, 10_000)[-1].sequence == committed
        with pytest.raises(JournalError) as caught:
            journal.record([inspection(n) for n in range(committed, committed + 999)], plain)
        assert caught.value.full

        ballast.unlink()

        (message,) = journal.record([inspection(committed)], plain)
        assert message.sequence == committed + 1
        outbox.acknowledge(range(1, committed + 1))
        assert outbox.pending(0, 10) == [message]
        assert journal._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_filesystem_without_inodes_is_called_full(small):
    with pytest.raises(OSError, match="No space"):
        _touch_for_ever(small)
    with pytest.raises(JournalError) as caught:
        Journal(small / "journal.db")
    assert caught.value.full
    for name in ("0", "1", "2", "3"):  # the database, its log, the log's index, and the mark
        (small / name).unlink()
    Journal(small / "journal.db").close()
