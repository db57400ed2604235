"""Mapped files have their room on the disk, or are not made."""

from __future__ import annotations

import errno
import os
import sys

import numpy as np
import pytest

from trainer.data import mapped
from trainer.data.mapped import new_arrays
from trainer.errors import UsageError

SHAPES = {"one": (3, 100_000), "two": (7,)}


def make(folder):
    return new_arrays(folder, SHAPES, np.float16, "the cache takes", "take less")


def test_arrays_are_zeros_and_come_back_from_their_files(tmp_path):
    one, two = make(tmp_path)
    assert (one.shape, two.shape, one.dtype) == ((3, 100_000), (7,), np.float16)
    assert not one.any()
    two[:] = range(7)
    two.flush()
    assert np.fromfile(tmp_path / "two", np.float16).tolist() == list(range(7))


@pytest.mark.skipif(sys.platform != "linux", reason="files have no reserved room elsewhere")
def test_their_room_is_taken_before_anything_is_written(tmp_path):
    """Else a disk that others fill kills the process, with SIGBUS, in the middle."""
    make(tmp_path)
    assert (tmp_path / "one").stat().st_blocks * 512 >= 600_000


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = mapped.shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(mapped.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UsageError, match=r"takes 1 MB in .*, where 0 MB are free: .* take less"):
        make(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no posix_fallocate here")
def test_a_quota_is_told_too(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "posix_fallocate", refused)
    with pytest.raises(UsageError, match=r"the cache takes 1 MB"):
        make(tmp_path)
