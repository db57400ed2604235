"""The contract between trainer and agent: manifest, preprocess, verify, write.

``preprocess`` is imported by its own name: it brings numpy and Pillow, which the daemon itself,
unlike its workers, does without.
"""

from edge_agent.bundle.errors import BundleError
from edge_agent.bundle.manifest import (
    Accuracy,
    Decision,
    Distribution,
    Expects,
    Golden,
    Listed,
    Manifest,
    Preprocess,
    Reference,
    Training,
    Variant,
)
from edge_agent.bundle.store import (
    Bundle,
    look_at_bundle,
    open_bundle,
    read_manifest,
    sha256_of,
    write_bundle,
)

__all__ = [
    "Accuracy",
    "Bundle",
    "BundleError",
    "Decision",
    "Distribution",
    "Expects",
    "Golden",
    "Listed",
    "Manifest",
    "Preprocess",
    "Reference",
    "Training",
    "Variant",
    "look_at_bundle",
    "open_bundle",
    "read_manifest",
    "sha256_of",
    "write_bundle",
]
