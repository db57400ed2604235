"""The contract between trainer and agent: manifest, preprocess, verify, write."""

from edge_agent.bundle.errors import BundleError
from edge_agent.bundle.manifest import (
    Accuracy,
    Decision,
    Distribution,
    Golden,
    Manifest,
    Preprocess,
    Reference,
    Training,
    Variant,
)
from edge_agent.bundle.preprocess import (
    FORMATS,
    MAX_PIXELS,
    DecodeError,
    Fitted,
    decode,
    fit,
)
from edge_agent.bundle.store import Bundle, open_bundle, read_manifest, sha256_of, write_bundle

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Accuracy",
    "Bundle",
    "BundleError",
    "Decision",
    "DecodeError",
    "Distribution",
    "Fitted",
    "Golden",
    "Manifest",
    "Preprocess",
    "Reference",
    "Training",
    "Variant",
    "decode",
    "fit",
    "open_bundle",
    "read_manifest",
    "sha256_of",
    "write_bundle",
]
