"""What this machine is set up to mount, from /etc/fstab and systemd's mount units."""

from __future__ import annotations

import configparser
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_agent.system.mounts import Mount

FSTAB = Path("/etc/fstab")
UNITS = tuple(
    Path(p) for p in ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system")
)


@dataclass(frozen=True)
class Planned:
    """Something that is to be mounted."""

    point: str
    source: str
    where: Path
    """The file that says so."""


def planned_mounts(fstab: Path = FSTAB, units: Iterable[Path] = UNITS) -> list[Planned]:
    """All that can be read; what can't be is passed over."""
    return [*_from_fstab(fstab), *(one for folder in units for one in _from_units(folder))]


def missing_above(path: Path, planned: Iterable[Planned], mounts: Sequence[Mount]) -> list[Planned]:
    """What should be mounted on a folder, or on one that it lies in, and is not."""
    real = os.path.realpath(path)
    points = {mount.point for mount in mounts}
    found = {one.point: one for one in planned if one.point not in points and one.point != "/"}
    return [one for point, one in found.items() if f"{real}/".startswith(f"{point}/")]


def _from_fstab(fstab: Path) -> list[Planned]:
    try:
        lines = fstab.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    fields = [line.split() for line in lines if not line.lstrip().startswith("#")]
    return [
        Planned(_point(_octal(one[1])), _octal(one[0]), fstab)
        for one in fields
        if len(one) >= 3 and one[1].startswith("/")
    ]


def _from_units(folder: Path) -> list[Planned]:
    found = []
    for file in sorted(folder.glob("*.mount")):
        unit = configparser.RawConfigParser(strict=False)
        try:
            unit.read_string(file.read_text(encoding="utf-8"))
            where, what = unit["Mount"]["Where"], unit["Mount"]["What"]
        except (OSError, ValueError, KeyError, configparser.Error):
            continue
        found.append(Planned(_point(where), what, file))
    return found


def _point(point: str) -> str:
    return os.path.normpath(point)


def _octal(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
