"""The spool on disk is the queue: ``work/<claim id>/<file name>``, one directory a frame.

The original name stays whole, whatever its length or bytes; the directory's name is the frame's
identity. Whatever is found here at start was claimed and not finished: it is judged again.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from edge_agent.durable import sync_directory, write_durably
from edge_agent.text import printable
from edge_agent.types import Claim, Failure, ReplyTo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_NOTE = ".note.json"
_PARTIAL = ".partial"  # no source offers a hidden name, so it can't be an image's
REASON = ".reason.json"
_LITTLE = 1 << 15  # bytes: less than this is no room
_NAME_LIMIT = 255  # bytes, on every filesystem that matters
_IDENTITY = re.compile(r"[0-9a-f]{24}|k[0-9a-f]{23}")
_COPY = "k"  # what the identity of a copy begins with, so that a restart knows it for one


@dataclass(frozen=True)
class Note:
    """What is known of an image beside its bytes; lies beside it as long as it is in ``work/``."""

    # A producer's correlation data may be any bytes.
    __pydantic_config__: ClassVar = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    name: str
    captured: float
    received: float
    reply: ReplyTo | None
    refused: Failure | None


_notes: TypeAdapter[Note] = TypeAdapter(Note)


class SpoolError(Exception):
    """The spool's directories can't be used; the message says what to do."""


def new_id() -> str:
    """An identity that sorts by time: milliseconds, then chance; 24 hex digits."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"


def stable_id(path: Path, status: os.stat_result, *, stays: bool) -> str:
    """The identity of a file that is copied: the same at every look, 24 characters.

    Args:
        path: of the file.
        status: its size and mtime are part of the identity.
        stays: the file stays where it is; otherwise it is removed when its copy is safe.
    """
    key = f"{os.fsencode(path)!r}\0{status.st_size}\0{status.st_mtime_ns}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    return _COPY + digest[:23] if stays else digest[:24]


def sha256_of(path: Path) -> str:
    """Hex, of a file's bytes; links and pipes are not followed.

    Raises:
        OSError: it can't be read.
    """
    digest = hashlib.sha256()
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def numbered(path: Path, identity: str) -> str:
    """The name under which a frame is filed away when its own is taken, or too long."""
    tail = os.fsencode("." + identity + path.suffix[:16])
    stem = os.fsencode(path.stem)[: _NAME_LIMIT - len(REASON) - len(tail)]
    return os.fsdecode(stem + tail)


class Spool:
    """Claims images into ``work/`` and files them away when they are judged."""

    def __init__(self, work: Path, processed: Path, quarantine: Path) -> None:
        self._work = work
        self._processed = processed
        self._quarantine = quarantine
        self._recovered: set[str] = set()
        for directory in (work, processed, quarantine):
            _make_writable(directory)

    def claim(self, source: Path) -> Claim:
        """Take a file by an atomic rename.

        Raises:
            OSError: as of rename; EXDEV where the folder lies on another filesystem.
        """
        identity = new_id()
        home = self._work / identity
        home.mkdir()
        try:
            source.rename(home / source.name)
        except OSError:
            home.rmdir()
            raise
        return self._claimed(home / source.name)

    def claim_copy(self, source: Path, status: os.stat_result, identity: str) -> Claim | None:
        """Take a copy, durable before it counts.

        Args:
            source: the file.
            status: what it was when the identity was given.
            identity: of that, and of nothing that is written there later.

        Returns:
            None if this identity is in work already, or the file was written to meanwhile: what
            was copied may be half of the one and half of the other.

        Raises:
            OSError: it can't be read, or not be written here.
        """
        home = self._work / identity
        home.mkdir(exist_ok=True)
        if any(entry.name != _PARTIAL for entry in home.iterdir()):
            return None
        partial = home / _PARTIAL
        try:
            if _version(_copy(source, partial)) != _version(status):
                shutil.rmtree(home)
                return None
            partial.rename(home / source.name)
            sync_directory(home)
            sync_directory(self._work)  # the original may be removed next
        except OSError:
            shutil.rmtree(home, ignore_errors=True)
            raise
        return self._claimed(home / source.name)

    def holds(self, identity: str) -> bool:
        """Whether a frame of this identity is in ``work/``."""
        try:
            return any(_claimable(self._work / identity))
        except FileNotFoundError:
            return False

    def sha256_of(self, identity: str) -> str:
        """Of the image of a frame in ``work/``; empty where there is none, or it can't be read."""
        with contextlib.suppress(OSError):
            for path in _claimable(self._work / identity):
                return sha256_of(path)
        return ""

    def receive(self, identity: str, name: str, content: bytes, note: Note) -> Claim:
        """Take bytes that came over a wire: durable when this returns.

        Args:
            identity: not in ``work/`` yet.
            name: of the file; a plain name.
            content: what it holds.
            note: what is known beside it.
        """
        home = self._work / identity
        home.mkdir(exist_ok=True)
        try:
            write_durably(home / _NOTE, _notes.dump_json(note))
            write_durably(home / _PARTIAL, content)
            (home / _PARTIAL).rename(home / name)
            sync_directory(home)
            sync_directory(self._work)
        except OSError:
            shutil.rmtree(home, ignore_errors=True)
            raise
        return _with(note, self._claimed(home / name))

    def sync(self, claims: Iterable[Claim]) -> None:
        """Make claims durable: a power cut can't put a file that was judged back in the inbox.

        Raises:
            SpoolError: the disk is failing; only a new start knows what is really on it.
        """
        try:
            for claim in claims:
                if claim.whole:
                    continue  # durable already
                with contextlib.suppress(FileNotFoundError):  # judged and filed away by now
                    sync_directory(claim.path.parent)
        except OSError as error:
            raise SpoolError(
                f"{self._work} can't be brought to the disk ({error.strerror}): look at the "
                "disk (`dmesg`), then start again"
            ) from error

    def recover(self) -> Iterator[Claim]:
        """What an earlier run claimed and did not finish, oldest first."""
        for home in sorted(self._homes()):
            with contextlib.suppress(FileNotFoundError):
                (home / _PARTIAL).unlink()
            entries = list(_claimable(home))
            if entries:
                self._recovered.add(home.name)
                yield self._noted(entries[0])
            else:
                with contextlib.suppress(OSError):
                    _clear(home)

    def keep(self, claim: Claim) -> None:
        """Move a judged image to ``processed/``, under its own name or a numbered one."""
        self._file(claim, self._processed / self._free(self._processed, claim))

    def quarantine(self, claim: Claim, reason: str) -> None:
        """Move an image that could not be judged aside, with the reason in a file beside it."""
        name = self._free(self._quarantine, claim)
        note = {"id": claim.id, "name": claim.name, "reason": reason, "received": claim.received}
        _write(self._quarantine / (name + REASON), json.dumps(note, indent=2) + "\n")
        self._file(claim, self._quarantine / name)

    def discard(self, claim: Claim) -> None:
        """Drop the copy of an image whose original stays where it is."""
        with contextlib.suppress(FileNotFoundError):
            claim.path.unlink()
        self._leave(claim)

    @property
    def work(self) -> Path:
        """Where claims lie until they are judged."""
        return self._work

    def room(self) -> int:
        """Bytes that ``work/`` has room for; 0 where nothing can be written there at all."""
        try:
            with tempfile.TemporaryFile(dir=self._work) as probe:
                probe.write(bytes(_LITTLE))
            found = os.statvfs(self._work)
        except OSError:
            return 0
        return found.f_bavail * found.f_frsize

    def depth(self) -> int:
        """Frames in ``work/``."""
        return sum(1 for _ in self._homes())

    def _homes(self) -> Iterator[Path]:
        """The frames' directories, and nothing else that may lie there (``lost+found``)."""
        return (path for path in self._work.iterdir() if _IDENTITY.fullmatch(path.name))

    def _claimed(self, path: Path) -> Claim:
        """Reads nothing: what is in ``work/`` by now would not be judged before the next start."""
        status, home = path.lstat(), path.parent.stat()
        return Claim(
            id=path.parent.name,
            name=printable(path.name),
            path=path,
            captured=status.st_mtime,
            received=home.st_mtime,
            claimed=time.monotonic(),
            copy=path.parent.name.startswith(_COPY),
        )

    def _noted(self, path: Path) -> Claim:
        """A claim of an earlier run, with what that run knew."""
        claim = self._claimed(path)
        try:
            note = _notes.validate_json((path.parent / _NOTE).read_bytes())
        except (FileNotFoundError, ValidationError):  # it has none, or a disk has lost it
            return claim
        return _with(note, claim)

    def _free(self, directory: Path, claim: Claim) -> str:
        """A name that is free in ``directory`` and leaves room for the reason's suffix."""
        name = claim.path.name
        # No image is called like another one's reason, which would be written over it.
        fits = len(os.fsencode(name)) <= _NAME_LIMIT - len(REASON)
        fits = fits and not name.lower().endswith(REASON)
        if fits and (not os.path.lexists(directory / name) or self._there(directory / name, claim)):
            return name
        return numbered(claim.path, claim.id)

    def _there(self, target: Path, claim: Claim) -> bool:
        """Whether a run that was killed has copied the image there and not yet removed it here."""
        if claim.id not in self._recovered:
            return False
        with contextlib.suppress(OSError):
            there, here = target.lstat(), claim.path.lstat()
            if stat.S_ISREG(there.st_mode) and there.st_mtime_ns == here.st_mtime_ns:
                return filecmp.cmp(target, claim.path, shallow=False)
        return False

    def _file(self, claim: Claim, target: Path) -> None:
        try:
            claim.path.rename(target)
        except FileNotFoundError:
            if os.path.lexists(claim.path):
                raise  # it is the directory that is gone
            return self._leave(claim)  # filed by a run that was killed before it could tidy up
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            partial = target.parent / f".{claim.id}{_PARTIAL}"
            try:
                _copy(claim.path, partial)
            except OSError:
                partial.unlink(missing_ok=True)
                raise
            partial.rename(target)
            sync_directory(target.parent)
            claim.path.unlink()
        return self._leave(claim)

    def _leave(self, claim: Claim) -> None:
        with contextlib.suppress(FileNotFoundError):
            _clear(claim.path.parent)


def _clear(home: Path) -> None:
    """Remove a frame's directory, with its note and whatever else is hidden there; no image."""
    for entry in home.iterdir():
        if entry.name.startswith("."):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    home.rmdir()


def _with(note: Note, claim: Claim) -> Claim:
    return replace(
        claim,
        name=note.name,
        captured=note.captured,
        received=note.received,
        whole=True,
        reply=note.reply,
        refused=note.refused,
    )


def _claimable(home: Path) -> Iterator[Path]:
    """Nothing that is hidden was claimed: it's what file browsers and NFS leave behind."""
    return (entry for entry in home.iterdir() if not entry.name.startswith("."))


def _make_writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):  # without a name: a kill leaves nothing
            pass
    except OSError as error:
        raise SpoolError(
            f"{directory} is not writable ({error.strerror}): create it or change its owner, "
            "so that the user of this service may write there"
        ) from None


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _copy(source: Path, target: Path) -> os.stat_result:
    """Copy a regular file's bytes and mtime durably; links and devices are refused.

    Returns:
        What the source was when all of it had been read.
    """
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as reader:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(source))
        with target.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        read = os.fstat(descriptor)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    return read


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
