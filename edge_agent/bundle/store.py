"""A bundle on disk: written whole or not at all, verified whole or refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edge_agent.bundle.errors import BundleError
from edge_agent.bundle.graph import check_graph
from edge_agent.bundle.manifest import FORMAT, Manifest, Variant
from edge_agent.durable import sync_directory, write_durably

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MANIFEST = "manifest.json"
_MANIFEST_LIMIT = 8 << 20


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. ``open_bundle`` is the only way to a trustworthy one."""

    path: Path
    manifest: Manifest
    digest: str
    """SHA-256 of manifest.json's bytes: what was verified, whatever lies there by now."""
    signed_by: str = ""
    """Name of the key that vouches for it; empty where none does, or nobody asked."""

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

    def file(self, name: str) -> Path:
        """Where a file that the manifest names lies."""
        return self.path / name


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
    return _read_manifest(path)[0]


def look_at_bundle(path: Path) -> Bundle:
    """A bundle whose manifest alone was read: what it says of itself is not verified.

    Raises:
        BundleError: as `read_manifest`.
    """
    return Bundle(path, *_read_manifest(path))


def _read_manifest(path: Path) -> tuple[Manifest, str]:
    file = path / MANIFEST
    try:
        if file.stat().st_size > _MANIFEST_LIMIT:
            raise BundleError(f"{file} is larger than a manifest can be")
        raw = file.read_bytes()
    except FileNotFoundError:
        what = "has no manifest.json" if path.is_dir() else "does not exist"
        raise BundleError(
            f"{path} {what}: give the folder that `trainer train` wrote, RUN/bundle"
        ) from None
    except OSError as error:
        raise BundleError(f"{file} can't be read: {error.strerror}") from None
    try:
        content = json.loads(raw, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{file} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise BundleError(f"{file} must hold a JSON object")
    _check_format(file, content)
    try:
        return Manifest.model_validate_json(raw), hashlib.sha256(raw).hexdigest()
    except ValidationError as error:
        raise BundleError(f"{file}: {_explain(error)}") from None


def open_bundle(path: Path, *, graphs: bool = True, digest: str = "") -> Bundle:
    """Open a bundle after verifying everything that can be verified without running it.

    Args:
        path: the bundle's directory.
        graphs: also parse every model. A worker, which opens what was verified before it was
            started, leaves that out and checks the hashes alone.
        digest: of the manifest that must be there; empty: whichever is.

    Raises:
        BundleError: any file missing, of another hash, outside, or a graph off the contract.
    """
    manifest, found = _read_manifest(path)
    if digest not in ("", found):
        raise BundleError(
            f"{path} was changed after it was verified. A bundle is never changed: write the new "
            "one to another name, and reload"
        )
    root = path.resolve()
    for variant in manifest.variants:
        _check_file(root, path / variant.file, variant.sha256, variant.size)
    for golden in manifest.golden:
        _check_file(root, path / golden.file, golden.sha256, None)
    for variant in manifest.variants if graphs else ():
        check_graph(path / variant.file, manifest.preprocess)
    return Bundle(path, manifest, found)


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
        open_bundle(partial)
        for directory in {partial, *(d for d in partial.rglob("*") if d.is_dir())}:
            sync_directory(directory)
        partial.rename(path)
        sync_directory(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Bundle(path, manifest, hashlib.sha256(text.encode()).hexdigest())


def _check_file(root: Path, file: Path, sha256: str, size: int | None) -> None:
    try:
        real = file.resolve()
        if not real.is_relative_to(root):
            raise BundleError(f"{file} leads outside the bundle: a link to {real}")
        if not file.is_file():
            raise BundleError(f"{file} is missing: copy the whole bundle again")
        length = file.stat().st_size
        if size is not None and length != size:
            raise BundleError(
                f"{file} has {length} bytes, the manifest says {size}. Copy the whole bundle again"
            )
        found = sha256_of(file)
    except OSError as error:
        raise BundleError(f"{file} can't be read: {error.strerror}") from None
    except RuntimeError:  # what resolve() says up to Python 3.12
        raise BundleError(f"{file} is a link to itself: copy the whole bundle again") from None
    if found != sha256:
        raise BundleError(
            f"{file} was changed or damaged: its sha256 is {found}, "
            f"the manifest says {sha256}. Copy the whole bundle again"
        )


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


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
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in detail["loc"]) or "manifest"
        if detail["type"] == "extra_forbidden":
            parts.append(f"unknown field {place}")
        else:
            parts.append(f"{place}: {detail['msg']}")
    return "; ".join(parts)
