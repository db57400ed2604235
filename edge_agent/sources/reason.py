"""The note beside an image in quarantine: which frame it is, and why it could not be judged."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

REASON = ".reason.json"
NAME_LIMIT = 255  # bytes, on every filesystem that matters


def note_of(image: Path) -> Path:
    """Where an image's note lies."""
    return image.with_name(image.name + REASON)


def leaves_room(name: str) -> bool:
    """Whether an image of this name can have a note, and is not called like another one's."""
    return len(os.fsencode(name)) <= NAME_LIMIT - len(REASON) and not name.lower().endswith(REASON)


def write_note(image: Path, *, frame: str, name: str, reason: str, received: float) -> None:
    """Write the note of an image that lies there, or will.

    Raises:
        OSError: it can't be written.
    """
    note = {"id": frame, "name": name, "reason": reason, "received": received}
    note_of(image).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def read_note(image: Path) -> dict[str, object]:
    """What an image's note says; empty where there is none, or a power cut has emptied it.

    Raises:
        OSError: it can't be read.
    """
    note = None
    with contextlib.suppress(FileNotFoundError, ValueError):
        note = json.loads(note_of(image).read_bytes())
    return note if isinstance(note, dict) else {}
