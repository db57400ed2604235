"""A worker process: ``python -m edge_agent.engine.worker LINK STAGE``, started by the supervisor.

Both are descriptors: of a socket, and of the memory of `edge_agent.engine.worker.stage`.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.engine.worker.protocol import (
    PACKET,
    Broken,
    Ready,
    Refused,
    WorkerOptions,
    options,
    replies,
    unpack_task,
)
from edge_agent.engine.worker.stage import Stage

if TYPE_CHECKING:
    from edge_agent.engine.runtime.session import Execution

_OOM_SCORE = Path("/proc/self/oom_score_adj")


def main() -> None:
    """Say ready or refused, then judge what comes until the daemon hangs up."""
    _confine()
    # The daemon may hang up at any moment: when it stops, or has another bundle judge.
    with (
        socket.socket(fileno=int(sys.argv[1])) as link,
        contextlib.suppress(BrokenPipeError, ConnectionResetError),
    ):
        if told := link.recv(PACKET):
            wanted = options.validate_json(told)
            _limit(wanted.memory_mb)
            work(link, Stage(int(sys.argv[2])), wanted)


def work(link: socket.socket, stage: Stage, wanted: WorkerOptions) -> None:
    """The worker's whole life on an open link."""
    # Imported after the limits are set, and after a traceback could only be the daemon's fault.
    import psutil

    from edge_agent.bundle import BundleError, look_at_bundle
    from edge_agent.engine.worker.judge import Judge
    from edge_agent.engine.worker.predictor import GoldenError, Predictor, SessionError
    from edge_agent.types.target import ProviderError

    try:
        # Of the manifest that was verified; it names the hashes of all else that is read here.
        bundle = look_at_bundle(Path(wanted.bundle), digest=wanted.digest)
        predictor = Predictor(bundle, wanted.variant, _execution(wanted))
        error = predictor.prove()
    except (BundleError, ProviderError, SessionError) as refusal:
        at_fault = not isinstance(refusal, BundleError) or isinstance(refusal, GoldenError)
        link.send(replies.dump_json(Refused(str(refusal), provider=at_fault)))
        return
    judge = Judge(
        predictor,
        wanted,
        lambda inferring: setattr(stage, "inferring", inferring),
        bundle.manifest.expects,
    )
    rss = psutil.Process().memory_info().rss
    target = predictor.target
    ready = Ready(wanted.variant, target.provider, target.device, error, rss)
    link.send(replies.dump_json(ready))
    while packet := link.recv(PACKET):
        identity, path = unpack_task(packet)
        try:
            link.send(replies.dump_json(judge.judge(identity, path)))
        except SessionError as failure:
            link.send(replies.dump_json(Broken(identity, str(failure))))
            return


def _execution(wanted: WorkerOptions) -> Execution:
    from edge_agent.engine.runtime.session import Execution
    from edge_agent.types.target import parse_target

    return Execution(
        target=parse_target(wanted.provider),
        threads=wanted.threads,
        precision=wanted.precision,
        cache=Path(wanted.cache) if wanted.cache else None,
        gpu_memory_mb=wanted.gpu_memory_mb,
    )


def _confine() -> None:
    """Leave the terminal's and systemd's signals to the daemon; dump no core.

    Where memory is short, the kernel is to end a worker, which can be replaced, and not the daemon.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        score = int(_OOM_SCORE.read_text(encoding="ascii"))
        _OOM_SCORE.write_text(str(min(score + 200, 1000)), encoding="ascii")


def _limit(memory_mb: int) -> None:
    """Bound what a decompression bomb can take: private writable memory (Linux >= 4.7)."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory_mb << 20
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
