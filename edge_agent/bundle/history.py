"""Which bundles ran here: what a command chose, what ran before it, and the last version of each.

Of the settings and a command, the later word counts: what a command chose runs, also after a
restart, until the settings name another bundle than they did then.

An attacker who can copy files may bring an old bundle, signed and valid, with a known weakness: one
of a lower version than ran here last is refused.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from edge_agent.bundle.errors import BundleError

if TYPE_CHECKING:
    from edge_agent.bundle.manifest import Manifest
    from edge_agent.bundle.store import Bundle


class _History(BaseModel):
    """``bundles.json``."""

    model_config = ConfigDict(frozen=True, strict=True)

    versions: dict[str, str] = {}
    """Of each bundle, by name, the version that ran last."""
    runs: str = ""
    """The directory of what runs."""
    before: str = ""
    """And of what ran before it."""
    chosen: str = ""
    """The directory that a command chose; empty: the settings decide."""
    configured: str = ""
    """What the settings named then."""


def bundle_to_run(history: Path, configured: Path) -> Path:
    """The bundle that a command chose, if the settings name what they named then.

    Args:
        history: ``bundles.json``.
        configured: what the settings name.

    Raises:
        BundleError: the history is damaged.
    """
    known = _read(history)
    if known.chosen and known.configured == str(configured):
        return Path(known.chosen)
    return configured


def bundle_before(history: Path) -> Path | None:
    """What ran before that which runs now; None where nothing is known of it.

    Raises:
        BundleError: the history is damaged.
    """
    before = _read(history).before
    return Path(before) if before else None


def check_version(history: Path, manifest: Manifest) -> None:
    """Refuse a bundle that is older than the one of the same name that ran here last.

    Raises:
        BundleError: it is.
    """
    last = _read(history).versions.get(manifest.name)
    if last is not None and _number(manifest.version) < _number(last):
        raise BundleError(
            f"{manifest.name} {manifest.version} is older than {last}, which ran here last: give "
            "it a higher version, or set allow_downgrade = true in [trust] to go back"
        )


def remember(history: Path, bundle: Bundle, configured: Path, *, chosen: bool) -> None:
    """Note that this bundle runs now.

    Args:
        history: ``bundles.json``.
        bundle: what runs.
        configured: what the settings name.
        chosen: a command says that it runs, and not the settings.

    Raises:
        OSError: it can't be noted.
    """
    known, manifest, runs = _read(history), bundle.manifest, str(bundle.path)
    changed = {"versions": {**known.versions, manifest.name: manifest.version}, "runs": runs}
    if known.runs != runs:
        changed["before"] = known.runs
    changed |= {"chosen": runs, "configured": str(configured)} if chosen else {"chosen": ""}
    new = known.model_copy(update=changed)
    if new == known:
        return
    partial = history.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(new.model_dump_json(indent=2))
        stream.flush()
        os.fsync(stream.fileno())
    partial.rename(history)


def _read(file: Path) -> _History:
    try:
        content = json.loads(file.read_bytes())
        if isinstance(content, dict) and "versions" not in content:
            content = {"versions": content}  # as it was before commands could choose
        return _History.model_validate(content)
    except FileNotFoundError:
        return _History()
    except (OSError, ValueError) as error:
        what = "it is damaged" if isinstance(error, ValidationError) else error
        raise BundleError(
            f"{file} can't be read ({what}): it says which bundles ran here. If it is damaged, "
            "delete it; the versions are then known again from the next start on"
        ) from None


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
