"""Cameras' ways in, set up by the commands of docs/cameras.md and the files that they install."""

from __future__ import annotations

import ftplib
import hashlib
import io
import random
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import smbclient
from PIL import Image

from edge_agent.demo.station import BUNDLE, IMAGES
from tests.broker import free_port
from tests.docs import REPO, blocks, replaced, typed
from tests.line import at_rest, reasons, verify, wait_for
from tests.machine import missing

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.slow

PAGE = REPO / "docs" / "cameras.md"
OK, SPOT = IMAGES / "04-painted.png", IMAGES / "06-cast-spot.png"
GROUP, ACCOUNT = "mail", "news"  # in the place of edge-agent and camera: Debian has them
# As a service has it: it reads what is not its own by its group alone.
AS_SERVICE = [
    *("setpriv", "--groups", GROUP),
    "--bounding-set=-dac_override,-dac_read_search",
]
# So that a file which is taken too early would be an error, and soon.
IMPATIENT = {"source": '[source.folder]\npath = "inbox"\nsettle = 0.2\n'}
SOON = "[worker]\nretry_truncated = 0.3\n"
FORMATS = {"png": "PNG", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP", "jpg": "JPEG"}
STALLS = 100


@pytest.fixture
def tmp_path():
    """A directory that other users can reach, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="edge-inspect-") as place:
        Path(place).chmod(0o755)
        yield Path(place)


@pytest.fixture
def station(make_station):
    """With the demo's bundle, and an inbox as the installer makes it; not started."""
    made = make_station(SOON, bundle=BUNDLE, **IMPATIENT)
    shutil.chown(made.inbox, group=GROUP)
    made.inbox.chmod(0o2770)
    return made


def set_up(section: str, instead: dict[str, str], answers: str, swaps: dict[str, str]) -> None:
    """Type what the page says, but for the places; its files are left as they are."""
    (block,) = blocks(PAGE, "sh", section)
    script = replaced(block.text, {"sudo ": "", **instead})
    typed(script, REPO, answers)
    file = Path(instead[next(key for key in instead if key.endswith(".conf"))])
    file.write_text(replaced(file.read_text(), swaps))


def serve(command: list[str], port: int, log: Path):
    """Start a server; wait until it listens."""
    with log.open("wb") as out:
        # A session of its own: smbd ends together with everybody in its process group.
        running = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def listens() -> bool:
        assert running.poll() is None, log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(listens)
    return running


# -- FTP -----------------------------------------------------------------------------------------


@pytest.fixture
def ftp(station, tmp_path):
    """ProFTPD with the file that we ship; gives a camera's connection."""
    if why := missing("proftpd", "ftpasswd", "setpriv"):
        pytest.skip(f"no FTP server: {why}")
    port, home = free_port(), tmp_path / "proftpd"
    home.mkdir()
    set_up(
        "FTP",
        {
            "/etc/proftpd/proftpd.conf": f"{home}/proftpd.conf",
            "/etc/proftpd/cameras": f"{home}/cameras",
            "--passwd ": "--passwd --stdin ",
            "/var/lib/edge-agent/inbox": str(station.inbox),
            "id -g edge-agent": f"id -g {GROUP}",
            "systemctl restart proftpd": "",
        },
        "secret\n",
        {
            "Port 21\n": f"Port {port}\nDefaultAddress 127.0.0.1\nPidFile {home}/pid\n"
            f"ScoreboardFile {home}/scoreboard\n",
            "/etc/proftpd/cameras": f"{home}/cameras",
        },
    )
    server = serve(
        ["proftpd", "--nodaemon", "--config", f"{home}/proftpd.conf"], port, tmp_path / "ftp.log"
    )
    opened = []

    def connect() -> ftplib.FTP:
        camera = ftplib.FTP(timeout=60)
        camera.connect("127.0.0.1", port)
        camera.login("camera", "secret")
        opened.append(camera)
        return camera

    yield connect
    for camera in opened:
        camera.close()
    server.terminate()
    server.wait(30)


def store(camera: ftplib.FTP, name: str, image: Path) -> str:
    with image.open("rb") as stream:
        return camera.storbinary(f"STOR {name}", stream)


def test_what_comes_by_ftp_is_judged_once_however_it_comes(station, ftp):
    station.start(under=AS_SERVICE)
    camera = ftp()

    # In pieces, with pauses that are longer than the station waits for the rest of a file; and
    # without a word on what kind of file it is.
    whole = SPOT.read_bytes()
    upload = camera.transfercmd("STOR slow.png")
    for start in range(0, len(whole), len(whole) // 3 + 1):
        upload.sendall(whole[start : start + len(whole) // 3 + 1])
        time.sleep(1.0)
    upload.close()
    assert camera.voidresp().startswith("226")
    at_rest(station, 1)

    # Broken off, then sent again: not from the middle.
    upload = camera.transfercmd("STOR broken.png")
    upload.sendall(whole[: len(whole) // 2])
    wait_for(lambda: any(p.name.startswith(".in.") for p in station.inbox.iterdir()))
    upload.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    upload.close()
    camera.close()
    wait_for(lambda: not list(station.inbox.iterdir()))
    camera = ftp()
    with pytest.raises(ftplib.error_perm, match=r"^501 "):
        camera.storbinary("STOR broken.png", io.BytesIO(whole), rest=len(whole) // 2)
    with pytest.raises(ftplib.error_perm, match=r"^550 "):
        camera.storbinary("APPE broken.png", io.BytesIO(whole[len(whole) // 2 :]))
    store(camera, "broken.png", SPOT)
    at_rest(station, 2)

    # Two of one name, one after the other.
    store(camera, "part.png", OK)
    at_rest(station, 3)
    store(camera, "part.png", SPOT)
    at_rest(station, 4)

    assert station.stop() == 0
    assert verify(station, [whole, whole, OK.read_bytes(), whole]).wrong == []
    assert [(row["name"], row["verdict"]) for row in station.rows()] == [
        ("slow.png", "defect"),
        ("broken.png", "defect"),
        ("part.png", "ok"),
        ("part.png", "defect"),
    ]


def test_an_ftp_camera_can_only_put_images_there(station, ftp):
    camera = ftp()
    store(camera, "part.png", OK)

    denied = ["RETR part.png", "DELE part.png", "MKD folder", "SITE CHMOD 000 part.png"]
    for command in denied:
        with pytest.raises(ftplib.error_perm, match=r"^550 "):
            camera.transfercmd(command) if command[0] == "R" else camera.sendcmd(command)
    with pytest.raises(ftplib.error_perm, match=r"^550 "):
        store(camera, "part.png", SPOT)  # the first still waits: no station runs
    camera.cwd("/..")
    assert camera.nlst() == ["part.png"]

    (waiting,) = station.inbox.iterdir()
    assert waiting.read_bytes() == OK.read_bytes()
    assert (waiting.group(), waiting.stat().st_mode & 0o777) == (GROUP, 0o660)


# -- SMB -----------------------------------------------------------------------------------------


@pytest.fixture
def share(station, tmp_path):
    """smbd with the file that we ship; gives what types a line into smbclient."""
    if why := missing("smbd", "smbclient", "smbpasswd", "setpriv"):
        pytest.skip(f"no SMB server: {why}")
    port, home = free_port(), tmp_path / "samba"
    home.mkdir()
    places = "".join(
        f"{what} = {home}\n"
        for what in (
            *("private dir", "state directory", "lock directory", "cache directory"),
            *("pid directory", "ncalrpc dir"),
        )
    )
    loopback = f"smb ports = {port}\ninterfaces = 127.0.0.1\nbind interfaces only = yes\n"
    own = {
        "[global]\n": f"[global]\n{loopback}{places}",
        "/var/log/samba": str(home),
        "/var/lib/edge-agent/inbox": str(station.inbox),
        "valid users = camera": f"valid users = {ACCOUNT}",
        "force group = edge-agent": f"force group = {GROUP}",
    }
    config = home / "smb.conf"
    set_up(
        "A Windows share (SMB)",
        {
            "/etc/samba/smb.conf": str(config),
            "useradd --system": "true",
            "smbpasswd -a camera": "true",  # below, once it knows its own places
            "systemctl restart smbd": "",
        },
        "",
        own,
    )
    subprocess.run(
        ["smbpasswd", "-c", str(config), "-s", "-a", ACCOUNT],
        input="secret\nsecret\n",
        text=True,
        capture_output=True,
        check=True,
    )
    command = ["smbd", "--foreground", "--no-process-group", f"--configfile={config}"]
    server = serve(command, port, tmp_path / "smb.log")

    def put(line: str, pieces: Sequence[bytes] = ()) -> None:
        client = subprocess.Popen(
            [
                *("smbclient", "//127.0.0.1/inbox", "-p", str(port)),
                *("-U", f"{ACCOUNT}%secret", "-c", line),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for piece in pieces:
            client.stdin.write(piece)
            client.stdin.flush()
            time.sleep(1.0)
        said, _ = client.communicate(timeout=60)
        assert client.returncode == 0, said

    put.port = port
    yield put
    server.terminate()
    server.wait(30)


def images() -> dict[str, bytes]:
    """Of every format, and each another one where it is cut short."""
    noise = np.random.default_rng(5).integers(1, 256, (240, 320, 3), np.uint8)
    found = {}
    for suffix, form in FORMATS.items():
        for number in range(STALLS // len(FORMATS)):
            out = io.BytesIO()
            Image.fromarray(np.roll(noise, number, 0)).save(out, form)
            found[f"{number}.{suffix}"] = out.getvalue()
    return found


def test_a_share_on_which_each_file_has_its_length_first_and_is_filled_with_stalls(share, station):
    """As Explorer, CopyFile and robocopy do it."""
    settings = station.config.read_text().replace("settle = 0.2", "settle = 0.5")
    station.config.write_text(f'{settings}[decision]\nimplausible = "ok"\n')  # they are noise
    station.start(under=AS_SERVICE)
    chance = random.Random(12)
    session = {"username": ACCOUNT, "password": "secret", "port": share.port}
    smbclient.register_session("127.0.0.1", **session)

    def write(name: str, content: bytes, cut: int, seconds: float) -> None:
        path = rf"\\127.0.0.1\inbox\{name}"
        with smbclient.open_file(
            path, "xb", buffering=0, share_access="r", port=share.port
        ) as file:
            file.truncate(len(content))
            file.write(content[:cut])
            time.sleep(seconds)
            for start in range(cut, len(content), 60_000):
                file.write(content[start : start + 60_000])

    made = images()
    with ThreadPoolExecutor(10) as cameras:
        tasks = [
            cameras.submit(
                write, name, content, chance.randrange(len(content)), chance.uniform(0, 3)
            )
            for name, content in made.items()
        ]
        for task in tasks:
            task.result()
    smbclient.reset_connection_cache()
    at_rest(station, STALLS)

    assert station.stop() == 0
    assert verify(station, list(made.values())).wrong == []
    said = {row["name"]: (row["verdict"] != "error", row["sha256"]) for row in station.rows()}
    assert said == {n: (True, hashlib.sha256(c).hexdigest()) for n, c in made.items()}


def test_what_comes_over_a_windows_share(station, share, tmp_path):
    whole = SPOT.read_bytes()
    station.config.write_text(station.config.read_text().replace("0.3", "60.0"))
    station.start(under=AS_SERVICE)

    share(f"put {SPOT} .part.png; rename .part.png part.png")
    at_rest(station, 1)
    share(f"put {OK} part.png")  # in place, and the same name again
    at_rest(station, 2)
    third = len(whole) // 3 + 1
    pieces = [whole[start : start + third] for start in range(0, len(whole), third)]
    share("iosize 16384; put - slow.png", pieces)
    at_rest(station, 3)

    assert station.stop() == 0
    assert verify(station, [whole, OK.read_bytes(), whole]).wrong == []
    assert [(row["name"], row["verdict"]) for row in station.rows()] == [
        ("part.png", "defect"),
        ("part.png", "ok"),
        ("slow.png", "defect"),
    ]


# -- an SDK --------------------------------------------------------------------------------------


def test_what_an_sdk_delivers_is_taken_at_once(station):
    (block,) = blocks(PAGE, "python")
    example: dict = {}
    exec(compile(block.text, str(PAGE), "exec"), example)
    # Whatever is not renamed would now have to be waited for.
    station.config.write_text(station.config.read_text().replace("settle = 0.2", "settle = 600.0"))
    station.start()

    example["deliver"](SPOT.read_bytes(), "part.png", station.inbox)
    at_rest(station, 1)

    assert station.stop() == 0
    assert verify(station, [SPOT.read_bytes()]).wrong == []
    assert reasons(station) == {}


def test_the_files_that_the_page_installs_are_all_that_are_shipped():
    text = PAGE.read_text()
    for file in (REPO / "deploy" / "cameras").iterdir():
        assert f"deploy/cameras/{file.name}" in text
