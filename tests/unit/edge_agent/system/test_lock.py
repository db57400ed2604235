"""One agent a state directory; the lock lives as long as its holder, and no longer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from edge_agent.system.lock import LockedError, hold

HOLDER = """
import signal, sys
from pathlib import Path
from edge_agent.system.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_one_is_told_who_holds_it(tmp_path, holder):
    with pytest.raises(LockedError) as caught, hold(tmp_path / "lock"):
        pytest.fail("it was given to two")

    said = str(caught.value)
    assert f"{tmp_path} is in use by another edge-agent (process {holder.pid})" in said
    assert "[storage] root" in said


def test_a_holder_that_was_killed_holds_nothing(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    with hold(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_shorter_number_replaces_a_longer_one_whole(tmp_path):
    (tmp_path / "lock").write_text("4194304000000\n")

    with hold(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_it_is_free_again_after_use_and_after_an_error(tmp_path):
    with pytest.raises(KeyError), hold(tmp_path / "lock"):
        raise KeyError
    with hold(tmp_path / "lock"):
        pass
    with hold(tmp_path / "lock"):
        pass


def test_it_is_not_inherited_by_a_child_that_lives_on(tmp_path):
    with hold(tmp_path / "lock"):
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        with hold(tmp_path / "lock"):
            pass
    finally:
        child.kill()
        child.wait()


def test_the_directory_is_made(tmp_path):
    with hold(tmp_path / "a/b/lock"):
        assert (tmp_path / "a/b/lock").exists()


@pytest.mark.parametrize("kind", ["directory", "link", "file"])
def test_a_lock_that_can_not_be_one(tmp_path, kind):
    path = tmp_path / "state/lock"
    if kind == "file":
        path.parent.write_text("")
    else:
        path.parent.mkdir()
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(LockedError, match="can't be used"), hold(path):
        pass

    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_may_not_be_written(unprivileged):
    (unprivileged / "state").mkdir(mode=0o555)

    with (
        pytest.raises(LockedError, match=r"can't be used \(lock: Permission denied\): create"),
        hold(unprivileged / "state/lock"),
    ):
        pass
