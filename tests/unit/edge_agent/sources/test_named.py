"""Files that messages name before they are there, or whole: each waits by itself, none is lost."""

from __future__ import annotations

import os
import time

import pytest

from edge_agent.sources import named, spool
from edge_agent.sources.inside import Named
from edge_agent.sources.named import NamedFiles
from edge_agent.sources.spool import Note, Spool, new_id
from edge_agent.types import Failure, Image, ReplyTo, Wanted
from tests.fakes import Clock

PATIENCE = 5.0


class KilledError(BaseException):
    pass


class Place:
    """A folder that messages name files in, and the spool, at a test's own pace."""

    def __init__(self, root):
        self.root, self.folder = root, root / "camera"
        self.folder.mkdir(exist_ok=True)
        self.clock = Clock()
        self.begin()

    def begin(self):
        """As a start does, after whatever end."""
        root = self.root
        self.spool = Spool(root / "work", root / "processed", root / "quarantine")
        self.got = []
        self.files = NamedFiles(
            *(self.folder, 1000, self.spool),
            patience=PATIENCE,
            deliver=self.got.append,
            clock=self.clock,
        )

    def expect(self, file, identity=None):
        note = Note(file, 50.0, 60.0, ReplyTo("answers", b"\xff"), None, wanted=Wanted(file, None))
        identity = identity or new_id()
        self.spool.expect(identity, note)
        self.files.expect(identity, note)
        return identity

    def wait(self, seconds, step=0.05):
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.files.step()
            self.clock.now += step
        self.files.step()

    def write(self, name, content):
        (self.folder / name).write_bytes(content)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_a_file_that_comes_later_is_read_when_it_comes(place):
    identity = place.expect("a.png")
    place.wait(2)
    assert place.got == []
    assert place.spool.holds(identity)
    assert place.spool.depth() == 0  # nothing that the line could get on with
    place.write("a.png", b"image")
    os.utime(place.folder / "a.png", (100.5, 100.5))
    place.wait(1)
    (claim,) = place.got
    assert (claim.id, claim.path.read_bytes(), claim.refused) == (identity, b"image", None)
    assert (claim.name, claim.captured, claim.received) == ("a.png", 100.5, 60.0)
    assert claim.reply == ReplyTo("answers", b"\xff")
    assert not claim.whole  # it may come back as half of one
    assert place.spool.depth() == 1


def test_one_that_never_comes_is_an_error_after_its_time(place):
    place.expect("a.png")
    place.wait(PATIENCE - 0.2)
    assert place.got == []
    place.wait(0.4)
    (claim,) = place.got
    assert claim.refused.reason == "the file 'a.png' can't be read: No such file or directory"
    assert claim.whole
    assert (claim.path.exists(), claim.captured) == (True, 50.0)


def test_each_waits_by_itself(place):
    first = place.expect("a.png")
    place.wait(3)
    second = place.expect("b.png")
    place.write("b.png", b"b")
    place.wait(0.3)
    assert [claim.id for claim in place.got] == [second]
    place.wait(2)
    assert [claim.id for claim in place.got] == [second, first]


def read(place, content):
    """One that was named, read, and found to be no whole image by a worker."""
    place.write("a.png", content)
    place.expect("a.png")
    place.wait(0.2)
    return place.got.pop()


def test_one_that_is_not_whole_is_read_again_when_it_has_grown(place):
    half = read(place, b"half")
    assert place.files.again(half)
    place.wait(3)
    assert place.got == []
    for n in range(10):
        place.write("a.png", b"half and" + b"." * n)
        place.wait(0.2)
    assert place.got == []  # it was not at rest
    place.write("a.png", b"half and half")
    place.wait(1)
    (whole,) = place.got
    assert (whole.id, whole.path) == (half.id, half.path)
    assert whole.path.read_bytes() == b"half and half"
    assert (whole.name, whole.received, whole.reply) == (half.name, half.received, half.reply)
    assert not whole.whole


@pytest.mark.parametrize("gone", [False, True])
def test_one_that_stays_half_is_judged_as_it_is(place, gone):
    half = read(place, b"half")
    place.files.again(half)
    if gone:
        (place.folder / "a.png").unlink()
    place.wait(PATIENCE - 0.2)
    assert place.got == []
    place.wait(0.5)
    (claim,) = place.got
    assert claim.whole
    assert claim.path.read_bytes() == b"half"


def test_one_that_never_rests_is_judged_at_last(place, monkeypatch):
    monkeypatch.setattr(named, "RESTLESS", 2)
    place.files.again(read(place, b"half"))
    for n in range(int(2 * PATIENCE / 0.3) + 4):
        place.write("a.png", b"%d" % n)
        os.utime(place.folder / "a.png", (n, n))
        place.wait(0.3)
    (claim,) = place.got
    assert claim.whole


def test_a_kill_loses_nothing_at_any_point(place):
    identity = place.expect("a.png")
    place.begin()
    assert list(place.spool.recover()) == []
    place.files.take_up()
    assert place.spool.holds(identity)
    place.write("a.png", b"half")
    place.wait(0.3)
    assert place.got.pop().id == identity
    place.begin()  # read, and not judged
    (claim,) = place.spool.recover()
    assert (claim.id, claim.name, claim.wanted) == (identity, "a.png", Wanted("a.png", None))
    assert place.spool.expected() == []
    assert place.files.again(claim)
    place.write("a.png", b"half and half")
    place.wait(1)
    (claim,) = place.got
    assert claim.path.read_bytes() == b"half and half"

    def killed(_):
        raise KilledError

    place.spool._leave = killed  # filed, and not tidied up
    with pytest.raises(KilledError):
        place.spool.keep(claim)
    place.begin()
    assert (list(place.spool.recover()), place.spool.expected()) == ([], [])


def test_a_note_that_a_disk_has_lost_is_an_error(place):
    identity = place.expect("a.png")
    (note,) = (place.root / "work" / identity).iterdir()
    note.write_bytes(b"")
    place.begin()
    place.files.take_up()
    place.wait(PATIENCE + 1)
    (claim,) = place.got
    assert claim.refused.reason == "the message that named it can't be read any more"


def test_where_no_folder_is_set_any_more_it_is_an_error(place):
    place.expect("a.png")
    place.begin()
    place.spool.refuse_expected("named by a message")
    (claim,) = place.spool.recover()
    assert claim.refused.reason == "named by a message"


def test_no_more_wait_than_there_is_room_for(place, monkeypatch):
    monkeypatch.setattr(named, "MOST", 2)
    half = read(place, b"half")
    place.expect("b.png")
    assert place.files.room()
    place.expect("c.png")
    assert not place.files.room()
    assert not place.files.again(half)


def test_those_that_wait_for_long_are_named(place, monkeypatch):
    monkeypatch.setattr(named, "NAMED_AFTER", 3.0)
    place.expect("a.png")
    place.wait(1)
    assert place.files.delayed() == {}
    place.wait(3)
    assert place.files.delayed() == {"a.png": "names a file that is not there yet"}


def test_a_disk_without_room_is_waited_for(place, monkeypatch):
    place.expect("a.png")
    place.write("a.png", b"image")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(place.spool, "receive", full)
        place.wait(11)
    assert place.got == []
    assert "No space left" in place.files.delayed()["a.png"]
    place.wait(11)
    assert place.got[0].path.read_bytes() == b"image"


@pytest.mark.parametrize("half", [False, True])
def test_one_that_is_there_and_can_not_be_read_comes_to_an_end(place, monkeypatch, half):
    if half:
        place.files.again(read(place, b"half"))
    else:
        place.expect("a.png")
    place.write("a.png", b"half and half")
    reads = []
    failed = Named(
        refused=Failure("the file 'a.png' can't be read: EIO", Image("", 0)), may_come=True
    )
    monkeypatch.setattr(named, "read_named", lambda *_: reads.append(1) or failed)
    place.wait(PATIENCE - 0.3)
    assert place.got == []
    place.wait(1)
    (claim,) = place.got
    assert 5 <= len(reads) <= 14
    if half:  # what there is of it
        assert (claim.refused, claim.path.read_bytes()) == (None, b"half")
    else:
        assert claim.refused == failed.refused
    assert claim.whole


def test_looks_come_ever_less_often(place, monkeypatch):
    looks = []
    real = named.look_inside
    monkeypatch.setattr(named, "look_inside", lambda *a: looks.append(place.clock.now) or real(*a))
    place.expect("a.png")
    place.wait(PATIENCE - 0.2)
    assert 5 <= len(looks) <= 12


def test_in_its_own_thread(tmp_path):
    place = Place(tmp_path)
    place.files._clock = time.monotonic
    place.files.start()
    place.expect("a.png")
    place.write("a.png", b"image")
    deadline = time.monotonic() + 20
    while not place.got:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    place.files.close()
    place.files._thread.join(20)
    assert not place.files._thread.is_alive()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "call", ["write_whole 1", "write_durably 1", "sync_directory 1", "sync_directory 2"]
)
def test_a_kill_while_it_is_written_loses_nothing(place, monkeypatch, half, call):
    """Neither the message, where the file is read first, nor what was read before."""
    if half:
        claim = read(place, b"half")
        place.files.again(claim)
        place.write("a.png", b"half and half")
    else:
        place.expect("a.png")
        place.write("a.png", b"half and half")
    name, number = call.split()
    calls = []
    real = getattr(spool, name)

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == int(number):
            raise KilledError
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(spool, name, killed)
        with pytest.raises(KilledError):
            place.wait(1)
    place.begin()
    recovered = list(place.spool.recover())
    expected = place.spool.expected()
    assert len(recovered) + len(expected) == 1
    for claim in recovered:
        assert claim.wanted == Wanted("a.png", None)
        assert claim.path.read_bytes() in (b"half", b"half and half")
        assert (claim.name, claim.reply) == ("a.png", ReplyTo("answers", b"\xff"))
