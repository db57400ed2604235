"""One worker process as the daemon sees it: its link, what it was given, what it says."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from pydantic import ValidationError

from edge_agent.engine.worker.protocol import (
    PACKET,
    Failed,
    Judged,
    Ready,
    Reply,
    WorkerOptions,
    options,
    pack_task,
    replies,
)
from edge_agent.engine.worker.stage import Stage, create
from edge_agent.engine.worker.want import Want, want_in
from edge_agent.system.child import bound_module
from edge_agent.system.text import plain

if TYPE_CHECKING:
    from edge_agent.system.limits import MemoryGuard
    from edge_agent.types import Claim

log = logging.getLogger(__name__)


class HungUpError(Exception):
    """The worker is gone, or not to be listened to any more."""


@dataclass(eq=False)
class WorkerProcess:
    """A process that was started, until `end`."""

    number: int
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    """Its stderr; does not block."""
    link: socket.socket
    """Does not block."""
    stage: Stage
    options: WorkerOptions
    """What it was told to be."""
    started: float = field(default_factory=time.monotonic)
    ready: Ready | None = None
    claims: deque[Claim] = field(default_factory=deque)
    """What it was given and has not answered for."""
    busy_since: float = 0.0
    judged: int = 0
    broken: bool = False
    """Its session raised: no frame's fault."""
    sentence: str = ""
    """Why it was killed, or what it says that it dies of."""
    _last_words: deque[str] = field(default_factory=lambda: deque(maxlen=5))

    def give(self, claim: Claim) -> None:
        """Let it judge a claim, after those that it has.

        Raises:
            OSError: it is dying.
        """
        if not self.claims:
            self.busy_since = time.monotonic()
        self.claims.append(claim)
        self.link.send(pack_task(claim.id, claim.path))

    def receive(self) -> Reply | None:
        """What it says next; None if it says nothing now.

        Raises:
            HungUpError: it hung up, or broke the protocol and was killed.
        """
        try:
            packet = self.link.recv(PACKET)
        except BlockingIOError:
            return None
        except OSError:
            packet = b""
        if not packet:
            raise HungUpError
        try:
            reply = replies.validate_json(packet)
        except ValidationError as error:
            self.kill(f"it broke the protocol: {error.errors()[0]['msg']}")
            raise HungUpError from None
        mine = self.claims[0].id if self.claims else None
        if isinstance(reply, Judged | Failed) and reply.id != mine:
            self.kill("it answered for a frame that it did not have")
            raise HungUpError
        return reply

    def overhear(self) -> bool:
        """What native libraries print ends in our log, and in the reason of a death.

        Returns:
            Whether there may be more to come.
        """
        said = self.errors.read()
        if not said:
            return said is None
        for line in said.decode("utf-8", "replace").splitlines():
            if line.strip():
                self._last_words.append(plain(line.strip()))
                log.info("worker %d: %s", self.number, self._last_words[-1])
        return True

    @property
    def killed(self) -> bool:
        """Whether somebody else has killed it: the kernel, for want of memory, or a person."""
        return self.process.returncode == -signal.SIGKILL and not self.sentence

    def want(self, guard: MemoryGuard) -> Want | None:
        """What it ended for want of; None where it was nothing of that kind. After `end`."""
        if self.killed and (words := guard.killed()):
            return Want(words, shared=True)
        if self.process.returncode == 0 and not self.sentence:
            return None
        said = self.sentence or "\n".join(self._last_words)
        return want_in(said, self.options.memory_mb, self.options.provider)

    def kill(self, sentence: str) -> None:
        """End it at once, for this reason."""
        self.sentence = sentence
        self.process.kill()

    def hang_up(self) -> None:
        """Let it finish what it is at, and leave."""
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)

    def end(self) -> str:
        """Hang up, give it a second to leave, and let go of all that it held.

        Returns:
            How it ended, in words.
        """
        self.link.close()
        try:
            code = self.process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self.kill(self.sentence or "it closed its pipe but did not exit")
            code = self.process.wait()
        self.overhear()
        self.errors.close()
        self.stage.close()
        return self.sentence or _ending(code, self._last_words)


def spawn(number: int, worker_options: WorkerOptions) -> WorkerProcess:
    """Start a worker, and tell it what to be.

    Raises:
        OSError: there is no process, descriptor or memory to be had.
    """
    shared = create()
    try:
        stage = Stage(shared)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            descriptors = [theirs.fileno(), shared]
            try:
                process = subprocess.Popen(
                    bound_module("edge_agent.engine.worker", *map(str, descriptors)),
                    pass_fds=descriptors,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
            except OSError:
                ours.close()
                raise
    finally:
        os.close(shared)
    ours.setblocking(False)
    with contextlib.suppress(OSError):  # dead already: its end of the link will say so
        ours.send(options.dump_json(worker_options))
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    return WorkerProcess(number, process, process.stderr, ours, stage, worker_options)


def _ending(code: int, last_words: deque[str]) -> str:
    """A process's end in words."""
    if code < 0:
        try:
            how = f"it was killed by {signal.Signals(-code).name}"
        except ValueError:
            how = f"it was killed by signal {-code}"
    else:
        how = f"it ended with exit code {code}"
    return f"{how}: {last_words[-1]}" if last_words and code > 0 else how
