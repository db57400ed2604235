"""Full verification of a bundle, outside the daemon's process."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_agent.bundle import Bundle, BundleError, look_at_bundle
from edge_agent.child import bound_module
from edge_agent.settings import RuntimeSettings, TrustSettings, WorkerSettings
from edge_agent.worker.pool import WorkerPool
from edge_agent.worker.protocol import worker_options

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.worker.protocol import Ready

_LIMIT = 120.0


def verify_apart(path: Path, trust: TrustSettings | None = None) -> Bundle:
    """Verify a bundle's signature, files and graphs in a child process.

    Links are followed now, once: what a link leads to later is another bundle.

    Args:
        path: its directory.
        trust: whose signatures count; None: nobody's is asked for.

    Raises:
        BundleError: it is wrong, or verifying it crashed or hung.
    """
    seen = look_at_bundle(path.resolve())
    path = seen.path
    trust = trust or TrustSettings()
    asked = json.dumps({"keys": trust.keys, "required": trust.require_signature})
    command = bound_module("edge_agent.bundle", str(path), asked)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise BundleError(f"{path}: verifying it took longer than {_LIMIT:g} s") from None
    if done.returncode == 2:
        raise BundleError(done.stdout.strip())
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise BundleError(f"{path}: verifying it failed: {last[0]}")
    verified = json.loads(done.stdout)
    if verified["digest"] != seen.digest:
        raise BundleError(f"{path} was changed while it was verified: try again")
    return replace(seen, signed_by=verified["signed_by"])


def prove_apart(bundle: Bundle, variant: str, provider: str) -> Ready:
    """Let one worker load a variant and judge the golden images, then send it home.

    Raises:
        WorkerStartError: the variant can't be run, or a golden score is off.
    """
    settings = WorkerSettings()
    wanted = worker_options(
        settings, RuntimeSettings(), bundle, variant=variant, provider=provider, threads=0
    )
    pool = WorkerPool(wanted, start_timeout=settings.start_timeout)
    try:
        return pool.start()
    finally:
        pool.close()
