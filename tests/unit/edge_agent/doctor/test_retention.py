"""What the doctor says of limits."""

from __future__ import annotations

from dataclasses import replace

from edge_agent.doctor.retention import look_at_retention
from edge_agent.journal import Journal
from tests.inspections import inspection, plain


def said(settings):
    return {(one.level, one.what) for one in look_at_retention(settings)}


def judged(settings, names):
    """A journal that knows these images, and their files."""
    storage = settings.storage
    for folder in (storage.processed_dir, storage.quarantine_dir):
        folder.mkdir(parents=True, exist_ok=True)
    with Journal(storage.journal) as journal:
        made = [replace(inspection(n), name=name) for n, name in enumerate(names)]
        journal.record(made, plain)
    for name in names:
        (storage.processed_dir / name).write_bytes(b"image")


def test_without_a_limit_nothing_is_deleted(make_settings):
    assert said(make_settings()) == {("ok", "images are never deleted: no limit is set")}


def test_limits_that_can_be_met(make_settings):
    settings = make_settings("[retention]\nmax_images = 2\n")
    assert said(settings) == {("ok", "the limits can be met")}
    judged(settings, ["a.png", "b.png"])

    assert said(settings) == {("ok", "the limits can be met; 2 images are kept")}


def test_more_room_than_there_is(make_settings):
    (found,) = look_at_retention(make_settings("[retention]\nmin_free_mb = 1000000000\n"))

    assert found.level == "error"
    assert found.what.startswith("retention.min_free_mb = 1000000000: the disk of ")


def test_an_inspection_that_is_kept_for_its_message(make_settings):
    more = '[mqtt]\nhost = "h"\n[retention]\njournal_days = 3\n'
    (found, _) = look_at_retention(make_settings(more))

    assert (found.level, found.what[:32]) == ("warning", "journal_days = 3 can't be met: a")


def test_images_that_the_journal_does_not_know(make_settings):
    settings = make_settings("[retention]\nmax_images = 3\n")
    judged(settings, ["a.png", "b.png"])
    for number in range(2):
        (settings.storage.processed_dir / f"before {number}.png").write_bytes(b"image")

    (found,) = look_at_retention(settings)

    assert found.level == "warning"
    assert found.what.startswith("2 of 4 images in ")
    assert found.what.endswith("none is deleted, and max_images = 3 can't be met")
    assert found.mend == "move them elsewhere if they are in the way"


def test_a_journal_that_can_not_be_read(make_settings):
    settings = make_settings("[retention]\nmax_images = 3\n")
    settings.storage.root.mkdir()
    settings.storage.journal.write_bytes(b"no journal")

    (found,) = look_at_retention(settings)

    assert found.level == "warning"
    assert found.what.startswith("images can't be counted: ")
