"""Full verification of a bundle, outside the daemon's process."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from edge_agent.bundle import Bundle, BundleError, read_manifest
from edge_agent.settings import RuntimeSettings, WorkerSettings
from edge_agent.worker.pool import WorkerPool
from edge_agent.worker.protocol import worker_options

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.worker.protocol import Ready

_LIMIT = 120.0


def verify_apart(path: Path) -> Bundle:
    """Verify a bundle's files and graphs in a child process, and return its manifest.

    Raises:
        BundleError: it is wrong, or verifying it crashed or hung.
    """
    manifest = read_manifest(path)
    command = [sys.executable, "-m", "edge_agent.bundle", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise BundleError(f"{path}: verifying it took longer than {_LIMIT:g} s") from None
    if done.returncode == 2:
        raise BundleError(done.stdout.strip())
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise BundleError(f"{path}: verifying it failed: {last[0]}")
    return Bundle(path, manifest)


def prove_apart(path: Path, variant: str, provider: str) -> Ready:
    """Let one worker load a variant and judge the golden images, then send it home.

    Raises:
        WorkerStartError: the variant can't be run, or a golden score is off.
    """
    settings = WorkerSettings()
    wanted = worker_options(
        settings, RuntimeSettings(), path, variant=variant, provider=provider, threads=0
    )
    pool = WorkerPool(wanted, start_timeout=settings.start_timeout)
    try:
        return pool.start()
    finally:
        pool.close()
