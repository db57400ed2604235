"""The folder of a run, and how long each of its steps took."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from trainer.config import read_config
from trainer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trainer.config import RunConfig


_SCRATCH = (".export-*", ".variants-*", ".bundle.*.partial")
"""What the last steps of a run write for themselves, and remove."""


def make_run(out: Path) -> None:
    """Make the folder of a new run.

    Raises:
        UsageError: it holds something already, or can't be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = any(out.iterdir())
    except OSError as error:
        raise UsageError(f"{out} can't be made: {error.strerror}") from None
    if taken:
        raise UsageError(f"{out} is not empty: give --out another folder, or remove this one")


def resume_run(out: Path) -> None:
    """See that the folder is of a run that was killed before its end.

    Raises:
        UsageError: there is none, or it is finished.
    """
    if not out.is_dir():
        raise UsageError(f"{out} does not exist: there is nothing to resume: omit --resume")
    if (out / "metrics.json").exists():
        raise UsageError(
            f"{out} is finished: give --out another folder to train again; "
            f"`trainer report {out} DATA` writes its report again"
        )


def begin(config: RunConfig, run: Path) -> None:
    """Write down the settings of a run that can be resumed; or see that they are the same.

    Raises:
        UsageError: naming the first that differs.
    """
    file = run / "config.json"
    if file.exists():
        was, now = read_config(file).model_dump(mode="json"), config.model_dump(mode="json")
        for name in now:
            if was.get(name) != now[name]:
                raise UsageError(
                    f"--{name.replace('_', '-')}: {run} was started with {was.get(name)}, not "
                    f"{now[name]}: resume it with the same settings, or give --out another folder"
                )
        # What a kill in the last steps may have left: it is made again.
        for left in (run / "bundle", *(folder for name in _SCRATCH for folder in run.glob(name))):
            shutil.rmtree(left, ignore_errors=True)
    write_json(file, config.model_dump(mode="json"))


def write_json(file: Path, content: Any) -> None:
    """Write a result, for people and programs: whole or not at all, whenever a kill comes."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(file)


def write_command(run: Path, line: str) -> None:
    """Note in RUN/command.json how, when and where a run was started."""
    noted = {
        "command": line,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
    }
    write_json(run / "command.json", noted)


class Stopwatch:
    """Seconds by step, in the order in which they were taken."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = time.monotonic()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step."""
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 2)

    def finish(self) -> dict[str, float]:
        """All steps, and the ``total``."""
        return {**self.seconds, "total": round(time.monotonic() - self._started, 2)}
