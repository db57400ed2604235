"""What a bundle is called: after the product, with a version that no bundle beside it has.

A station tells products apart by the names of their bundles, so a name is never a recipe's.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from edge_agent.bundle import BundleError, read_manifest
from edge_agent.system.forms import VERSION, version_key
from trainer.config import RECIPES
from trainer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST = "1.0.0"
_LONGEST = 64
_VAGUE = {"data", "dataset", "datasets", "images", "image", "imgs", "img", "photos", "pictures"}
_VAGUE |= {"pics", "train", "training"}
"""Folders that are called so hold whatever product."""


def bundle_name(data: Path, given: str | None) -> tuple[str, str]:
    """The name of a new bundle, and what should be known of it; empty: nothing.

    Args:
        data: the data set that it is called after.
        given: the name that was asked for; None: none was.

    Raises:
        UsageError: nothing of it can be in a name, or it is a recipe's.
    """
    folder = data.name if data.name not in ("", "..") else data.resolve().name
    wanted = folder if given is None else given
    name = _plain(wanted)
    if not name:
        raise UsageError(
            f"--name: {wanted!r} has no letter from a to z and no digit that a bundle could be "
            "called by: give --name with the product's name"
        )
    if name in RECIPES:
        raise UsageError(
            f"--name: {name} is the name of a recipe: give --name with the product's name, by "
            "which a station tells its bundles from others"
        )
    if given is None and name.lower() in _VAGUE:
        return name, (
            f"the bundle is called {name}, as the folder {data} is: give --name with the product's "
            "name, by which a station tells its bundles from others"
        )
    return name, f"the bundle is called {name}, after {wanted!r}" if name != wanted else ""


def bundle_version(name: str, wanted: str | None, *beside: Path, old: str = "") -> tuple[str, str]:
    """The version of a new bundle, and why it is that; empty: it is as wanted, or the first.

    Args:
        name: what it is called.
        wanted: X.Y.Z; None: the one after all that are found.
        beside: folders of bundles or runs: those that lie beside them are looked at.
        old: of the bundle that it replaces; empty: it replaces none that is known.

    Raises:
        UsageError: what is wanted is not X.Y.Z, or another bundle has it.
    """
    taken = {version: place for place in beside for version, place in _versions(name, place)}
    if wanted is None:
        newest = max((*taken, *([old] if old else [])), key=version_key, default="")
        if not newest:
            return FIRST, ""
        if newest not in taken:
            return _next(newest), ""
        return _next(newest), f"{taken[newest]} is {name} {newest}"
    if not re.fullmatch(VERSION, wanted):
        raise UsageError(f"--version: {wanted!r} is not X.Y.Z, such as 1.2.0")
    if wanted in taken:
        free = _next(max(taken, key=version_key))
        raise UsageError(
            f"--version: {taken[wanted]} is {name} {wanted}, and two different bundles can't have "
            f"the same version: omit --version to get {free}"
        )
    return wanted, ""


def _versions(name: str, place: Path) -> Iterator[tuple[str, Path]]:
    """Of the bundles of this name that lie beside ``place``, or in the runs that do."""
    try:
        folders = sorted(place.resolve().parent.iterdir())
    except OSError:
        return
    for folder in folders:
        for bundle in (folder, folder / "bundle"):
            try:
                manifest = read_manifest(bundle)
            except (BundleError, OSError):
                continue
            if manifest.name == name:
                yield manifest.version, bundle


def _plain(text: str) -> str:
    """``text`` in the characters that the manifest allows: accents go, the rest becomes dashes."""
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    dashed = re.sub(r"[^A-Za-z0-9._-]+", "-", letters)
    return dashed.lstrip("._-")[:_LONGEST].rstrip("._-")


def _next(version: str) -> str:
    head, _, last = version.rpartition(".")
    return f"{head}.{int(last) + 1}"
