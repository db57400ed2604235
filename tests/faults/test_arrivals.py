"""Rows 14, 15, 17, 18, 20 and 21: images as they really arrive; half, all at once, unreadable."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.broker import free_port
from tests.bundles import make_image
from tests.injected import attached, launched, needs_strace
from tests.integration.conftest import QUICK, children_of
from tests.line import at_rest, footprint, health, reasons, told, verify, wait_for

pytestmark = pytest.mark.slow

AT_ONCE = "[worker]\nretry_truncated = 0.0\n"


# -- 14: a disk that can't read ----------------------------------------------------------------


@needs_strace
def test_an_image_that_can_not_be_read_is_an_error_and_its_neighbours_are_not(
    make_station, tmp_path
):
    station = make_station(AT_ONCE).start()
    (worker,) = children_of(station)
    images = [make_image(defect=False, seed=number) for number in range(6)]

    with attached([worker.pid], "read:error=EIO:when=1", tmp_path / "strace"):
        station.drop("0.png", images[0])
        at_rest(station, 1)
        for number in range(1, 6):
            station.drop(f"{number}.png", images[number])
        at_rest(station, 6)

    assert "(INJECTED)" in (tmp_path / "strace").read_text()
    assert station.stop() == 0
    assert verify(station, images).wrong == []
    assert [row["verdict"] for row in station.rows()] == ["error"] + ["ok"] * 5
    assert "Input/output error" in reasons(station)["0.png"]
    assert " is replaced: " not in station.log


# -- 15: a producer that does not finish -------------------------------------------------------

CAMERA = """
import sys, time
with open(sys.argv[1], "wb", buffering=0) as image:
    image.write(sys.stdin.buffer.read())
    print("written", flush=True)
    time.sleep(600)
"""


def test_a_camera_killed_in_the_middle_leaves_no_verdict_on_a_part(make_station):
    station = make_station(QUICK).start()
    whole = make_image(defect=True, size=(300, 400))
    half = whole[: len(whole) // 2]

    with subprocess.Popen(
        [sys.executable, "-c", CAMERA, str(station.inbox / "half.png")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as camera:
        assert camera.stdin
        assert camera.stdout
        camera.stdin.write(half)
        camera.stdin.close()
        assert camera.stdout.readline() == b"written\n"
        camera.kill()  # the kernel closes the file for it, as if it had been finished
    station.drop("whole.png", whole)
    at_rest(station, 2)

    assert station.stop() == 0
    assert verify(station, [half, whole]).wrong == []
    verdicts = {row["name"]: row["verdict"] for row in station.rows()}
    assert verdicts == {"half.png": "error", "whole.png": "defect"}
    assert "truncated" in reasons(station)["half.png"]


# -- 17: more than the kernel can tell of ------------------------------------------------------


def flood(station, count: int, *, running: bool) -> dict[str, float]:
    """Many files at once: to a frozen daemon, or before it starts; then at what rate they go."""
    image = make_image(defect=False)
    if running:
        station.start()
        os.kill(station.daemon.pid, signal.SIGSTOP)
    aside = station.home / "aside"
    aside.mkdir()
    for number in range(count):
        name = f"{number:06d}.png"
        (aside / name).write_bytes(image + b"%d" % number)
        (aside / name).rename(station.inbox / name)
    if running:
        os.kill(station.daemon.pid, signal.SIGCONT)
    else:
        station.start()
    began = time.monotonic()
    wait_for(lambda: station.last_sequence() >= count, 60 + count / 10, pause=0.2)
    seconds = time.monotonic() - began
    at_rest(station, count)
    held = footprint(station)
    assert station.stop() == 0
    assert verify(station, [image + b"%d" % number for number in range(count)]).wrong == []
    assert "Traceback" not in station.log
    return {
        "files": count,
        "frames/s": round(count / seconds),
        "daemon MB": held.rss >> 20,
        "threads": held.threads,
        "descriptors": held.descriptors,
    }


@pytest.mark.parametrize("running", [True, False])
def test_many_files_at_once(make_station, running):
    print(flood(make_station(AT_ONCE), 400, running=running))


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("running", [True, False])
def test_twenty_thousand_files_at_once(make_station, running, capsys):
    found = flood(make_station(AT_ONCE), 20_000, running=running)

    with capsys.disabled():
        print("\nfrozen, then goes on:" if running else "\nthere at the start:", found)
    assert found["daemon MB"] < 150


# -- 18: a folder that tells nothing -----------------------------------------------------------


@needs_strace
def test_a_folder_without_events_is_scanned(make_station):
    station = make_station(AT_ONCE)
    # As on a machine whose watches are used up, and much as on a share.
    station.start(under=launched("inotify_add_watch:error=ENOSPC"))
    assert "it is scanned on a period" in station.log
    made = [make_image(defect=False, seed=number) for number in range(3)]
    for number, content in enumerate(made):
        station.drop(f"{number}.png", content)
        at_rest(station, number + 1)

    assert station.stop() == 0
    assert verify(station, made).wrong == []


# -- 20: names ---------------------------------------------------------------------------------


def test_names_that_mean_something_to_somebody(make_station):
    station = make_station(AT_ONCE)
    secret = station.home / "secret.png"
    secret.write_bytes(make_image(defect=False, seed=99))
    names = [
        b"two\nlines.png",
        b"\xff\xfe.png",
        b"n" * 251 + b".png",
        b"a#b+c.png",
        b"..png",
        b"...png",
        b"-rf *.png",
        b"$(touch x).png",
        b"%s%n.PNG",
        "\u202egnp.exe.png".encode(),
    ]
    hidden = {b"..png", b"...png"}
    made = {}
    for number, name in enumerate(names):
        made[name] = make_image(defect=False, seed=number)
        (station.inbox / os.fsdecode(name)).write_bytes(made[name])
    for name in (".hidden.png", "being written.png.tmp", "x.png.part", "notes.txt"):
        (station.inbox / name).write_bytes(make_image(defect=False))
    (station.inbox / "link.png").symlink_to(secret)
    (station.inbox / "folder.png").mkdir()
    os.mkfifo(station.inbox / "pipe.png")
    (station.inbox / "socket.png").symlink_to("/dev/zero")
    port = free_port()
    with station.config.open("a") as config:
        config.write(f"[http]\nport = {port}\n")
    station.start()
    taken = [content for name, content in made.items() if name not in hidden]
    at_rest(station, len(taken))
    wait_for(lambda: len(health(port)["ignored"]) >= 4)

    assert set(health(port)["ignored"]) == {
        "link.png",
        "folder.png",
        "pipe.png",
        "socket.png",
        "notes.txt",
    }
    assert station.stop() == 0
    assert verify(station, taken).wrong == []
    assert secret.exists()
    filed = {os.fsencode(path.name) for path in station.filed()}
    assert len(filed & set(names)) >= len(taken) - 1  # the longest leaves room for a suffix
    assert {p.name for p in station.home.iterdir()} == {
        "inbox", "state", "secret.png", "station.toml", "agent.log",
    }  # fmt: skip
    assert all(row["name"].isprintable() for row in station.rows())


# -- 21: not ours to read ----------------------------------------------------------------------


def test_a_folder_that_loses_its_rights_is_told_and_its_images_wait(make_station):
    station = make_station(AT_ONCE)
    port = free_port()
    with station.config.open("a") as config:
        config.write(f"[http]\nport = {port}\n")
    station.start()
    away = station.home / "away"
    station.inbox.rename(away)
    told(station, port, "can't be listed", status="failing")
    image = make_image(defect=False)
    (away / "a.png").write_bytes(image)

    away.rename(station.inbox)

    at_rest(station, 1)
    wait_for(lambda: health(port)["status"] == "ok")
    assert station.stop() == 0
    assert verify(station, [image]).wrong == []


def test_a_folder_of_its_own_that_somebody_removes_is_told_and_its_images_wait(make_station):
    station = make_station(AT_ONCE)
    port = free_port()
    with station.config.open("a") as config:
        config.write(f"[http]\nport = {port}\n")
    station.start()
    (station.state / "work").rmdir()
    wait_for(lambda: any("work can't be listed" in reason for reason in health(port)["reasons"]))
    station.drop("a.png", make_image(defect=False))
    told(station, port, "images can't be claimed: No such file or directory", status="failing")
    (station.state / "work").mkdir()
    at_rest(station, 1)
    wait_for(lambda: health(port)["status"] == "ok")

    shutil.rmtree(station.state / "processed")
    station.drop("b.png", make_image(defect=False, seed=1))
    told(station, port, "/processed")
    (station.state / "processed").mkdir()
    at_rest(station, 2)
    wait_for(lambda: health(port)["status"] == "ok")

    assert [p.name for p in station.filed()] == ["b.png"]
    assert station.stop() == 0
    assert "Traceback" not in station.log


def test_an_immutable_file_is_judged_once(make_station):
    station = make_station(AT_ONCE)
    image = make_image(defect=False)
    path = station.inbox / "fixed.png"
    path.write_bytes(image)
    try:
        subprocess.run(["chattr", "+i", path], check=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("chattr +i, which binds root too, does not work here")
    port = free_port()
    with station.config.open("a") as config:
        config.write(f"[http]\nport = {port}\n")
    try:
        station.start()
        at_rest(station, 1)
        station.drop("next.png", make_image(defect=True))
        at_rest(station, 2)
        wait_for(lambda: "fixed.png" in health(port)["ignored"])
        assert "was judged, but it can't be removed" in health(port)["ignored"]["fixed.png"]
        station.stop()
        station.start()
        station.drop("last.png", make_image(defect=True, seed=3))
        at_rest(station, 3)
        assert station.stop() == 0
    finally:
        subprocess.run(["chattr", "-i", path], check=True)

    assert [row["name"] for row in station.rows()] == ["fixed.png", "next.png", "last.png"]
    assert path.read_bytes() == image
    assert len(station.filed()) == 3
    assert Path(station.state / "processed/fixed.png").read_bytes() == image


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs root, and setpriv to take root's rights away",
)
def test_a_file_of_somebody_else_is_one_error_and_no_more(make_station):
    station = make_station(AT_ONCE)
    theirs = station.inbox / "theirs.png"
    theirs.write_bytes(make_image(defect=False))
    theirs.chmod(0o600)
    os.chown(theirs, 65534, 65534)
    station.drop("ours.png", make_image(defect=False, seed=2))
    station.start(under=["setpriv", "--bounding-set=-dac_override,-dac_read_search"])
    at_rest(station, 2)

    assert station.stop() == 0
    assert verify(station, 2).wrong == []
    verdicts = {row["name"]: row["verdict"] for row in station.rows()}
    assert verdicts == {"theirs.png": "error", "ours.png": "ok"}
    assert "Permission denied" in reasons(station)["theirs.png"]
