"""The kernel's limits for watching, and how near this user is."""

from __future__ import annotations

import ctypes
import os

from edge_agent.doctor.inotify import count_inotify, look_at_inotify


def test_a_real_watch_is_counted(tmp_path):
    libc = ctypes.CDLL(None)
    descriptor = libc.inotify_init()
    try:
        assert libc.inotify_add_watch(descriptor, os.fsencode(tmp_path), 2) > 0
        # Others on this machine may open and close theirs meanwhile: ours are looked at apart.
        own = tmp_path / "proc"
        own.mkdir()
        (own / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
        assert count_inotify(own, os.geteuid()) == (1, 1)
        assert count_inotify(own, os.geteuid() + 1) == (0, 0)
    finally:
        os.close(descriptor)


def test_near_a_limit(tmp_path):
    limits = tmp_path / "sys/fs/inotify"
    limits.mkdir(parents=True)
    (limits / "max_user_instances").write_text("128\n")
    (limits / "max_user_watches").write_text("0\n")

    instances, watches = look_at_inotify(tmp_path)

    assert (instances.level, instances.what) == ("ok", "0 of 128 instances in use by this user")
    assert (watches.level, watches.what) == ("warning", "0 of 0 watches in use by this user")
    assert "sudo sysctl fs.inotify.max_user_watches=524288" in watches.mend


def test_a_kernel_without(tmp_path):
    assert [one.level for one in look_at_inotify(tmp_path)] == ["warning", "warning"]
