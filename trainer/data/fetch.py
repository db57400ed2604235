"""Published data sets by one command: licence first, resumed, checksummed, unpacked safely."""

from __future__ import annotations

import errno
import hashlib
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from trainer.data.published import KOLEKTORSDD2
from trainer.data.unpack import unpack
from trainer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.client import HTTPResponse
    from pathlib import Path

    from trainer.data.listing import Layout

BLOCK = 1 << 20
_TIMEOUT = 60.0
_TRIES = 5
"""Connections in a row that bring nothing before it is given up."""


@dataclass(frozen=True)
class Source:
    """A data set that its authors publish as one zip file."""

    name: str
    address: str
    md5: str
    """Of the zip. It shows damage; against malice it is the safe unpacking that helps."""
    most: int
    """Bytes that the unpacked files may have; the true ones have about a quarter."""
    layout: Layout
    licence: str
    """Shown before anything is fetched."""


KSDD2 = Source(
    name="KolektorSDD2",
    address="https://go.vicos.si/kolektorsdd2",
    md5="1ed0f628122776ace4965afa30dfe316",
    most=4 << 30,
    layout=KOLEKTORSDD2,
    licence="""\
Kolektor Surface-Defect Dataset 2 (KolektorSDD2)
Licence: Creative Commons Attribution-NonCommercial-ShareAlike 4.0 (CC BY-NC-SA 4.0)
         https://creativecommons.org/licenses/by-nc-sa/4.0/
         Not for commercial use; give credit; share what you make of it alike.
Credit:  Bozic, Tabernik, Skocaj: Mixed supervision for surface-defect detection: from weakly to
         fully supervised learning. Computers in Industry 129, 2021.""",
)
SOURCES = {"ksdd2": KSDD2}


def fetch(
    source: Source, directory: Path, advance: Callable[[int, int], None], *, pause: float = 2.0
) -> None:
    """Bring a data set to ``directory``, which must not be there yet.

    What was downloaded stays beside it as ``DIRECTORY.zip``: a second run goes on where the first
    one broke off, and takes a file that was put there by hand.

    Args:
        source: what; its licence must have been accepted.
        directory: where to.
        advance: told the bytes that are here, and those there will be (0: the server doesn't say).
        pause: seconds before a broken connection is tried again, doubled each time.

    Raises:
        UsageError: ``directory`` is taken, the address can't be reached, the archive is damaged
            or unsafe, or the disk is full; it says what to do.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} already exists: give a new folder")
    archive = directory.with_name(directory.name + ".zip")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        if not archive.exists():
            part = archive.with_name(archive.name + ".part")
            download(source, part, advance, pause)
            _check(source, part)
            part.replace(archive)
            _note(part).unlink(missing_ok=True)
        else:
            _check(source, archive)
        with TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as scratch:
            root = unpack(
                archive, directory.parent / scratch, source.most, source.layout.recognises
            )
            if directory.exists():
                directory.rmdir()
            root.rename(directory)
    except OSError as error:
        what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise UsageError(f"{error.filename or directory}: {what}") from None


def download(source: Source, part: Path, advance: Callable[[int, int], None], pause: float) -> None:
    """Download to ``part``, going on where a former attempt broke off.

    The server is asked to go on only if its file is still the same one (If-Range with its ETag,
    or else its date); where it can't, the download begins anew.

    Raises:
        UsageError: the address can't be reached, or the connection keeps breaking.
    """
    silent = 0
    furthest = part.stat().st_size if part.exists() else 0
    while True:
        try:
            if _receive(source.address, part, advance):
                return
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in {408, 429, 500, 502, 503, 504}:
                raise UsageError(
                    _by_hand(source, part, f"the server answers {error.code}")
                ) from None
            reason = f"the server answers {error.code}"
        except (
            urllib.error.URLError,
            HTTPException,
            TimeoutError,
            ConnectionError,
            ssl.SSLError,
        ) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        after = part.stat().st_size if part.exists() else 0
        silent = 0 if after > furthest else silent + 1
        furthest = max(furthest, after)
        if silent >= _TRIES or (not after and silent >= 2):
            raise UsageError(_by_hand(source, part, reason))
        time.sleep(pause * 2 ** max(0, silent - 1))


def _receive(address: str, part: Path, advance: Callable[[int, int], None]) -> bool:
    """Take what one connection gives; say whether the file is whole."""
    have = part.stat().st_size if part.exists() else 0
    validator = _validator(part) if have else ""
    headers = {"User-Agent": "edge-inspect-trainer", "Accept-Encoding": "identity"}
    if validator:  # without one there is no telling whether the rest belongs to the same file
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    try:
        response = _open(address, headers)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing after what is here: it is whole, or of another file
            raise
        error.close()
        if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
            return True
        part.unlink()
        return False
    with response:
        going_on = response.status == 206 and _starts_at(response) == have
        if response.status == 206 and not going_on:
            part.unlink()
            return False
        length = _number(response.headers.get("Content-Length", ""))
        have = have if going_on else 0
        total = have + length if length else 0
        _keep_validator(part, response)
        with part.open("ab" if going_on else "wb") as stream:
            while block := response.read1(BLOCK):
                stream.write(block)
                have += len(block)
                advance(have, total)
    return have == total if total else True


def _open(address: str, headers: dict[str, str]) -> HTTPResponse:
    if urllib.parse.urlsplit(address).scheme not in {"http", "https"}:
        raise UsageError(f"{address} is no http address")
    request = urllib.request.Request(address, headers=headers)  # noqa: S310  checked above
    response: HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    return response


def _starts_at(response: HTTPResponse) -> int:
    """Where the bytes of a partial answer belong: "bytes 100-199/200"."""
    start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return _number(start, otherwise=-1)


def _number(text: str, *, otherwise: int = 0) -> int:
    return int(text) if text.isdecimal() and len(text) <= 18 else otherwise


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _validator(part: Path) -> str:
    try:
        return str(json.loads(_note(part).read_text(encoding="utf-8"))["validator"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _keep_validator(part: Path, response: HTTPResponse) -> None:
    etag = response.headers.get("ETag", "")
    # A weak one promises the same meaning, not the same bytes: HTTP forbids it here.
    strong = "" if etag.startswith("W/") else etag
    validator = strong or response.headers.get("Last-Modified", "")
    _note(part).write_text(json.dumps({"validator": validator}), encoding="utf-8")


def _check(source: Source, file: Path) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() == source.md5:
        return
    if file.suffix == ".part":  # it is our own, and no good
        file.unlink()
        _note(file).unlink(missing_ok=True)
        raise UsageError(
            f"what {source.address} gave is damaged or not {source.name}: its MD5 is "
            f"{digest.hexdigest()}, it must be {source.md5}. It was removed: run the command again"
        )
    raise UsageError(
        f"{file} is damaged or not {source.name}: its MD5 is {digest.hexdigest()}, it must be "
        f"{source.md5}. Remove it to download it again"
    )


def _by_hand(source: Source, part: Path, reason: str) -> str:
    archive = part.with_suffix("")
    return (
        f"{source.address} can't be fetched: {reason}. Run the same command again to continue, or "
        f"download it by hand on any machine, save it as {archive}, and run the same command: "
        f"it is then checked (MD5 {source.md5}) and unpacked"
    )
