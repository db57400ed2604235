"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.settings import WorkerSettings
from edge_agent.system.numbers import whole

if TYPE_CHECKING:
    import argparse
WORKERS, THREADS = whole(0, 64), whole(0, 256)
MAX_PIXELS = WorkerSettings().max_pixels


def needs_config(command: argparse.ArgumentParser) -> None:
    """Of a command that is about one station."""
    command.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the station's station.toml"
    )


def add_max_pixels(command: argparse.ArgumentParser) -> None:
    """Of a command that judges images without a station's settings."""
    command.add_argument(
        "--max-pixels",
        type=whole(1, 10**10),
        default=MAX_PIXELS,
        metavar="N",
        help=f"larger images are an error (default: {MAX_PIXELS}); as in [worker]",
    )
