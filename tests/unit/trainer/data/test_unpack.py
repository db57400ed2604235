"""Archives that mean harm."""

from __future__ import annotations

import stat
import struct
import warnings
import zipfile

import pytest

from trainer.data.unpack import unpack
from trainer.errors import UsageError


def make_zip(file, entries):
    """Entries: name or ZipInfo, and content."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name twice
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in entries:
                archive.writestr(name, content)
    return file


def linked(name, target):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry, target


def has_train(folder):
    return (folder / "train").is_dir()


@pytest.fixture
def into(tmp_path):
    folder = tmp_path / "outer" / "into"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("top", ["", "KolektorSDD2/"])
def test_what_is_wanted_is_found_at_the_top_or_one_deeper(tmp_path, into, top):
    archive = make_zip(tmp_path / "a.zip", [(f"{top}train/1.png", b"one"), (f"{top}x.txt", b"")])
    root = unpack(archive, into, 1000, has_train)
    assert root == (into / top if top else into)
    assert (root / "train" / "1.png").read_bytes() == b"one"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (("../evil.png", b"x"), "leads outside"),
        (("train/../../evil.png", b"x"), "leads outside"),
        (("/evil.png", b"x"), "leads outside"),
        (("train\\..\\evil.png", b"x"), "leads outside"),
        (("C:/evil.png", b"x"), "leads outside"),
        (linked("train/link.png", "/etc/passwd"), "a link"),
        (("train/1.png", b"again"), "twice"),
        (("train/1.png/inner.png", b"x"), "as file and as folder"),
        (("train/bomb.png", bytes(2000)), "would unpack to more"),
    ],
)
def test_an_unsafe_archive_is_refused(tmp_path, into, entry, said):
    archive = make_zip(tmp_path / "a.zip", [("train/1.png", b"one"), entry])
    with pytest.raises(UsageError, match=said):
        unpack(archive, into, 1000, has_train)
    assert not list(tmp_path.rglob("evil*"))
    assert not list(tmp_path.rglob("link*"))


def test_a_lie_about_the_size_is_seen(tmp_path, into):
    """The list of contents says 10 bytes, the file brings two million."""
    archive = make_zip(tmp_path / "a.zip", [("train/1.png", bytes(2_000_000))])
    content = bytearray(archive.read_bytes())
    size = struct.pack("<I", 2_000_000)
    while (place := content.find(size)) >= 0:
        content[place : place + 4] = struct.pack("<I", 10)
    archive.write_bytes(content)
    with pytest.raises(UsageError):
        unpack(archive, into, 1000, has_train)
    assert sum(file.stat().st_size for file in into.rglob("*.png")) <= 1000


def test_an_encrypted_archive_is_refused(tmp_path, into):
    archive = make_zip(tmp_path / "a.zip", [("train/1.png", b"one")])
    content = bytearray(archive.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(magic) + offset] |= 1
    archive.write_bytes(content)
    with pytest.raises(UsageError, match="encrypted"):
        unpack(archive, into, 1000, has_train)


@pytest.mark.parametrize("damage", ["text", "truncated", "flipped"])
def test_a_damaged_archive_is_refused(tmp_path, into, damage):
    archive = make_zip(tmp_path / "a.zip", [("train/1.png", bytes(range(256)) * 3)])
    content = bytearray(archive.read_bytes())
    if damage == "text":
        content = bytearray(b"<html>moved</html>")
    elif damage == "truncated":
        content = content[: len(content) // 2]
    else:
        content[60] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(UsageError, match="can't be unpacked"):
        unpack(archive, into, 1000, has_train)


def test_another_archive_is_refused(tmp_path, into):
    archive = make_zip(tmp_path / "a.zip", [("holiday/beach.png", b"one")])
    with pytest.raises(UsageError, match="does not hold the images"):
        unpack(archive, into, 1000, has_train)
