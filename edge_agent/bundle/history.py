"""Which version of each bundle ran here last: an older one is not taken by mistake, or on purpose.

An attacker who can copy files may bring an old bundle, signed and valid, with a known weakness.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from edge_agent.bundle.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.bundle.manifest import Manifest


def check_version(history: Path, manifest: Manifest) -> None:
    """Refuse a bundle that is older than the one of the same name that ran here last.

    Raises:
        BundleError: it is.
    """
    last = _read(history).get(manifest.name)
    if last is not None and _number(manifest.version) < _number(last):
        raise BundleError(
            f"{manifest.name} {manifest.version} is older than {last}, which ran here last: give "
            "it a higher version, or set allow_downgrade = true in [trust] to go back"
        )


def remember(history: Path, manifest: Manifest) -> None:
    """Note that this bundle runs now.

    Raises:
        OSError: it can't be noted.
    """
    known = _read(history)
    if known.get(manifest.name) == manifest.version:
        return
    known[manifest.name] = manifest.version
    partial = history.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as stream:
        json.dump(known, stream, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    partial.rename(history)


def _read(history: Path) -> dict[str, str]:
    try:
        content = json.loads(history.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{history} can't be read ({error}): it says which bundles ran here. If it is damaged, "
            "delete it; the versions are then known again from the next start on"
        ) from None
    if not isinstance(content, dict):
        raise BundleError(f"{history} is damaged: delete it")
    return {str(name): str(version) for name, version in content.items()}


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
