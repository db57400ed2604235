"""A bundle on disk: written whole or not at all, verified whole or refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edge_agent.bundle.content import open_regular
from edge_agent.bundle.errors import BundleError
from edge_agent.bundle.graph import check_graph
from edge_agent.bundle.manifest import FORMAT, Golden, Listed, Manifest, Variant
from edge_agent.system.durable import sync_directory, write_durably
from edge_agent.system.forms import explained
from edge_agent.system.text import titled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MANIFEST = "manifest.json"
_MANIFEST_LIMIT = 8 << 20
_GOLDEN_LIMIT = 128 << 20
"""Bytes, as of any image by default (`max_bytes`); a model's size is in the manifest."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest was read.

    It gives out no paths of its files: `read` is the only way to one, so that nobody uses other
    bytes than those whose hash was compared.
    """

    path: Path
    manifest: Manifest
    digest: str
    """SHA-256 of manifest.json's bytes: what was verified, whatever lies there by now."""
    signed_by: str = ""
    """Name of the key that vouches for it; empty where none does, or nobody asked."""

    @property
    def title(self) -> str:
        """Its name, version and the start of its digest, as people are shown it everywhere."""
        return titled(self.manifest.name, self.manifest.version, self.digest)

    def variant(self, name: str) -> Variant:
        """The variant called ``name``.

        Raises:
            BundleError: there is none.
        """
        for variant in self.manifest.variants:
            if variant.name == name:
                return variant
        have = ", ".join(variant.name for variant in self.manifest.variants)
        raise BundleError(f"{self.path} has no variant {name!r}; it has: {have}")

    def read(self, entry: Variant | Golden | Listed) -> bytes:
        """The file of a variant, of a golden image or another, as the manifest describes it.

        Use these bytes: the file may be another one a moment later.

        Raises:
            BundleError: missing, no regular file, outside of the bundle, of another size or hash.
        """
        size = entry.size if isinstance(entry, Variant) else None
        return _read(self.path, entry.file, entry.sha256, size)


def sha256_of(file: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_manifest(path: Path) -> Manifest:
    """Read and check ``manifest.json`` alone: no hashes, no models.

    Raises:
        BundleError: missing, not JSON, a newer format, an unknown or wrong field.
    """
    return parse_manifest(path, manifest_bytes(path))


def look_at_bundle(path: Path, *, digest: str = "") -> Bundle:
    """A bundle whose manifest alone was read; each file is verified when it is read.

    Args:
        path: the bundle's directory.
        digest: of the manifest that must be there; empty: whichever is.

    Raises:
        BundleError: as `read_manifest`; or another manifest is there.
    """
    raw = manifest_bytes(path)
    bundle = Bundle(path, parse_manifest(path, raw), hashlib.sha256(raw).hexdigest())
    if digest not in ("", bundle.digest):
        raise BundleError(
            f"{path} was changed after it was verified. A bundle is never changed: write the new "
            "one to another name, and reload"
        )
    return bundle


def manifest_bytes(path: Path) -> bytes:
    """The bytes of ``manifest.json``: what is signed, hashed and parsed.

    Raises:
        BundleError: missing, too large, or it can't be read.
    """
    file = path / MANIFEST
    try:
        with open_regular(file, follow=True) as (stream, size):
            if size > _MANIFEST_LIMIT:
                raise BundleError(f"{file} is larger than a manifest can be")
            return stream.read(size)
    except FileNotFoundError:
        what = "has no manifest.json" if path.is_dir() else "does not exist"
        raise BundleError(
            f"{path} {what}: give the folder that `trainer train` wrote, RUN/bundle"
        ) from None
    except OSError as error:
        raise BundleError(f"{file} can't be read: {error.strerror}") from None


def parse_manifest(path: Path, raw: bytes) -> Manifest:
    """Check the bytes of ``manifest.json``.

    Args:
        path: the bundle that they are of, for what is said.
        raw: what `manifest_bytes` returned.

    Raises:
        BundleError: as `read_manifest`.
    """
    file = path / MANIFEST
    try:
        content = json.loads(raw, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{file} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise BundleError(f"{file} must hold a JSON object")
    _check_format(file, content)
    try:
        return Manifest.model_validate_json(raw)
    except ValidationError as error:
        raise BundleError(f"{file}: {_explain(error)}") from None


def open_bundle(path: Path, *, graphs: bool = True, digest: str = "") -> Bundle:
    """Open a bundle after verifying everything that can be verified without running it.

    Args:
        path: the bundle's directory.
        graphs: also parse every model; else the hashes are checked alone.
        digest: of the manifest that must be there; empty: whichever is.

    Raises:
        BundleError: any file missing, of another hash, outside, or a graph off the contract.
    """
    bundle = look_at_bundle(path, digest=digest)
    manifest = bundle.manifest
    for golden in manifest.golden:
        bundle.read(golden)
    for variant in manifest.variants:
        model = bundle.read(variant)
        if graphs:
            check_graph(variant.file, model, manifest.preprocess)
    return bundle


def write_bundle(path: Path, manifest: Manifest, files: Mapping[str, Path | bytes]) -> Bundle:
    """Write a bundle under a temporary name, verify it, then rename it into place.

    Args:
        path: the new directory; it must not exist.
        manifest: with hashes and sizes already filled in.
        files: what goes in, by the name that the manifest uses: a file to copy, or its bytes.

    Raises:
        BundleError: ``path`` exists, or what was written does not verify.
    """
    if path.exists():
        raise BundleError(f"{path} exists: a bundle is never changed, write it to another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f".{path.name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name, content in files.items():
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            data = content if isinstance(content, bytes) else content.read_bytes()
            write_durably(target, data)
        text = manifest.model_dump_json(indent=2) + "\n"
        write_durably(partial / MANIFEST, text.encode())
        bundle = open_bundle(partial)
        for directory in {partial, *(d for d in partial.rglob("*") if d.is_dir())}:
            sync_directory(directory)
        partial.rename(path)
        sync_directory(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return replace(bundle, path=path)


def _read(path: Path, name: str, sha256: str, size: int | None) -> bytes:
    file = path / name
    try:
        real = file.resolve()
        if not real.is_relative_to(path.resolve()):
            raise BundleError(f"{file} leads outside the bundle: a link to {real}")
        with open_regular(real, follow=False) as (stream, length):
            if size is None and length > _GOLDEN_LIMIT:
                raise BundleError(f"{file} is larger than a golden image can be")
            if size not in (None, length):
                raise BundleError(
                    f"{file} has {length} bytes, the manifest says {size}. "
                    "Copy the whole bundle again"
                )
            content = stream.read(length)
    except (FileNotFoundError, IsADirectoryError):
        raise BundleError(f"{file} is missing: copy the whole bundle again") from None
    except OSError as error:
        raise BundleError(f"{file} can't be read: {error.strerror}") from None
    except MemoryError:
        raise BundleError(
            f"{file} has {length} bytes, more than this process may take: see worker.memory_mb"
        ) from None
    except RuntimeError:  # what resolve() says up to Python 3.12
        raise BundleError(f"{file} is a link to itself: copy the whole bundle again") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise BundleError(
            f"{file} was changed or damaged: its sha256 is {found}, "
            f"the manifest says {sha256}. Copy the whole bundle again"
        )
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _check_format(file: Path, content: dict[str, Any]) -> None:
    found = content.get("format")
    if type(found) is not int:  # a bool is one to isinstance
        raise BundleError(f"{file} states no format: it is not an edge-inspect bundle")
    if found > FORMAT:
        raise BundleError(
            f"{file} is of format {found}, this program reads format {FORMAT}: "
            "upgrade edge-inspect on this machine"
        )


def _explain(error: ValidationError) -> str:
    parts = []
    for detail in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in detail["loc"]) or "manifest"
        if detail["type"] == "extra_forbidden":
            parts.append(f"unknown field {place}")
        else:
            parts.append(f"{place}: {explained(detail)}")
    return "; ".join(parts)
