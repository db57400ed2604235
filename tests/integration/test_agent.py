"""The daemon as it runs on a line, from the outside: images in, verdicts out, nothing lost."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.broker import free_port
from tests.bundles import EXPECTS, HEIGHT, WIDTH, make_bundle, make_image
from tests.hostile import png_of
from tests.integration.conftest import QUICK, worker_of
from tests.line import at_rest, health, reasons, verify, wait_for
from tests.slow import FOREVER, make_slow_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.line import Station

pytestmark = pytest.mark.slow

HEAVY = ("numpy", "onnxruntime", "PIL", "torch", "onnx_cpp2py", "libopenblas")


def mappings(pid: int) -> set[str]:
    lines = Path(f"/proc/{pid}/maps").read_text()
    return {name for name in HEAVY if name in lines}


def until_busy(station: Station) -> psutil.Process:
    """The worker, which must be ready, when it has burnt processor time over a frame."""
    worker = worker_of(station)
    start = worker.cpu_times().user
    wait_for(lambda: worker.cpu_times().user > start + 0.2, pause=0.005)
    return worker


# -- the way of an image -----------------------------------------------------------------------


def test_images_in_verdicts_out_the_same_as_classify(make_station, bundle, tmp_path):
    images = {f"part {n}.png": make_image(defect=n % 3 == 0, seed=n) for n in range(12)}
    station = make_station()
    for name in list(images)[:6]:
        (station.inbox / name).write_bytes(images[name])  # there before the start
    station.start()
    for name in list(images)[6:]:
        station.drop(name, images[name])
    at_rest(station, 12)

    assert mappings(station.daemon.pid) == set()
    assert {"numpy", "onnxruntime", "PIL"} <= mappings(worker_of(station).pid)
    assert station.stop() == 0
    assert verify(station, 12).wrong == []
    assert {p.name: p.read_bytes() for p in station.filed()} == images
    command = [sys.executable, "-m", "edge_agent", "classify", "--json", "--bundle", str(bundle)]
    done = subprocess.run(
        [*command, str(station.state / "processed")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    alone = {line["path"].rsplit("/", 1)[1]: (line["verdict"], line["score"]) for line in lines}
    assert alone == {row["name"]: (row["verdict"], row["score"]) for row in station.rows()}
    for row in station.rows():
        assert row["sha256"] == hashlib.sha256(images[row["name"]]).hexdigest()
        assert row["received"] <= row["completed"] + 0.001
        assert row["total"] >= row["infer"] > 0


def test_what_stays_is_judged_once_over_restarts(make_station):
    station = make_station(after="keep").start()
    for number in range(3):
        station.drop(f"{number}.png", make_image(defect=False, seed=number))
    station.drop("bad.png", b"words")
    at_rest(station, 4)
    assert station.stop() == 0
    station.start()
    station.drop("1.png", make_image(defect=True, seed=9))  # another one of the same name
    at_rest(station, 5)
    assert station.stop() == 0

    rows = station.rows()
    assert [row["name"] for row in rows].count("1.png") == 2
    assert len(rows) == 5
    assert sorted(p.name for p in station.inbox.iterdir()) == ["0.png", "1.png", "2.png", "bad.png"]
    assert station.filed() == station.filed("quarantine") == []


# -- hostile input -----------------------------------------------------------------------------


def test_bad_files_among_good_ones(make_station):
    port = free_port()
    station = make_station(QUICK + f"[http]\nport = {port}\n").start()
    whole = make_image(defect=False, size=(300, 400))
    bad = {
        "empty.png": (b"", "the file is empty"),
        "truncated.png": (whole[: len(whole) // 2], "truncated"),
        "words.png": (b"these are words", "not an image of an allowed format"),
        "bomb.png": (
            png_of(30_000, 30_000, pixels=bytes(100_000_000)),
            "30000 x 30000 pixels is more than the limit",
        ),
        "two\nlines.png": (b"\xff\xd8\xff", ""),
        "\udcff\udcfe.png": (b"GIF89a", "not an image of an allowed format"),
    }
    for number in range(10):
        station.drop(f"good {number}.png", make_image(defect=False, seed=number))
        if number < len(bad):
            name, (content, _) = list(bad.items())[number]
            station.drop(name, content)
    (station.inbox / "folder.png").mkdir()
    (station.inbox / "link.png").symlink_to("/etc/passwd")
    os.mkfifo(station.inbox / "pipe.png")
    at_rest(station, 16)

    rows = {row["name"]: row for row in station.rows()}
    assert verify(station, 16).wrong == []
    assert all(rows[f"good {n}.png"]["verdict"] == "ok" for n in range(10))
    found = reasons(station)
    assert len(found) == len(bad) == len(station.filed("quarantine"))
    for name, (content, reason) in bad.items():
        shown = name.encode("unicode_escape").decode() if not name.isprintable() else name
        assert rows[shown]["verdict"] == "error"
        assert reason in rows[shown]["reason"] == found[shown]
        assert (station.state / "quarantine" / name).read_bytes() == content
    wait_for(lambda: set(health(port)["ignored"]) == {"folder.png", "link.png", "pipe.png"})
    told = health(port)
    assert told["status"] == "ok"
    assert told["verdicts"] == {"ok": 10, "defect": 0, "review": 0, "error": 6}
    assert psutil.Process(station.daemon.pid).memory_info().rss < 100 << 20
    assert worker_of(station).memory_info().rss < 300 << 20
    assert told["worker_restarts"] == 0
    assert station.stop() == 0


def test_a_picture_of_nothing_is_no_good_part(make_station, tmp_path):
    expecting = make_bundle(tmp_path / "expecting", expects=EXPECTS).path
    station = make_station(QUICK + "[decision]\n", bundle=expecting).start()
    white = png_of(WIDTH, HEIGHT, pixels=(b"\0" + b"\xff" * WIDTH) * HEIGHT)
    station.drop("part.png", make_image(defect=False))
    station.drop("white.png", white)
    at_rest(station, 2)
    for number, instead in enumerate(("review", "ok"), start=3):
        text = station.config.read_text()
        text = re.sub(
            r"\[decision\]\n(implausible.*\n)?", f'[decision]\nimplausible = "{instead}"\n', text
        )
        station.config.write_text(text)
        station.daemon.send_signal(signal.SIGHUP)
        wait_for(lambda number=number: station.log.count("reloaded: ") == number - 2)
        station.drop(f"{instead}.png", white)
        at_rest(station, number)
    assert station.stop() == 0

    rows = {row["name"]: row for row in station.rows()}
    assert rows["part.png"]["verdict"] == rows["ok.png"]["verdict"] == "ok"
    assert (rows["white.png"]["verdict"], rows["white.png"]["score"]) == ("error", None)
    assert (rows["review.png"]["verdict"], rows["review.png"]["score"]) == ("review", 0.0)
    for name in ("white.png", "review.png"):
        assert "brightness 255 (expected 60 to 230)" in rows[name]["reason"]
    assert rows["ok.png"]["reason"] == ""
    assert reasons(station) == {"white.png": rows["white.png"]["reason"]}
    assert verify(station, 4).wrong == []


@pytest.mark.parametrize("pause_in", ["inbox", "work"])
def test_half_a_file_gets_no_verdict(make_station, pause_in):
    whole = make_image(defect=True, size=(300, 400))
    station = make_station("[worker]\nretry_truncated = 30.0\n")
    config = station.config.read_text().replace('after = "move"', 'after = "move"\nsettle = 0.1')
    station.config.write_text(config)
    station.start()

    with (station.inbox / "a.png.part").open("wb", buffering=0) as camera:
        camera.write(whole[:1000])
        (station.inbox / "a.png.part").rename(station.inbox / "a.png")
        if pause_in == "work":  # it is claimed while it is still being written
            wait_for(lambda: list((station.state / "work").glob("*/a.png")))
            station.drop("other.png", make_image(defect=False))
            wait_for(station.rows)  # the worker has long looked at the half
        camera.write(whole[1000:5000])
        camera.write(whole[5000:])
    at_rest(station, 1 if pause_in == "inbox" else 2)

    row = next(row for row in station.rows() if row["name"] == "a.png")
    assert (row["verdict"], row["sha256"]) == ("defect", hashlib.sha256(whole).hexdigest())
    assert (station.state / "processed/a.png").read_bytes() == whole
    assert station.stop() == 0


def test_half_a_file_that_is_left_for_good_is_an_error_with_its_reason(make_station):
    station = make_station("[worker]\nretry_truncated = 0.2\n").start()
    station.drop("half.png", make_image(defect=False)[:500])
    at_rest(station, 1)

    assert "truncated" in reasons(station)["half.png"]
    assert verify(station, 1).wrong == []


# -- stopping, dying, starting -----------------------------------------------------------------


def load(station: Station, count: int) -> None:
    """Images of about 40 ms each."""
    for number in range(count):
        station.drop(f"{number}.png", make_slow_image(6, grey=100 + number))


def test_sigterm_under_load_finishes_what_is_in_hand_and_the_rest_comes_next(
    make_station, slow_bundle
):
    station = make_station(bundle=slow_bundle).start()
    load(station, 60)
    wait_for(lambda: len(station.rows()) >= 5)

    began = time.monotonic()
    assert station.stop() == 0
    stopping = time.monotonic() - began

    done = len(station.rows())
    assert done < 60
    assert stopping < 5
    assert list((station.state / "work").iterdir()) == []
    assert len(station.filed()) == done
    assert len(list(station.inbox.iterdir())) == 60 - done
    station.start()
    at_rest(station, 60)
    assert station.stop() == 0
    assert verify(station, 60).wrong == []


def test_sigterm_with_a_frame_that_will_not_end(make_station, slow_bundle):
    station = make_station(bundle=slow_bundle).start()
    station.drop("slow.png", make_slow_image(FOREVER))
    worker = until_busy(station)

    began = time.monotonic()
    assert station.stop() == 0
    assert time.monotonic() - began < 8
    assert not worker.is_running()
    assert "images left in" in station.log
    assert len(list((station.state / "work").iterdir())) == 1
    assert station.rows() == []


def test_sigterm_says_that_a_frame_without_its_rest_is_left(make_station):
    station = make_station("[worker]\nretry_truncated = 3600.0\n").start()
    station.drop("half.png", make_image(defect=False)[:500])
    wait_for(lambda: any((station.state / "work").iterdir()))

    assert station.stop() == 0
    assert "images left in" in station.log
    assert len(list((station.state / "work").iterdir())) == 1
    assert station.rows() == []


def test_sigkill_at_random_moments_loses_and_doubles_nothing(make_station, slow_bundle):
    seed = int.from_bytes(os.urandom(2), "big")
    print(f"seed {seed}")  # shown when the test fails
    chance = random.Random(seed)
    station = make_station(bundle=slow_bundle)
    load(station, 80)
    for number in range(0, 80, 10):  # some that are judged to be errors, and retried on the way
        station.drop(f"bad {number}.png", b"words %d" % number)
    station.start()
    for _ in range(5):
        before = len(station.rows())
        wait_for(lambda before=before: len(station.rows()) > before or before >= 88)
        time.sleep(chance.uniform(0.0, 0.4))
        station.kill()
        station.start(wait=False)
    at_rest(station, 88)

    assert station.stop() == 0
    assert verify(station, 88).wrong == []


def test_what_was_in_work_is_taken_up_under_its_old_identity(make_station, slow_bundle):
    station = make_station(bundle=slow_bundle).start()
    station.drop("slow.png", make_slow_image(300))
    until_busy(station)
    (identity,) = [home.name for home in (station.state / "work").iterdir()]
    station.kill()
    assert station.rows() == []

    station.start()
    at_rest(station, 1)

    (row,) = station.rows()
    assert (row["id"], row["name"], row["verdict"]) == (identity, "slow.png", "ok")
    assert "1 images recovered" in station.log


def test_a_station_set_to_keep_keeps_what_it_had_taken_before(make_station, slow_bundle):
    # These frames are the only copies there are.
    station = make_station(bundle=slow_bundle).start()
    station.drop("slow.png", make_slow_image(300))
    until_busy(station)
    station.kill()
    station.config.write_text(station.config.read_text().replace('"move"', '"keep"'))

    station.start()
    at_rest(station, 1)

    assert [p.name for p in station.filed()] == ["slow.png"]


def test_a_second_daemon_is_refused_and_told_of_the_first(make_station):
    station = make_station().start()
    done = run(station.config)

    assert done.returncode == 2
    assert f"is in use by another edge-agent (process {station.daemon.pid})" in done.stderr
    assert station.daemon.poll() is None
    station.drop("a.png", make_image(defect=False))
    at_rest(station, 1)


# -- workers -----------------------------------------------------------------------------------


def test_a_frame_that_kills_workers_is_poison_over_a_restart_of_the_daemon(
    make_station, slow_bundle
):
    port = free_port()
    station = make_station(QUICK + f"[http]\nport = {port}\n", bundle=slow_bundle).start()
    station.drop("poison.png", make_slow_image(FOREVER))
    station.drop("good.png", make_image(defect=False))
    until_busy(station).send_signal(signal.SIGSEGV)
    wait_for(lambda: "cost a worker (1): it was killed by SIGSEGV" in station.log)
    wait_for(lambda: health(port)["worker_restarts"] == 1)
    wait_for(lambda: health(port)["status"] == "ok")  # it has been replaced
    station.kill()
    station.start()
    until_busy(station).kill()
    wait_for(lambda: "cost a worker (2): it was killed by SIGKILL" in station.log)
    wait_for(lambda: health(port)["status"] == "ok")
    until_busy(station).kill()
    at_rest(station, 2)

    rows = {row["name"]: row for row in station.rows()}
    assert rows["good.png"]["verdict"] == "ok"
    assert rows["poison.png"]["verdict"] == "error"
    assert rows["poison.png"]["reason"] == "took down 3 workers, the last: it was killed by SIGKILL"
    assert reasons(station) == {"poison.png": rows["poison.png"]["reason"]}
    assert (station.state / "quarantine/poison.png").read_bytes() == make_slow_image(FOREVER)
    station.drop("next.png", make_image(defect=True))
    at_rest(station, 3)
    assert station.stop() == 0
    assert verify(station, 3).wrong == []


def test_a_frame_that_takes_too_long_is_poison(make_station, slow_bundle):
    settings = "[worker]\nframe_timeout = 0.5\nmax_attempts = 2\n"
    station = make_station(settings, bundle=slow_bundle).start()
    station.drop("slow.png", make_slow_image(FOREVER))
    station.drop("good.png", make_image(defect=False))
    at_rest(station, 2)

    assert reasons(station) == {
        "slow.png": "took down 2 workers, the last: hung for 0.5 s at a frame"
    }
    assert verify(station, 2).wrong == []


def test_workers_die_with_a_daemon_that_is_killed(make_station, slow_bundle):
    station = make_station(bundle=slow_bundle).start()
    station.drop("slow.png", make_slow_image(FOREVER))
    worker = until_busy(station)

    station.kill()

    worker.wait(10)


def test_a_bundle_that_goes_away_is_told_in_health_and_waited_for(make_station, bundle, tmp_path):
    port = free_port()
    mine = tmp_path / "mine"
    shutil.copytree(bundle, mine)
    station = make_station(QUICK + f"[http]\nport = {port}\n", bundle=mine).start()
    mine.rename(tmp_path / "away")
    worker_of(station).kill()
    wait_for(lambda: "does not exist" in " ".join(health(port)["reasons"]))
    wait_for(lambda: health(port)["status"] == "failing")
    station.drop("a.png", make_image(defect=False))

    (tmp_path / "away").rename(mine)

    at_rest(station, 1)
    assert health(port)["status"] == "ok"
    assert station.stop() == 0


# -- wrong settings ----------------------------------------------------------------------------


def run(config: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_agent", "run", "--config", str(config)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )


def spoil(old: str, new: str) -> Callable[[Station], None]:
    def change(station: Station) -> None:
        text = station.config.read_text()
        assert old in text
        station.config.write_text(text.replace(old, new))

    return change


def add(lines: str) -> Callable[[Station], None]:
    return lambda station: station.config.write_text(station.config.read_text() + lines)


def damage_journal(station: Station) -> None:
    station.state.mkdir()
    (station.state / "journal.db").write_bytes(b"these are words, not a database" * 1000)


WRONG: dict[str, tuple[Callable[[Station], Any], str]] = {
    "no file": (lambda s: s.config.unlink(), "does not exist: copy deploy/examples/station.toml"),
    "unknown key": (spoil('after = "move"', "aftre = 1"), "source.folder.aftre: unknown key"),
    "bad type": (
        spoil("threads = 1", 'threads = "two"'),
        "runtime.threads: Input should be a valid",
    ),
    "no folder": (lambda s: s.inbox.rmdir(), "is not a directory: create it, and let the camera"),
    "no bundle": (spoil("bundle = ", 'bundle = "none" #'), "none does not exist: give the folder"),
    "no variant": (
        spoil('variant = "fp32"', 'variant = "int8"'),
        "has no variant 'int8'; it has: fp32",
    ),
    "state is a file": (lambda s: s.state.write_text(""), "is not writable (Not a directory)"),
    "a damaged journal": (damage_journal, "journal.db is damaged"),
    "no password": (
        add('[mqtt]\nhost = "h"\nusername = "u"\npassword_file = "none"\n'),
        "mqtt.password_file ",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_settings_are_one_message_and_exit_code_2(make_station, what):
    station = make_station()
    change, said = WRONG[what]
    change(station)

    done = run(station.config)

    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("edge-agent: ") == 1
    assert said in done.stderr
    assert done.stdout == ""


def test_a_port_in_use(make_station):
    port = free_port()
    first = make_station(QUICK + f"[http]\nport = {port}\n").start()
    second = make_station(QUICK + f"[http]\nport = {port}\n")

    done = run(second.config)

    assert done.returncode == 2
    assert f"edge-agent: [http] 127.0.0.1:{port} can't be used (Address already in use)" in (
        done.stderr
    )
    assert first.daemon.poll() is None


def test_a_folder_that_may_not_be_written(make_station):
    station = make_station()
    try:
        subprocess.run(["chattr", "+i", station.inbox], check=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("chattr +i, which binds root too, does not work here")
    try:
        done = run(station.config)
    finally:
        subprocess.run(["chattr", "-i", station.inbox], check=True)

    assert done.returncode == 2, done.stderr
    assert "inbox is not writable (Operation not permitted): images are moved out" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_certificate_holds_up_messages_and_not_inspections(make_station):
    port = free_port()
    mqtt = '[mqtt]\nhost = "127.0.0.1"\ntls = true\nca_file = "none.crt"\n'
    station = make_station(QUICK + mqtt + f"[http]\nport = {port}\n").start()
    station.drop("a.png", make_image(defect=False))
    at_rest(station, 1)

    wait_for(lambda: health(port)["outbox"] == 1)
    told = health(port)
    assert told["status"] == "degraded"
    assert "none.crt can't be used: No such file or directory" in told["reasons"][0]
    assert station.stop() == 0


# -- with a broker -----------------------------------------------------------------------------


@pytest.mark.broker
def test_every_inspection_reaches_the_subscriber_over_a_kill(
    make_station, broker, subscribe, slow_bundle
):
    subscriber = subscribe(broker.port, "inspection/#")
    mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
    station = make_station(QUICK + mqtt, bundle=slow_bundle).start()
    subscriber.wait(lambda got: any(m.topic.endswith("/status") for m in got))
    load(station, 40)
    station.drop("bad.png", b"words")
    station.drop("defect.png", make_image(defect=True))
    wait_for(lambda: len(station.rows()) >= 10)

    station.kill()

    subscriber.wait(lambda got: len([m for m in got if m.topic.endswith("/status")]) == 2)
    station.start()
    at_rest(station, 42)
    ids = {row["id"] for row in station.rows()}
    subscriber.wait(
        lambda got: ids <= {m.json()["id"] for m in got if m.topic.endswith("/verdict")}
    )
    assert station.stop() == 0
    subscriber.wait(lambda got: len([m for m in got if m.topic.endswith("/status")]) == 4)

    assert verify(station, 42, subscriber).wrong == []
    states = [m.json() for m in subscriber.received("/status")]
    assert [(state["online"], state["reason"]) for state in states] == [
        (True, ""),
        (False, "connection lost"),
        (True, ""),
        (False, "stopped"),
    ]
    alarms = {m.json()["image"]["name"] for m in subscriber.received("/defect")}
    assert alarms == {"bad.png", "defect.png"}


@pytest.mark.broker
def test_without_a_broker_at_the_start_it_is_caught_up_with_later(
    make_station, make_broker, subscribe
):
    broker = make_broker()
    port = free_port()
    settings = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n[http]\nport = {port}\n'
    station = make_station(QUICK + settings).start()
    for number in range(5):
        station.drop(f"{number}.png", make_image(defect=False, seed=number))
    at_rest(station, 5)
    wait_for(lambda: health(port)["outbox"] == 5)
    assert health(port)["status"] == "degraded"
    broker.start()
    subscriber = subscribe(broker.port, "inspection/#")

    subscriber.wait(lambda got: len([m for m in got if m.topic.endswith("/verdict")]) == 5)

    wait_for(lambda: health(port)["status"] == "ok")
    assert station.stop() == 0
    assert verify(station, 5, subscriber).wrong == []
