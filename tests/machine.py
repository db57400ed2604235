"""A line PC in a box: a Debian made once, booted with systemd, or the base of a container.

Made with mmdebstrap (debootstrap's twin, which takes half the time) and kept for a month, so that
the tests of the service and those of the container share it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.line import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

REPO = Path(__file__).parent.parent
CACHE = Path(os.environ.get("EDGE_INSPECT_TEST_CACHE", "/var/tmp/edge-inspect-tests"))
_NSPAWN = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--link-journal=no")
_CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def missing(*tools: str) -> str:
    """What keeps these tools from being used here; empty if nothing does."""
    if os.geteuid() != 0:
        return "root is needed"
    absent = [tool for tool in tools if shutil.which(tool) is None]
    return f"not installed: {', '.join(absent)} (make test installs them)" if absent else ""


def base_system() -> Path:
    """A tar of the smallest Debian 12 with Python: what docker.io/library/debian:12-slim is."""
    tar = CACHE / f"debian-{time.strftime('%Y-%m')}.tar"
    if not tar.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = tar.with_suffix(".partial.tar")
        options = ("--variant=minbase", "--include=python3,ca-certificates")
        # As Debian's own images do: a system that is thrown away need not outlive a power cut.
        options += ("--dpkgopt=force-unsafe-io",)
        _do("mmdebstrap", "--quiet", *options, "bookworm", str(partial))
        partial.rename(tar)
    return tar


def booting_system() -> Path:
    """The same as a directory, with what a line PC has: systemd and Python's venv."""
    tar = base_system()
    tree = tar.with_suffix(".tree")
    if not tree.exists():
        partial = tar.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "dev").mkdir(parents=True)
        _do("tar", "-xf", str(tar), "-C", str(partial), "--exclude=./dev/*")
        install = (
            "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "
            "--no-install-recommends systemd systemd-sysv dbus python3-venv && apt-get clean"
        )
        _do(*_NSPAWN, "--console=pipe", "-D", str(partial), "sh", "-c", install)
        partial.rename(tree)
    return tree


def make_wheels(into: Path, *runtimes: str) -> Path:
    """All that an installation without a network needs."""
    make = ("make", "wheels", f"PYTHON={sys.executable}", f"WHEELS={into}")
    _do(*make, f"RUNTIME={','.join(runtimes)}")
    return into


@contextmanager
def in_memory(place: Path) -> Iterator[Path]:
    """A new folder whose files lie in memory, if there is enough of it, else on the disk.

    For Python environments that are installed and removed, of ten thousand files each: on a slow
    disk that would be what these tests take their time for.
    """
    place.mkdir()
    if psutil.virtual_memory().available < 10 << 30:
        yield place
        return
    _do("mount", "-t", "tmpfs", "-o", "size=6g,mode=755", "tmpfs", str(place))
    try:
        yield place
    finally:
        # Lazily: the last process in it may still be on its way out.
        subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


@dataclass
class Machine:
    """A booted system without a network, whose changes lie in a layer of their own."""

    place: Path
    """An empty folder for it."""
    changes: Path
    """Another one, for what is changed on its disk."""
    shared: dict[Path, str]
    """Folders of ours that it sees, read-only, and where."""
    _nspawn: subprocess.Popen[bytes] | None = None
    _init: int = 0

    @property
    def disk(self) -> Path:
        """Its root file system."""
        return self.place / "disk"

    @property
    def boot_log(self) -> Path:
        return self.place / "boot.log"

    def boot(self) -> Machine:
        binds = [f"--bind-ro={ours}:{theirs}" for ours, theirs in self.shared.items()]
        changes, work = self.changes / "changes", self.changes / "work"
        for directory in (changes, work, self.disk):
            directory.mkdir()
        layers = f"lowerdir={booting_system()},upperdir={changes},workdir={work}"
        _do("mount", "-t", "overlay", "overlay", "-o", layers, str(self.disk))
        options = ("--boot", "--console=passive", "--private-network")
        command = [*_NSPAWN, *options, *binds, "-D", str(self.disk)]
        with self.boot_log.open("wb") as log:
            self._nspawn = subprocess.Popen(command, stdout=log, stderr=log, env=_CLEAN)
        nspawn = psutil.Process(self._nspawn.pid)

        def up() -> bool:
            assert self._nspawn is not None
            assert self._nspawn.poll() is None, self.boot_log.read_text(errors="replace")
            children = nspawn.children()
            if not children:
                return False
            self._init = children[0].pid
            said = self.run("systemctl", "is-system-running", check=False).stdout
            return said.strip() in ("running", "degraded")

        wait_for(up, 120, pause=0.1)
        return self

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """As root, inside."""
        inside = ["nsenter", "--target", str(self._init), "--all", "--wdns=/", *command]
        done = subprocess.run(
            inside, env=_CLEAN, capture_output=True, text=True, check=False, timeout=250
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def processes(self) -> list[psutil.Process]:
        """All that runs inside."""
        return psutil.Process(self._init).children(recursive=True)

    def path(self, inside: str) -> Path:
        """Where a file on its disk can be seen from here."""
        return self.disk / inside.lstrip("/")

    def unit(self, name: str) -> dict[str, str]:
        """The properties of a unit."""
        lines = self.run("systemctl", "show", name).stdout.splitlines()
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    def turn_off(self) -> None:
        """Pull the plug."""
        if self._nspawn is not None:
            if self._init:
                os.kill(self._init, signal.SIGKILL)  # and with it all that runs inside
            else:
                self._nspawn.kill()
            self._nspawn.wait()
        # Lazily: the last process of the machine may still be on its way out.
        subprocess.run(["umount", "--lazy", self.disk], check=False, capture_output=True)
        shutil.rmtree(self.changes / "changes", ignore_errors=True)


def _do(*command: str) -> None:
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
