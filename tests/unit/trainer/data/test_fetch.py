"""Fetching a data set from a server on this machine that behaves in every way servers do."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from trainer.cli import run
from trainer.data import fetch as fetching
from trainer.data import open_dataset
from trainer.data.fetch import KSDD2, fetch
from trainer.errors import UsageError


def quiet(*_):
    pass


def png(*, marked=False):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 30), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels if not marked else (pixels > 128).astype(np.uint8) * 255).save(
        stream, "PNG"
    )
    return stream.getvalue()


def archive_in_the_layout():
    """KolektorSDD2 in small, with ballast that doesn't compress."""
    black = io.BytesIO()
    Image.new("L", (30, 40)).save(black, "PNG")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for split, first in (("train", 10000), ("test", 20000)):
            for number in (first, first + 1):
                archive.writestr(f"{split}/{number}.png", png() + os.urandom(100 + number % 7))
                mask = png(marked=True) if number == first else black.getvalue()
                archive.writestr(f"{split}/{number}_GT.png", mask)
        archive.writestr("split_weakly_0.pyb", os.urandom(200_000))
    return stream.getvalue()


class Server:
    """Serves one file; its manners are attributes."""

    def __init__(self, content):
        self.content = content
        self.etag = '"first"'
        self.ranges = True
        self.says_length = True
        self.gives_up_after = []
        """Bytes after which each of the next answers breaks off."""
        self.codes = []
        """What the next answers are instead."""
        self.seen = []
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.seen.append((self.path, self.headers.get("Range")))
                if self.path == "/moved":
                    self.send_response(302)
                    self.send_header("Location", "/file.zip")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if outer.codes:
                    self.send_error(outer.codes.pop(0))
                    return
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        self.address = f"http://127.0.0.1:{self.http.server_port}/file.zip"

    def answer(self, request):
        start, content = 0, self.content
        asked = request.headers.get("Range")
        same = request.headers.get("If-Range") in (None, self.etag)
        if asked and self.ranges and same:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(content)}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            request.send_response(200)
        if self.etag:
            request.send_header("ETag", self.etag)
        if self.says_length:
            request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        end = len(content)
        if self.gives_up_after:
            end = min(end, start + self.gives_up_after.pop(0))
        request.wfile.write(content[start:end])
        request.close_connection = True

    def close(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture(scope="module")
def content():
    return archive_in_the_layout()


@pytest.fixture
def server(content):
    made = Server(content)
    yield made
    made.close()


@pytest.fixture
def source(server, content):
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return dataclasses.replace(KSDD2, address=server.address, md5=digest)


def whole(directory):
    dataset = open_dataset(directory)
    return (
        dataset.layout == "KolektorSDD2"
        and len(dataset.samples) == 4
        and len(dataset.subset("test")) == 2
    )


def ranges(server):
    return [asked for _, asked in server.seen]


def test_fetched_checked_and_unpacked(tmp_path, server, source, content):
    told = []
    fetch(source, tmp_path / "k", lambda *numbers: told.append(numbers))
    assert whole(tmp_path / "k")
    assert told[-1] == (len(content), len(content))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["k", "k.zip"]
    assert ranges(server) == [None]


def test_goes_on_where_the_connection_broke_off(tmp_path, server, source, content):
    server.gives_up_after = [70_000, 50_000]
    fetch(source, tmp_path / "k", quiet, pause=0)
    assert whole(tmp_path / "k")
    assert ranges(server) == [None, "bytes=70000-", "bytes=120000-"]


def test_a_second_command_goes_on_after_a_kill(tmp_path, server, source, monkeypatch):
    def killed(have, _):
        if have >= 70_000:
            raise KeyboardInterrupt

    server.gives_up_after = [70_000]
    monkeypatch.setattr(fetching, "BLOCK", 10_000)
    with pytest.raises(KeyboardInterrupt):
        fetch(source, tmp_path / "k", killed)
    have = (tmp_path / "k.zip.part").stat().st_size
    assert have == 70_000
    assert not (tmp_path / "k").exists()
    fetch(source, tmp_path / "k", quiet)
    assert whole(tmp_path / "k")
    assert ranges(server)[1:] == [f"bytes={have}-"]


def test_a_part_that_is_whole_is_not_fetched_again(tmp_path, server, source, content):
    (tmp_path / "k.zip.part").write_bytes(content)
    (tmp_path / "k.zip.part.json").write_text('{"validator": "\\"first\\""}')
    fetch(source, tmp_path / "k", quiet)
    assert whole(tmp_path / "k")
    assert ranges(server) == [f"bytes={len(content)}-"]


def test_begins_anew_where_the_file_has_changed(tmp_path, server, source):
    server.gives_up_after = [70_000]
    (tmp_path / "k.zip.part").write_bytes(b"of an older file" * 500)
    (tmp_path / "k.zip.part.json").write_text('{"validator": "\\"older\\""}')
    fetch(source, tmp_path / "k", quiet, pause=0)
    assert whole(tmp_path / "k")
    assert ranges(server) == ["bytes=8000-", "bytes=70000-"]


@pytest.mark.parametrize("etag", ['"first"', "", 'W/"weak"'])
def test_begins_anew_where_the_server_can_t_go_on(tmp_path, server, source, etag):
    server.ranges, server.etag, server.gives_up_after = False, etag, [70_000]
    fetch(source, tmp_path / "k", quiet, pause=0)
    assert whole(tmp_path / "k")
    assert len(server.seen) == 2


def test_a_server_that_does_not_say_how_much(tmp_path, server, source):
    server.says_length = False
    fetch(source, tmp_path / "k", quiet)
    assert whole(tmp_path / "k")


def test_follows_a_redirect_with_its_range(tmp_path, server, source):
    moved = dataclasses.replace(source, address=server.address.replace("file.zip", "moved"))
    server.gives_up_after = [70_000]
    fetch(moved, tmp_path / "k", quiet, pause=0)
    assert whole(tmp_path / "k")
    assert ("/file.zip", "bytes=70000-") in server.seen


def test_a_busy_server_is_asked_again(tmp_path, server, source):
    server.codes = [503]
    fetch(source, tmp_path / "k", quiet, pause=0)
    assert whole(tmp_path / "k")


@pytest.mark.parametrize(("codes", "said"), [([404], "answers 404"), ([503] * 9, "answers 503")])
def test_what_to_do_by_hand_is_said(tmp_path, server, source, codes, said):
    server.codes = list(codes)
    with pytest.raises(UsageError) as caught:
        fetch(source, tmp_path / "k", quiet, pause=0)
    for words in (said, "by hand", str(tmp_path / "k.zip"), source.md5):
        assert words in str(caught.value)
    assert not (tmp_path / "k").exists()


def test_a_server_that_always_breaks_off_is_given_up(tmp_path, server, source):
    server.ranges, server.gives_up_after = False, [1000] * 50
    with pytest.raises(UsageError, match="broke off"):
        fetch(source, tmp_path / "k", quiet, pause=0)
    assert len(server.seen) < 10


def test_nobody_there(tmp_path, server, source):
    server.http.server_close()
    away = dataclasses.replace(source, address="http://127.0.0.1:9/file.zip")
    with pytest.raises(UsageError, match="by hand"):
        fetch(away, tmp_path / "k", quiet, pause=0)


def test_a_file_that_was_put_there_by_hand(tmp_path, server, source, content):
    (tmp_path / "k.zip").write_bytes(content)
    fetch(source, tmp_path / "k", quiet)
    assert whole(tmp_path / "k")
    assert server.seen == []


def test_a_wrong_checksum_keeps_nothing_of_its_own(tmp_path, server, source):
    server.content = server.content[:-1] + b"!"
    with pytest.raises(UsageError, match=r"damaged or not KolektorSDD2.*run the command again"):
        fetch(source, tmp_path / "k", quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_put_there_by_hand_is_left_to_its_owner(tmp_path, server, source):
    (tmp_path / "k.zip").write_bytes(b"holiday")
    with pytest.raises(UsageError, match=r"k\.zip is damaged or not KolektorSDD2"):
        fetch(source, tmp_path / "k", quiet)
    assert (tmp_path / "k.zip").read_bytes() == b"holiday"


def test_a_hostile_archive_leaves_nothing(tmp_path, server, source):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("train/10000.png", b"one")
        archive.writestr("../evil.png", b"two")
    server.content = stream.getvalue()
    digest = hashlib.md5(server.content, usedforsecurity=False).hexdigest()
    with pytest.raises(UsageError, match="not safe"):
        fetch(dataclasses.replace(source, md5=digest), tmp_path / "k", quiet)
    assert [file.name for file in tmp_path.rglob("*")] == ["k.zip"]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, server, source):
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        fetch(source, tmp_path / "k", quiet)
    assert server.seen == []


def test_only_http_is_fetched(tmp_path, source):
    with pytest.raises(UsageError, match="no http address"):
        fetch(dataclasses.replace(source, address="file:///etc/passwd"), tmp_path / "k", quiet)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("flags", "typed", "accepted"),
    [
        (["--accept-licence"], None, True),
        ([], "yes\n", True),
        ([], "no\n", False),
        ([], "", False),
        ([], None, False),
    ],
)
def test_the_licence_comes_first(
    tmp_path, server, source, monkeypatch, capsys, flags, typed, accepted
):
    monkeypatch.setitem(fetching.SOURCES, "ksdd2", source)
    monkeypatch.setattr("sys.stdin", io.StringIO() if typed is None else Terminal(typed))
    code = run(["fetch", "ksdd2", str(tmp_path / "k"), *flags])
    output = capsys.readouterr()
    assert "CC BY-NC-SA 4.0" in output.err
    assert code == (0 if accepted else 2)
    assert bool(server.seen) is accepted
    if accepted:
        assert whole(tmp_path / "k")
        assert f"trainer train {tmp_path / 'k'}" in output.out
