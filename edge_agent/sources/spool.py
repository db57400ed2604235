"""The spool on disk is the queue: ``work/<claim id>/<file name>``, one directory a frame.

The original name stays whole, whatever its length or bytes; the directory's name is the frame's
identity. Whatever is found here at start was claimed and not finished: it is judged again.

An image is claimed by a rename, so on its own filesystem: where ``work/`` lies on another one, in
a hidden folder of this station in the inbox. The inode that its writer may still hold is the one
that is judged, no two stations have it, and it is removed there only after its commit.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from edge_agent.sources.copying import copy_in_steps
from edge_agent.sources.entries import open_folder
from edge_agent.sources.identity import FORM, is_copy, is_copy_of_what_stays
from edge_agent.sources.places import Places
from edge_agent.sources.reason import write_note
from edge_agent.system.durable import blamed, sync_directory, write_durably, write_whole
from edge_agent.system.text import printable
from edge_agent.types import Claim, Failure, Image, ReplyTo, Wanted

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator
    from pathlib import Path

_NOTE = ".note.json"
_AWAITED = ".awaited.json"
"""The note of an image that is not here yet: its message names a file that may have yet to come."""
_PARTIAL = ".partial"  # no source offers a hidden name, so it can't be an image's
_FILED = ".filed.json"
"""Lies beside an image that was copied to where it is filed, until it is removed here."""
_ASIDE = ".edge-agent-"
"""What a station's folder in an inbox on another filesystem begins with."""
_FOLDER = ".folder"
"""Says in which folder of the inbox the image lay; not there where that was the inbox itself."""
_NAME_SHOWN = 500  # characters
_LITTLE = 1 << 15  # bytes: less than this is no room


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
    wanted: Wanted | None = None


_notes: TypeAdapter[Note] = TypeAdapter(Note)


class RewrittenError(Exception):
    """The file that is to be filed does not hold the bytes that were judged."""


class SpoolError(Exception):
    """The spool's directories can't be used; the message says what to do."""


def new_id() -> str:
    """An identity that sorts by time: milliseconds, then chance; 24 hex digits."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"


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


def _station_mark(root: Path) -> str:
    """What tells this station from all others that may share an inbox: 12 hex digits, for ever.

    Raises:
        SpoolError: it can't be written.
    """
    file = root / "id"
    try:
        with contextlib.suppress(FileNotFoundError):
            mark = file.read_text("ascii", "replace").strip()
            if len(mark) == 12 and mark.isalnum():
                return mark
        root.mkdir(parents=True, exist_ok=True)
        mark = secrets.token_hex(6)
        write_whole(file, f"{mark}\n".encode())
        sync_directory(root)
    except OSError as error:
        raise SpoolError(
            f"{file} can't be written ({error.strerror}): it identifies this station, so that no "
            "two stations take the same image"
        ) from None
    return mark


def check_root(root: Path, work: Path) -> None:
    """See that a root that is to be made is that of a new station, where that can be told.

    Raises:
        SpoolError: its disk seems to be away: a new journal would begin at 1 again.
    """
    if work.is_dir() and not os.path.lexists(root):
        raise SpoolError(
            f"[storage] root {root} does not exist, though the station's {work} does: mount the "
            f"disk that it lies on; or, where the station is new, mkdir -p {root}"
        )


class Spool:
    """Claims images into ``work/`` and files them away when they are judged."""

    def __init__(
        self,
        work: Path,
        processed: Path,
        quarantine: Path,
        *,
        inbox: Path | None = None,
        root: Path | None = None,
    ) -> None:
        """Make the directories.

        Args:
            work: where claims are.
            processed: where judged images go.
            quarantine: where images go that can't be judged.
            inbox: the folder that images are taken from.
            root: where it is kept which station this is: images are claimed in the inbox itself,
                in a folder of this station, where they can't be renamed into ``work``.

        Raises:
            SpoolError: one of the directories can't be written to.
        """
        self._work = work
        self._processed = processed
        self._quarantine = quarantine
        self._inbox = inbox
        self._place = work
        """Where the next image is claimed."""
        self._taken: set[str] = set()
        """Frames of this run that are not filed yet."""
        self._awaited: set[str] = set()
        """Those of them whose image is not here yet."""
        self._names = Places(processed, quarantine, new_id)
        self._empty: list[Path] = []
        """Directories of claims that failed, to be removed."""
        for directory in (work, processed, quarantine):
            _make_writable(directory)
        self._aside = inbox / f"{_ASIDE}{_station_mark(root)}" if inbox and root else None

    def claim(self, source: Path) -> Claim:
        """Take a file by an atomic rename.

        Raises:
            OSError: as of rename; EXDEV where the folder lies on another filesystem and the
                station has no root.
        """
        try:
            return self._claim(source, self._place)
        except OSError as error:
            if error.errno != errno.EXDEV or self._aside in (None, self._place):
                raise
        self._place = self._aside
        return self._claim(source, self._place)

    def _claim(self, source: Path, place: Path) -> Claim:
        self._clear_empty()
        folder = self._folder_of(source)
        home, status = place / new_id(), source.lstat()
        if place == self._aside:
            try:
                place.mkdir(mode=0o700, exist_ok=True)
                home.mkdir()
            except OSError as error:  # as of rename: nothing may be moved in this inbox
                raise OSError(error.errno, error.strerror, str(source)) from None
        else:
            home.mkdir()
        try:
            if folder:
                self._move_from(folder, source, home)
            else:
                source.rename(home / source.name)
        except OSError:
            self._empty.append(home)
            self._clear_empty()
            raise
        # Nothing is read any more: what is claimed must not be lost to the loop by a failure.
        return self._claimed(home / source.name, status.st_mtime, time.time(), folder)

    def _move_from(self, folder: str, source: Path, home: Path) -> None:
        """Move a file out of a folder of the inbox, over no link; what it was called is noted."""
        with blamed(home / _FOLDER):
            (home / _FOLDER).write_bytes(os.fsencode(folder))
        with self._inside(folder, source) as inside, blamed(source):
            os.rename(source.name, home / source.name, src_dir_fd=inside)

    @contextlib.contextmanager
    def _inside(self, folder: str, source: Path) -> Iterator[int | None]:
        """The folder of the inbox that a file lies in, reached over no link; None: the inbox."""
        if not folder or self._inbox is None:
            yield None
            return
        with blamed(source):
            descriptor = open_folder(self._inbox, folder)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _folder_of(self, source: Path) -> str:
        """In which folder of the inbox a file lies; empty: in the inbox itself."""
        if self._inbox is None or source.parent == self._inbox:
            return ""
        return source.parent.relative_to(self._inbox).as_posix()

    def _clear_empty(self) -> None:
        for home in self._empty[:]:
            with contextlib.suppress(OSError):
                _clear(home)
                self._empty.remove(home)

    def copy(
        self, source: Path, status: os.stat_result, identity: str
    ) -> Generator[None, None, Claim | None]:
        """Take a copy, in steps; durable before it counts.

        Args:
            source: the file.
            status: what it was when the identity was given.
            identity: of that, and of nothing that is written there later.

        Returns:
            None if this identity is in work already, or the file was written to meanwhile: what
            was copied may be half of the one and half of the other.

        Raises:
            OSError: it can't be read, or not be written here; its ``filename`` says which.
        """
        if identity in self._taken:
            return None
        folder, home = self._folder_of(source), self._home_for(identity)
        partial = home / _PARTIAL
        try:
            if folder:
                write_durably(home / _FOLDER, os.fsencode(folder))
            with self._inside(folder, source) as inside:
                copied = yield from copy_in_steps(source, partial, inside)
            if _version(copied) != _version(status):
                shutil.rmtree(home)
                return None
            partial.rename(home / source.name)
            sync_directory(home)
            sync_directory(self._work)  # the original may be removed next
        except OSError:
            shutil.rmtree(home, ignore_errors=True)
            raise
        return self._claimed(home / source.name, status.st_mtime, time.time(), folder)

    def refuse(self, source: Path, status: os.stat_result, identity: str, why: Failure) -> Claim:
        """Take a file that stays where it is, without its bytes: they are not judged."""
        self._taken.add(identity)
        return Claim(
            id=identity,
            name=_name_of(self._folder_of(source), source),
            path=self._work / identity / source.name,  # not there
            captured=status.st_mtime,
            received=time.time(),
            claimed=time.monotonic(),
            copy=True,
            whole=True,
            refused=why,
        )

    def holds(self, identity: str) -> bool:
        """Whether a frame of this identity is in ``work/``, and will be judged."""
        return identity in self._taken

    def _home_for(self, identity: str) -> Path:
        """An empty directory: what is there was left by a try that failed, and is in no queue."""
        home = self._work / identity
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(home)
        home.mkdir()
        return home

    def like(self, start: str) -> list[str]:
        """The identities of frames in ``work/`` that begin so."""
        return [identity for identity in tuple(self._taken) if identity.startswith(start)]

    def left(self, start: str) -> list[str]:
        """The identities of frames that an earlier run has left in ``work/`` and begin so."""
        return [home.name for home in self._homes(self._work) if home.name.startswith(start)]

    def sha256_of(self, identity: str) -> str:
        """Of the image of a frame in ``work/``; empty where there is none, or it can't be read."""
        with contextlib.suppress(OSError):
            for path in _claimable(self._work / identity):
                return sha256_of(path)
        return ""

    def expect(self, identity: str, note: Note) -> None:
        """Note an image that has yet to come; durable when this returns. `receive` ends it.

        Args:
            identity: not in ``work/`` yet.
            note: with what is ``wanted``.
        """
        home = self._home_for(identity)
        try:
            write_whole(home / _AWAITED, _notes.dump_json(note))
            sync_directory(home)
            sync_directory(self._work)
        except OSError:
            shutil.rmtree(home, ignore_errors=True)
            raise
        self._taken.add(identity)
        self._awaited.add(identity)

    def expected(self) -> list[tuple[str, Note]]:
        """What an earlier run has noted, and whose image is not here yet.

        One whose note a disk has lost can't be read any more: it is refused.
        """
        found = []
        for home in sorted(self._homes(self._work)):
            if home.name in self._taken or not _is_awaited(home):
                continue
            try:
                note = _notes.validate_json((home / _AWAITED).read_bytes())
            except ValidationError:
                lost = Failure("the message that named it can't be read any more", Image("", 0))
                note = Note(home.name, time.time(), time.time(), None, lost, Wanted("", None))
            self._taken.add(home.name)
            self._awaited.add(home.name)
            found.append((home.name, note))
        return found

    def refuse_expected(self, why: str) -> None:
        """Give up what `expected` returns: it is in ``work/`` then, to be recorded as an error."""
        for identity, note in self.expected():
            refused = note.refused or Failure(why, Image("", 0))
            with contextlib.suppress(OSError):  # no room now: the next start tries again
                self.receive(identity, "image", b"", replace(note, refused=refused))

    def receive(
        self, identity: str, name: str, content: bytes, note: Note, mtime_ns: int | None = None
    ) -> Claim:
        """Take bytes that came over a wire, or another look at them; durable when this returns.

        Args:
            identity: not in ``work/`` yet, or expected, or received and not judged.
            name: of the file; a plain name, the same at each look.
            content: what it holds.
            note: what is known beside it.
            mtime_ns: of the file that these bytes are of, where they are a file's.
        """
        first = identity not in self._taken
        home = self._home_for(identity) if first else self._work / identity
        try:
            write_whole(home / _NOTE, _notes.dump_json(note))
            write_durably(home / _PARTIAL, content)
            if mtime_ns is not None:
                os.utime(home / _PARTIAL, ns=(mtime_ns, mtime_ns))
            (home / _PARTIAL).rename(home / name)
            (home / _AWAITED).unlink(missing_ok=True)
            sync_directory(home)
            sync_directory(self._work)
        except OSError:
            if first:  # what was here before must outlive this
                shutil.rmtree(home, ignore_errors=True)
            raise
        self._awaited.discard(identity)
        return _with(note, self._claimed(home / name, note.captured, note.received))

    def sync(self, claims: Iterable[Claim]) -> None:
        """Make claims durable: a power cut can't put a file that was judged back in the inbox.

        Raises:
            OSError: there is no room for it; nothing was taken back.
            SpoolError: the disk is failing; only a new start knows what is really on it.
        """
        for claim in claims:
            if claim.whole or claim.wanted:
                continue  # durable already
            try:
                if "/" in claim.name:
                    _sync_folder_note(claim.path.parent)
                sync_directory(claim.path.parent)
            except FileNotFoundError:
                pass  # judged and filed away by now
            except OSError as error:
                if claim.path.parent.parent == self._aside:
                    continue  # not our disk: whoever serves it may not know how
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise SpoolError(
                    f"{self._work} can't be synced to the disk ({error.strerror}): look at the "
                    "disk (`dmesg`), then start again"
                ) from error

    def recover(self) -> Iterator[Claim]:
        """What an earlier run claimed and did not finish, oldest first."""
        for place in self._places():
            yield from self._left_in(place, frozenset())

    def adopt(self) -> list[Claim]:
        """What an earlier run claimed in an inbox that was not there at the start.

        Raises:
            OSError: it can't be listed.
        """
        places = (place for place in self._places() if place == self._aside)
        return [claim for place in places for claim in self._left_in(place, self._taken)]

    def _left_in(self, place: Path, but: Collection[str]) -> Iterator[Claim]:
        for home in sorted(home for home in self._homes(place) if home.name not in but):
            with contextlib.suppress(FileNotFoundError):
                (home / _PARTIAL).unlink()
            entries = list(_claimable(home))
            if entries:
                yield replace(self._noted(entries[0]), recovered=True)
            elif not _is_awaited(home):
                with contextlib.suppress(OSError):
                    _clear(home)

    def reachable(self, claim: Claim) -> bool:
        """Whether the place that the claim lies in is there: a share may have gone away."""
        return os.path.isdir(claim.path.parent.parent)  # noqa: PTH112  whatever is wrong with it

    def ours(self, claim: Claim) -> bool:
        """Whether the frame lies on the station's own disk, and not on that of the inbox."""
        return claim.path.parent.parent == self._work

    def probe(self) -> bool:
        """Whether an image could be claimed now, as far as the place alone is concerned."""
        self._clear_empty()
        home = self._place / f".{new_id()}"
        try:
            home.mkdir()
            home.rmdir()
        except OSError:
            return False
        return True

    def strays(self) -> dict[str, int]:
        """Folders of other stations in the inbox, and how many images each holds.

        Raises:
            OSError: the inbox can't be listed.
        """
        if self._inbox is None:
            return {}
        found = {}
        for place in self._inbox.glob(f"{_ASIDE}*"):
            if place != self._aside and place.is_dir():
                held = sum(any(_claimable(home)) for home in self._homes(place))
                if held:
                    found[place.name] = held
        return found

    def reserve(self, claim: Claim, *, quarantined: bool) -> str:
        """Choose where a frame will be filed, as `Places.give`; empty where no image is."""
        if claim.copy or (claim.refused and _is_empty(claim.path)):  # its bytes were not kept
            return ""
        return self._names.give(claim, quarantined=quarantined)

    def reserve_again(self, claim: Claim, stored: str) -> None:
        """Give a frame the place that its inspection names, as `reserve` returned it."""
        self._names.give_again(claim, stored)

    def keep(self, claim: Claim, sha256: str = "") -> Iterator[None]:
        """Move a judged image to ``processed/``, under its own name or a numbered one.

        Args:
            claim: the frame.
            sha256: of the bytes that were judged; empty: not known.

        Returns:
            The steps that are left, where it has to be copied to another filesystem.

        Raises:
            RewrittenError: it has other bytes, and was left where it is; also in a later step.
            OSError: it can't be moved; also in a later step.
        """
        return self._file(claim, self._processed, "", sha256)

    def quarantine(self, claim: Claim, reason: str, sha256: str = "") -> Iterator[None]:
        """Move an image that could not be judged aside, with the reason in a file beside it.

        All else is as in `keep`.
        """
        return self._file(claim, self._quarantine, reason or "unknown", sha256)

    def renew(self, claim: Claim) -> Claim:
        """Make what a judged file holds now another frame.

        Raises:
            OSError: it can't be moved within its place.
        """
        status, folder = claim.path.lstat(), _noted_folder(claim.path.parent)
        home = claim.path.parent.rename(claim.path.parent.parent / new_id())
        self._taken.discard(claim.id)
        self._names.take_back(claim.id)
        return self._claimed(home / claim.path.name, status.st_mtime, time.time(), folder)

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
        """Frames in ``work/``, and in the inbox if they are claimed there; not those expected."""
        return sum(
            home.name not in self._awaited
            for place in self._places()
            for home in self._homes(place)
        )

    def _places(self) -> Iterator[Path]:
        yield self._work
        if self._aside is not None and os.path.isdir(self._aside):  # noqa: PTH112  as above
            yield self._aside

    def _homes(self, place: Path) -> Iterator[Path]:
        """The frames' directories, and nothing else that may lie there (``lost+found``)."""
        return (path for path in place.iterdir() if FORM.fullmatch(path.name))

    def _claimed(self, path: Path, captured: float, received: float, folder: str = "") -> Claim:
        """The claim of an image in ``work/``, from that folder of the inbox; nothing is read."""
        identity = path.parent.name
        self._taken.add(identity)
        return Claim(
            id=identity,
            name=_name_of(folder, path),
            path=path,
            captured=captured,
            received=received,
            claimed=time.monotonic(),
            copy=is_copy_of_what_stays(identity),
            origin=self._inbox / folder / path.name if self._inbox and is_copy(identity) else None,
        )

    def _noted(self, path: Path) -> Claim:
        """A claim of an earlier run, with what that run knew."""
        status, home = path.lstat(), path.parent.stat()
        folder, note = _noted_folder(path.parent), None
        with contextlib.suppress(FileNotFoundError, ValidationError):  # none, or a disk has lost it
            note = _notes.validate_json((path.parent / _NOTE).read_bytes())
        claim = self._claimed(path, status.st_mtime, home.st_mtime, folder)
        return _with(note, claim) if note else claim

    def _file(self, claim: Claim, directory: Path, reason: str, sha256: str) -> Iterator[None]:
        if not os.path.lexists(claim.path) and self.reachable(claim):
            self._leave(claim)  # filed by a run that was killed before it tidied up
            return iter(())
        if (claim.path.parent / _FILED).exists():
            return self._copy_away(claim, directory, reason, sha256)
        if claim.path.lstat().st_dev == directory.stat().st_dev:  # else its copy is looked at
            _see_unchanged(claim, claim.path, sha256)
        target = self._names.clear(claim, directory)
        self._note_reason(claim, target, reason)
        try:
            claim.path.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return self._copy_away(claim, directory, reason, sha256)
        self._leave(claim)
        return iter(())

    def _copy_away(self, claim: Claim, directory: Path, reason: str, sha256: str) -> Iterator[None]:
        """File an image on another filesystem; a kill at any point leaves it once there."""
        if not _was_copied(claim.path.parent / _FILED, directory):
            partial = directory / f".{claim.id}{_PARTIAL}"
            try:
                before = _version(claim.path.lstat())
                copied = yield from copy_in_steps(claim.path, partial)
                if _version(copied) != before:
                    raise OSError(errno.EAGAIN, "is still being written to", str(claim.path))
                _see_unchanged(claim, partial, sha256)
                target = self._names.clear(claim, directory)
                self._note_reason(claim, target, reason)
                said = {"name": target.name, "inode": partial.lstat().st_ino}
                write_durably(claim.path.parent / _FILED, json.dumps(said).encode())
                partial.rename(target)
            except (OSError, RewrittenError):
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)
                raise
        sync_directory(directory)
        claim.path.unlink(missing_ok=True)
        self._leave(claim)

    def _note_reason(self, claim: Claim, target: Path, reason: str) -> None:
        if reason:
            write_note(
                target, frame=claim.id, name=claim.name, reason=reason, received=claim.received
            )

    def _leave(self, claim: Claim) -> None:
        with contextlib.suppress(FileNotFoundError):
            _clear(claim.path.parent)
        self._taken.discard(claim.id)
        self._names.take_back(claim.id)


def _name_of(folder: str, path: Path) -> str:
    """What an image is called: with the folder of the inbox that it lay in, where there is one.

    By the last part it is found again where it was filed: so a long folder is cut first.
    """
    name = printable(path.name)
    room = _NAME_SHOWN - 1 - len(name)
    return f"{printable(folder, room)}/{name}" if folder and room > 0 else name


def _noted_folder(home: Path) -> str:
    """The folder of the inbox that an image lay in; empty: none, or a disk has lost it."""
    with contextlib.suppress(FileNotFoundError):
        folder = os.fsdecode((home / _FOLDER).read_bytes())
        return "" if "\0" in folder else folder  # what a power cut may leave
    return ""


def _sync_folder_note(home: Path) -> None:
    with contextlib.suppress(FileNotFoundError), blamed(home / _FOLDER):
        file = os.open(home / _FOLDER, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _see_unchanged(claim: Claim, path: Path, sha256: str) -> None:
    """A file's times don't tell of every write: not within a tick of the clock, or by mmap."""
    if sha256 and not claim.whole and sha256_of(path) != sha256:
        raise RewrittenError


def _was_copied(note: Path, directory: Path) -> bool:
    """Whether what lies under the noted name is the copy that the note was written for."""
    try:
        said = json.loads(note.read_bytes())
        return bool((directory / said["name"]).lstat().st_ino == said["inode"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


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
        whole=note.wanted is None,
        reply=note.reply,
        refused=note.refused,
        wanted=note.wanted,
    )


def _is_empty(path: Path) -> bool:
    try:
        return path.lstat().st_size == 0
    except OSError:
        return True


def _is_awaited(home: Path) -> bool:
    """Whether the frame's image has yet to come."""
    return (home / _AWAITED).exists() and not any(_claimable(home))


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
