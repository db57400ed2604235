"""Which images a bundle learned from, each by its own bytes: what `evaluate` asks.

A list of its own in the bundle, a line an image, so that the manifest stays small; the manifest
has its hash. What a file holds decides, not its name, its label or what lies beside it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edge_agent.bundle import Listed, sha256_of
from trainer.data import fingerprint, hold_back

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.bundle import Bundle, Manifest
    from trainer.data import Dataset, Sample

FILE = "learned.txt"
_ENTRY = "learned"
_DIGITS = 16
"""Of the SHA-256, in hex: among 100,000 images, a million others agree with one by chance in one
of 180 million cases."""


def list_images(samples: Sequence[Sample]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The list for a bundle that learned from ``samples``.

    Returns:
        What ``training.dataset`` in the manifest says of it, and the file by its name.
    """
    content = "".join(f"{line}\n" for line in sorted(set(map(_line, samples)))).encode()
    entry = Listed(file=FILE, sha256=hashlib.sha256(content).hexdigest())
    return {_ENTRY: entry.model_dump()}, {FILE: content}


def carried(bundle: Bundle) -> dict[str, bytes]:
    """The list as it goes on into a bundle that is made from this one; {} where it has none.

    Raises:
        BundleError: it is missing or was changed.
    """
    listed = _listed(bundle.manifest)
    return {listed.file: bundle.read(listed)} if listed else {}


def learned_from(bundle: Bundle, dataset: Dataset, samples: Sequence[Sample]) -> int | None:
    """How many of ``samples``, which are of ``dataset``, the bundle learned from.

    Returns:
        None where it is not known: a bundle that lists no images knows its whole set again, not
        a part of it.

    Raises:
        BundleError: its list is missing or was changed.
    """
    if listed := _listed(bundle.manifest):
        known = set(bundle.read(listed).decode("ascii", "replace").split())
        return sum(_line(sample) in known for sample in samples)
    if trained_on(dataset, bundle.manifest):
        return sum(sample.split != "test" for sample in samples)
    return None


def trained_on(dataset: Dataset, manifest: Manifest) -> bool | None:
    """Whether this is the very set that a bundle learned from; None: it does not say."""
    known = manifest.training.dataset.get("fingerprint")
    return None if known is None else fingerprint(hold_back(dataset)[0]) == known


def describe(learned: int | None, images: int) -> str:
    """What is to be said of figures of ``images``, of which ``learned`` were learned from."""
    if learned is None:
        return (
            "the bundle does not list the images that it learned from (an older trainer made it): "
            "if some of these are among them, these figures don't predict results on new images"
        )
    if not learned:
        return ""
    which = "these images" if learned == images else f"{learned} of these {images} images"
    return f"the model learned from {which}: these figures don't predict results on new images"


def _listed(manifest: Manifest) -> Listed | None:
    entry = manifest.training.dataset.get(_ENTRY)
    try:
        return None if entry is None else Listed.model_validate(entry)
    except ValidationError:
        return None


def _line(sample: Sample) -> str:
    return sha256_of(sample.image)[:_DIGITS]
