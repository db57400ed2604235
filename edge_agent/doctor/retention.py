"""What the station deletes: limits that can't be met, and images that no limit concerns."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from edge_agent.doctor.finding import Finding
from edge_agent.journal import JournalError
from edge_agent.journal.archive import count_images
from edge_agent.line.filed import count
from edge_agent.line.housekeeping import check_limits
from edge_agent.settings import SettingsError

if TYPE_CHECKING:
    from edge_agent.journal.archive import Held
    from edge_agent.settings import Settings

TOPIC = "retention"


def look_at_retention(settings: Settings) -> list[Finding]:
    """The settings by themselves, then what lies in the folders and the journal."""
    keep, storage = settings.retention, settings.storage
    found = look_at_settings(settings)
    if not (keep.ok_images_go or keep.other_images_go):
        return [*found, Finding(TOPIC, "ok", "images are never deleted: no limit is set")]
    if not storage.journal.exists():
        return found or [Finding(TOPIC, "ok", "the limits can be met")]
    try:
        held = count_images(storage.journal)
        there = count(storage.processed_dir) + count(storage.quarantine_dir)
    except JournalError as error:
        return [*found, Finding(TOPIC, "warning", f"images can't be counted: {error}")]
    except OSError as error:
        what = f"{error.filename} can't be listed: {error.strerror}"
        return [*found, Finding(TOPIC, "warning", what, "see the folders above")]
    found += look_at_images(settings, held, there)
    return found or [Finding(TOPIC, "ok", f"the limits can be met; {held.images} images are kept")]


def look_at_settings(settings: Settings) -> list[Finding]:
    """What can be told without looking at what is there."""
    found, keep = [], settings.retention
    try:
        check_limits(settings)
    except SettingsError as error:
        found.append(Finding(TOPIC, "error", str(error), "lower it, or use a larger disk"))
    except OSError as error:
        what = f"the disk of {error.filename} can't be asked: {error.strerror}"
        found.append(Finding(TOPIC, "warning", what, "see the folders above"))
    if settings.mqtt and keep.journal_days and keep.journal_days < keep.replay_days:
        what = (
            f"journal_days = {keep.journal_days:g} can't be met: an inspection is kept as long as "
            f"its message can be replayed, for replay_days = {keep.replay_days:g}"
        )
        found.append(Finding(TOPIC, "warning", what, "lower replay_days, or raise journal_days"))
    return found


def look_at_images(settings: Settings, held: Held, there: int) -> list[Finding]:
    """What lies there and can't be deleted."""
    found, keep, storage = [], settings.retention, settings.storage
    places = f"{storage.processed_dir} and {storage.quarantine_dir}"
    unknown = there - held.images - held.stuck
    if unknown > 0:
        what = f"{unknown} of {there} images in {places} are not in the journal: none is deleted"
        mend = "move them elsewhere if they are in the way"
        if keep.max_images and there > keep.max_images:
            what += f", and max_images = {keep.max_images} can't be met"
        found.append(Finding(TOPIC, "warning", what, mend))
    if held.stuck:
        what = f"{held.stuck} images in {places} could not be deleted"
        mend = "the agent's log says why; let the user of its service delete there"
        found.append(Finding(TOPIC, "warning", what, mend))
    if keep.min_free_mb:
        free = shutil.disk_usage(storage.processed_dir).free
        if free + held.bytes < keep.min_free_mb << 20:
            what = (
                f"min_free_mb = {keep.min_free_mb} can't be met: {free >> 20} MB are free, and all "
                f"images that the journal knows have {held.bytes >> 20} MB"
            )
            mend = "free some space, or lower it: until then nothing is deleted to make room"
            found.append(Finding(TOPIC, "warning", what, mend))
    return found
