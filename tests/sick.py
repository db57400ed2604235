"""Entries of a folder that can't be judged now, or never: what must hold up no good image."""

from __future__ import annotations

import errno
import resource
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from tests.bundles import make_image

if TYPE_CHECKING:
    from typing_extensions import Self

    from tests.calls import Calls
    from tests.line import Station

GROWING, BUSY, UNREADABLE, LARGE, TRUNCATED = (
    "growing", "busy", "unreadable", "too large", "never whole",
)  # fmt: skip
KINDS = (GROWING, BUSY, UNREADABLE, LARGE, TRUNCATED)

LIMIT = 30_000
SETTINGS = f"[worker]\nmax_bytes = {LIMIT}\nretry_truncated = 3600.0\n"
"""For a station that has them: what is truncated stays so for the whole test."""

_TOUCH = 0.3  # seconds between two additions to each that grows


class Sick:
    """Many of one kind, in a station's folder; well again when they are healed."""

    def __init__(self, kind: str, count: int, station: Station, calls: Calls) -> None:
        self.kind = kind
        self.names = [f"sick {number}.png" for number in range(count)]
        self.contents: list[bytes] = []
        """Of each, once it is well."""
        self._station = station
        self._calls = calls
        self._stack = ExitStack()
        self._files: list[Any] = []
        self._healed = threading.Event()
        self._grower = threading.Thread(target=self._grow)
        # Whatever one try is: somebody opens it, or a claim is made.
        self._tries = [
            calls.meet("open", "*/sick *.png"),
            calls.meet("rename", "*/inbox/sick *.png"),
        ]
        self._faults = []
        if kind == BUSY:
            self._faults = [
                calls.meet("rename", "*/inbox/sick *.png", error=errno.EBUSY),
                calls.meet("open", "*/inbox/sick *.png", error=errno.EBUSY),
            ]
        elif kind == UNREADABLE:
            self._faults = [calls.meet("open", "*/sick *.png", error=errno.EIO)]

    @property
    def tries(self) -> int:
        """How often the station has tried one of them."""
        return sum(rule.calls for rule in self._tries)

    def __enter__(self) -> Self:
        """Offer them all."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
        self._stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        images = [make_image(defect=False, seed=seed) for seed in range(8)]
        for number, name in enumerate(self.names):
            content = images[number % 8] + b"%06d" % number
            path = self._station.inbox / name
            aside = self._station.aside / f".{name}"
            if self.kind == LARGE:
                content += bytes(LIMIT)
            self.contents.append(content)
            if self.kind == GROWING:
                self._open(path).write(content[:1000])
            elif self.kind == TRUNCATED:
                self._open(aside).write(content[:1000])
                aside.rename(path)
            else:
                aside.write_bytes(content)
                aside.rename(path)
        if self.kind == GROWING:
            self._grower.start()
        return self

    def heal(self) -> None:
        """Let each become what it was to be."""
        for fault in self._faults:
            fault.clear()
        self._stop_growing()
        for file, content in zip(self._files, self.contents, strict=False):
            file.seek(0)
            file.write(content)
            file.close()

    def __exit__(self, *_: object) -> None:
        self._stop_growing()
        self._stack.close()
        for rule in (*self._tries, *self._faults):
            rule.clear()

    def _open(self, path: Any) -> Any:
        self._files.append(self._stack.enter_context(path.open("wb", buffering=0)))
        return self._files[-1]

    def _stop_growing(self) -> None:
        self._healed.set()
        if self._grower.is_alive():
            self._grower.join()

    def _grow(self) -> None:
        """A byte each, until they are well; each is whole within its final content at any time."""
        at = 1000
        while not self._healed.is_set() and at < 5000:
            for file, content in zip(self._files, self.contents, strict=True):
                if self._healed.is_set():
                    return
                file.write(content[at : at + 1])
                time.sleep(_TOUCH / len(self._files))
            at += 1
