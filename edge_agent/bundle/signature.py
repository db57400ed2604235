"""Who vouches for a bundle: an Ed25519 signature (RFC 8032) of ``manifest.json``'s bytes.

The manifest names every file's SHA-256, so its signature covers all of them. ``manifest.sig`` holds
the 64 bytes in base64. A public key is written as ``ed25519:`` and its 32 bytes in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from edge_agent.bundle.content import open_regular
from edge_agent.bundle.errors import BundleError
from edge_agent.bundle.store import manifest_bytes, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SIGNATURE = "manifest.sig"
_KIND = "ed25519:"
_LIMIT = 1024
_OTHERS = 0o077


def make_keys(private: Path) -> str:
    """Write a new private key, for its owner's eyes alone; return its public key.

    Raises:
        BundleError: the file exists, or can't be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(descriptor)
    except FileExistsError:
        raise BundleError(f"{private} exists: a key is never overwritten") from None
    except OSError as error:
        raise BundleError(f"{private} can't be written: {error.strerror}") from None
    return _text(key)


def sign(bundle: Path, private: Path) -> str:
    """Sign a bundle that is in order; return the public key to be listed in the settings.

    Raises:
        BundleError: the manifest is not in order, the key can't be used, or others may read it.
    """
    manifest = manifest_bytes(bundle)
    parse_manifest(bundle, manifest)
    key = _private(private)
    signature = base64.b64encode(key.sign(manifest)) + b"\n"
    partial = bundle / f".{SIGNATURE}.partial"
    try:
        partial.write_bytes(signature)
        partial.rename(bundle / SIGNATURE)
    except OSError as error:
        raise BundleError(f"{bundle} can't be written to: {error.strerror}") from None
    return _text(key)


def signer(bundle: Path, keys: Mapping[str, str]) -> tuple[str, str]:
    """The name of the key that signed the bundle, and the SHA-256 of the manifest that it signed.

    Both are empty where there is no signature.

    Args:
        bundle: its directory.
        keys: public keys by name, as the settings have checked them.

    Raises:
        BundleError: there is a signature, but of none of these keys, or of another manifest.
    """
    file = bundle / SIGNATURE
    try:
        with open_regular(file, follow=True) as (stream, _):
            text = stream.read(_LIMIT)
        signature = base64.b64decode(text.strip(), validate=True)
    except FileNotFoundError:
        return "", ""
    except binascii.Error:
        raise BundleError(f"{file} is not a signature: sign the bundle again") from None
    except OSError as error:
        raise BundleError(f"{file} can't be read: {error.strerror}") from None
    manifest = manifest_bytes(bundle)
    for name, key in keys.items():
        try:
            raw = base64.b64decode(key.removeprefix(_KIND))
            Ed25519PublicKey.from_public_bytes(raw).verify(signature, manifest)
        except InvalidSignature:
            continue
        return name, hashlib.sha256(manifest).hexdigest()
    raise BundleError(
        f"{file} was made with none of the keys in [trust.keys] ({', '.join(keys)}), or "
        "manifest.json was changed after it was signed"
    )


def _private(file: Path) -> Ed25519PrivateKey:
    try:
        with file.open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & _OTHERS:
                raise BundleError(f"{file} is readable by others: chmod 600 {file}")
            pem = stream.read(1 << 16)
        key = load_pem_private_key(pem, password=None)
    except OSError as error:
        raise BundleError(f"{file} can't be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{file} is not a key made by `edge-agent bundle keygen`")
    return key


def _text(key: Ed25519PrivateKey) -> str:
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return _KIND + base64.b64encode(raw).decode()
