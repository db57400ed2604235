"""Who vouches for a bundle, and that nobody can in another's name."""

from __future__ import annotations

import base64
import stat
from typing import TYPE_CHECKING

import pytest

from edge_agent.bundle import BundleError, look_at_bundle
from edge_agent.bundle.signature import make_keys, sign, signer
from edge_agent.engine.worker.verify import verify_apart
from edge_agent.settings import TrustSettings
from tests.bundles import make_bundle

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle").path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "key"


def test_a_signed_bundle_names_its_signer(bundle, key, tmp_path):
    public, other = make_keys(key), make_keys(tmp_path / "other")

    assert sign(bundle, key) == public
    name, digest = signer(bundle, {"them": other, "us": public})
    assert name == "us"
    assert digest == look_at_bundle(bundle).digest


def test_the_private_key_is_for_its_owner_alone_and_never_overwritten(key):
    make_keys(key)
    before = key.read_bytes()

    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with pytest.raises(BundleError, match="exists: a key is never overwritten"):
        make_keys(key)
    assert key.read_bytes() == before


def test_a_key_that_others_may_read_is_not_used(bundle, key):
    make_keys(key)
    key.chmod(0o640)

    with pytest.raises(BundleError, match="is readable by others: chmod 600"):
        sign(bundle, key)
    assert not (bundle / "manifest.sig").exists()


@pytest.mark.parametrize("content", [b"", b"words", b"-----BEGIN PRIVATE KEY-----\nAA==\n"])
def test_what_is_no_key_is_refused(bundle, key, content):
    key.write_bytes(content)
    key.chmod(0o600)

    with pytest.raises(BundleError, match="is not a key made by `edge-agent bundle keygen`"):
        sign(bundle, key)


def test_one_byte_of_the_manifest_changed_after_it_was_signed(bundle, key):
    keys = {"us": make_keys(key)}
    sign(bundle, key)
    manifest = bundle / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")

    with pytest.raises(BundleError, match=r"or manifest\.json was changed after it was signed"):
        signer(bundle, keys)


def test_signed_by_a_stranger(bundle, key, tmp_path):
    make_keys(key)
    sign(bundle, key)

    with pytest.raises(
        BundleError,
        match=r"was made with none of the keys in \[trust.keys\] "
        r"\(us\)",
    ):
        signer(bundle, {"us": make_keys(tmp_path / "other")})


@pytest.mark.parametrize("content", [b"?", b"\xff\xfe", b"AAAA", b"A" * 5000, b""])
def test_a_damaged_signature_is_refused(bundle, key, content):
    keys = {"us": make_keys(key)}
    (bundle / "manifest.sig").write_bytes(content)

    with pytest.raises(BundleError, match=r"manifest.sig (is|was made with) "):
        signer(bundle, keys)


@pytest.mark.slow
def test_verifying_with_trust(bundle, key):
    public = make_keys(key)
    trust = TrustSettings(keys={"us": public}, require_signature=True)
    with pytest.raises(BundleError, match=r"has no manifest\.sig, and .* require_signature is set"):
        verify_apart(bundle, trust)
    assert verify_apart(bundle, TrustSettings(keys={"us": public})).signed_by == ""

    sign(bundle, key)

    assert verify_apart(bundle, trust).signed_by == "us"
    assert verify_apart(bundle).signed_by == ""  # nobody asked


@pytest.mark.slow
def test_a_wrong_signature_is_refused_even_where_none_is_required(bundle, key, tmp_path):
    make_keys(key)
    sign(bundle, key)
    trust = TrustSettings(keys={"us": make_keys(tmp_path / "other")})

    with pytest.raises(BundleError, match="was made with none of the keys"):
        verify_apart(bundle, trust)


@pytest.mark.parametrize(
    "text", ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA", base64.b64encode(bytes(32)).decode()]
)
def test_what_is_no_public_key_is_a_wrong_setting(text):
    with pytest.raises(ValueError, match="us is not a public key"):
        TrustSettings(keys={"us": text})


def test_a_signature_nobody_could_give_can_not_be_required():
    with pytest.raises(ValueError, match="keys is empty"):
        TrustSettings(require_signature=True)
