"""Which bundles ran here: what a command chose, what ran before it, and the last version of each.

Of the settings and a command, the later word counts: what a command chose runs, also after a
restart, until the settings name another bundle than they did then.

An attacker who can copy files may bring an old bundle, signed and valid, with a known weakness: one
of a lower version than ran here last is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_agent.bundle.errors import BundleError
from edge_agent.system.durable import sync_directory, write_durably
from edge_agent.system.forms import VERSION, version_key

if TYPE_CHECKING:
    from edge_agent.bundle.manifest import Manifest
    from edge_agent.bundle.store import Bundle


class Ran(BaseModel):
    """A bundle that ran here."""

    model_config = ConfigDict(frozen=True, strict=True)

    directory: str
    digest: str
    """Of its manifest."""
    name: str = ""
    """As its manifest has it; empty where an earlier program has noted it."""


class _History(BaseModel):
    """``bundles.json``."""

    model_config = ConfigDict(frozen=True, strict=True)

    versions: dict[str, Annotated[str, Field(pattern=VERSION)]] = {}
    """Of each bundle, by name, the version that ran last."""
    runs: Ran | None = None
    before: Ran | None = None
    """What ran before it: where a roll-back leads."""
    chosen: str = ""
    """The directory that a command chose; empty: the settings decide."""
    configured: str = ""
    """What the settings named then, over all links."""


def bundle_to_run(history: Path, configured: Path) -> Path:
    """The bundle that a command chose, if the settings name what they named then.

    Args:
        history: ``bundles.json``.
        configured: what the settings name.

    Raises:
        BundleError: the history is damaged.
    """
    known = _read(history)
    if known.chosen and known.configured == str(configured.resolve()):
        return Path(known.chosen)
    return configured


def bundle_before(history: Path) -> Ran | None:
    """What ran before that which runs now; None where nothing is known of it.

    Raises:
        BundleError: the history is damaged.
    """
    return _read(history).before


def ran_last(history: Path) -> Ran | None:
    """What ran here last, or runs; None where nothing did.

    Raises:
        BundleError: the history is damaged.
    """
    return _read(history).runs


def check_version(history: Path, manifest: Manifest) -> None:
    """Refuse a bundle that is older than the one of the same name that ran here last.

    Raises:
        BundleError: it is.
    """
    last = _read(history).versions.get(manifest.name)
    if last is not None and version_key(manifest.version) < version_key(last):
        raise BundleError(
            f"{manifest.name} {manifest.version} is older than {last}, which ran here last: give "
            "it a higher version, or set allow_downgrade = true in [trust] to go back"
        )


def remember(
    history: Path, bundle: Bundle, configured: Path, *, chosen: bool, back: bool = False
) -> None:
    """Note, durably, that this bundle runs now.

    Args:
        history: ``bundles.json``.
        bundle: what runs.
        configured: what the settings name.
        chosen: a command says that it runs, and not the settings.
        back: it was rolled back to: doing so once more is to change nothing.

    Raises:
        OSError: it can't be noted.
        BundleError: what was noted is damaged.
        ValueError: its path is no text.
    """
    known, manifest = _read(history), bundle.manifest
    runs = Ran(directory=str(bundle.path), digest=bundle.digest, name=manifest.name)
    changed: dict[str, object] = {
        "versions": {**known.versions, manifest.name: manifest.version},
        "runs": runs,
        "chosen": runs.directory if chosen else "",
        "configured": str(configured.resolve()) if chosen else "",
    }
    if not _same(known.runs, runs) and not back:
        changed["before"] = known.runs
    new = known.model_copy(update=changed)
    if new == known:
        return
    partial = history.with_suffix(".partial")
    write_durably(partial, new.model_dump_json(indent=2).encode())
    partial.rename(history)
    sync_directory(history.parent)


def _same(one: Ran | None, other: Ran) -> bool:
    """Whether they are the same bundle at the same place, whoever has noted its name."""
    return one is not None and (one.directory, one.digest) == (other.directory, other.digest)


def _read(file: Path) -> _History:
    try:
        content = json.loads(file.read_bytes())
        if isinstance(content, dict) and not isinstance(content.get("versions"), dict):
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
