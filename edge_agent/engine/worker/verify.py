"""Full verification of a bundle, outside the daemon's process."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_agent.bundle import Bundle, BundleError, look_at_bundle
from edge_agent.engine.worker.pool import WorkerPool
from edge_agent.engine.worker.protocol import worker_options
from edge_agent.engine.worker.want import of_memory, of_processes
from edge_agent.settings import RuntimeSettings, TrustSettings, WorkerSettings
from edge_agent.system.child import bound_module
from edge_agent.system.limits import NO_MEMORY, MemoryGuard, no_process, shortage
from edge_agent.system.text import plain

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.engine.worker.protocol import Ready

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
    command, guard = bound_module("edge_agent.bundle", str(path), asked), MemoryGuard()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise BundleError(f"{path}: verifying it took longer than {_LIMIT:g} s") from None
    except OSError as error:
        why = shortage(error) or error.strerror
        raise BundleError(f"{path}: verifying it could not be started: {why}") from None
    if done.returncode == 2:
        raise BundleError(done.stdout.strip())
    if done.returncode != 0:
        why = _why(done.returncode, done.stderr.strip(), guard)
        raise BundleError(f"{path}: verifying it failed: {why}")
    verified = json.loads(done.stdout)
    if verified["digest"] != seen.digest:
        raise BundleError(f"{path} was changed while it was verified: try again")
    return replace(seen, signed_by=verified["signed_by"])


def _why(code: int, said: str, guard: MemoryGuard) -> str:
    if code == -signal.SIGKILL and (killed := guard.killed()):
        return killed
    if of_processes(said):
        return no_process()
    if of_memory(said):
        return NO_MEMORY
    return plain(said.splitlines()[-1]) if said else f"exit code {code}"


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
