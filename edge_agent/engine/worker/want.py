"""What a worker that ended was short of: nothing that its provider could do better."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.system.limits import no_process

# As Python, C++, the C library and ONNX Runtime's CPU provider say it.
_MEMORY = ("memoryerror", "bad_alloc", "cannot allocate memory", "not enough memory")
_OF_CPU = "failed to allocate memory"  # on other devices it is their own memory
_THREADS = ("can't start new thread", "pthread_create", "resource temporarily unavailable")


@dataclass(frozen=True)
class Want:
    """What was wanting, in words, and whether fewer workers would do."""

    words: str
    shared: bool
    """All workers live on it, so that what one leaves the others have."""


def want_in(said: str, memory_mb: int, provider: str) -> Want | None:
    """What a worker's last words show that it was short of; None: nothing of that kind.

    Args:
        said: what it said, or what it wrote to stderr.
        memory_mb: that it was allowed to have.
        provider: it judged with.
    """
    if of_memory(said) or (provider == "cpu" and _OF_CPU in said.lower()):
        words = f"it had no memory left: [worker] memory_mb = {memory_mb} is too little for it"
        return Want(words, shared=False)
    return Want(no_process(), shared=True) if of_processes(said) else None


def of_memory(said: str) -> bool:
    """Whether a program's last words speak of memory."""
    return any(word in said.lower() for word in _MEMORY)


def of_processes(said: str) -> bool:
    """Whether they speak of a process or a thread that could not be started."""
    return any(word in said.lower() for word in _THREADS)
