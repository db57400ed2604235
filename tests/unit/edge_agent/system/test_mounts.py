"""mountinfo as kernels write it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_agent.system.mounts import MOUNTINFO, Mount, mount_of, read_mounts

TEXT = r"""
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:40 / /nonesuch/data rw,relatime shared:1 master:2 - nfs4 nas:/plant rw,vers=4.2
41 27 0:41 / /nonesuch/data/with\040space rw - cifs //nas/with\040space rw
42 27 0:42 / /nonesuch/over rw - ext4 /dev/sdb rw
43 42 0:43 / /nonesuch/over rw - tmpfs tmpfs rw
44 27 0:44 / /nonesuch/frozen ro,relatime - ext4 /dev/sdc rw
45 27 0:45 / /nonesuch/ssh rw - fuse.sshfs me@host:/ rw
46 27 0:46 / /nonesuch/usb rw - fuseblk /dev/sdd rw
a line of another form
"""
MOUNTS = read_mounts(TEXT)


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/nonesuch", "ext4", False),
        ("/nonesuch/data", "nfs4", True),
        ("/nonesuch/data/a/b", "nfs4", True),
        ("/nonesuch/database", "ext4", False),
        ("/nonesuch/data/with space/a", "cifs", True),
        ("/nonesuch/over/a", "tmpfs", False),
        ("/nonesuch/ssh/a", "fuse.sshfs", True),
        ("/nonesuch/usb/a", "fuseblk", False),
    ],
)
def test_the_deepest_and_the_last_holds(path, kind, network):
    mount = mount_of(Path(path), MOUNTS)

    assert mount is not None
    assert (mount.kind, mount.network) == (kind, network)


def test_a_line_is_read_whole():
    assert len(MOUNTS) == 8
    assert MOUNTS[2] == Mount("/nonesuch/data/with space", "cifs", "//nas/with space", False)
    assert [mount.point for mount in MOUNTS if mount.read_only] == ["/nonesuch/frozen"]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "inbox").symlink_to("/nonesuch/data")

    mount = mount_of(tmp_path / "inbox", MOUNTS)

    assert mount is not None
    assert mount.kind == "nfs4"


def test_this_machines_own():
    mounts = read_mounts(MOUNTINFO.read_text())

    mount = mount_of(Path("/proc/self"), mounts)

    assert mount is not None
    assert mount.kind == "proc"
    assert mount_of(Path(os.sep), mounts) is not None
