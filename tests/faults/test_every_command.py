"""Every command where its streams, its locale or its files are not as it would have them.

An exit code that means something, words that a terminal can show, and no traceback.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent.cli import _parser, run
from tests.broker import free_port
from tests.bundles import make_bundle, make_image
from tests.commands import leaves
from tests.line import Station, at_rest, health, verify, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

STEERING = "\x1b]0;title\x07 \x1b[31mred\x9b2J \u202e\r"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@dataclass(frozen=True)
class Line:
    """A command line that does something, and how it ends where nothing is amiss."""

    arguments: list[object]
    code: int = 0
    prints: bool = True


@dataclass(frozen=True)
class Place:
    """A station that has judged, and what the commands are told beside it."""

    home: Path
    config: Path
    bundle: Path
    images: Path

    def share(self, which: str) -> list[tuple[str, Line]]:
        """The commands that take seconds, or the others; not to be used twice."""
        slow = which == "slow"
        return [(name, line) for name, line in self.lines().items() if (name in SLOW) is slow]

    def lines(self) -> dict[str, Line]:
        config = ["--config", self.config]
        one = ["--bundle", self.bundle]
        key = self.home / "key"
        key.unlink(missing_ok=True)
        (self.home / "kept.key").unlink(missing_ok=True)
        return {
            "run": Line(["run", "--config", self.home / "taken.toml"], 2, prints=False),
            "demo": Line(["demo", "--seconds", "0.1", "--pace", "10"]),
            "classify": Line(["classify", *one, "--threads", "1", self.images], 1),
            "tune": Line(["tune", *config]),
            "bench": Line(["bench", *one, "--images", self.home / "inbox"], 2, prints=False),
            "doctor": Line(["doctor"]),
            "bundle show": Line(["bundle", "show", self.bundle]),
            "bundle verify": Line(["bundle", "verify", self.bundle]),
            "bundle keygen": Line(["bundle", "keygen", key]),
            "bundle sign": Line(["bundle", "sign", self.bundle, "--key", self.home / "a.key"]),
            "journal tail": Line(["journal", "tail", *config]),
            "journal export": Line(["journal", "export", *config]),
            "journal stats": Line(["journal", "stats", *config]),
            "journal repair": Line(["journal", "repair", *config]),
        }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    home = tmp_path_factory.mktemp("Prüfung")
    bundle = make_bundle(home / "bundle", notice=f"for Müller {STEERING}").path
    images = home / "images"
    images.mkdir()
    (images / "ok.png").write_bytes(make_image(defect=False))
    (images / f"Müller {STEERING}.png").write_bytes(make_image(defect=True))
    settings = '[runtime]\nprovider = "cpu"\nvariant = "fp32"\nworkers = 1\nthreads = 1\n'
    station = Station(home / "station", bundle, settings)
    station.start()
    station.drop(f"Müller {STEERING}.png", make_image(defect=True))
    station.drop("words ü.png", b"words \x1b[31m")
    at_rest(station, 2)
    station.stop()
    assert command("bundle", "keygen", home / "a.key").returncode == 0
    port = free_port()
    taken = station.config.read_text() + f"[http]\nport = {port}\n"
    (home / "taken.toml").write_text(taken.replace('"inbox"', '"in"').replace('"state"', '"none"'))
    (home / "in").mkdir()
    (home / "inbox").mkdir()
    (home / "taken.toml").write_text("bundle = 1\n")
    return Place(home, station.config, bundle, images)


SLOW = {"demo", "tune", "doctor", "bundle verify"}  # these take seconds
shares = pytest.mark.parametrize("share", ["quick", pytest.param("slow", marks=pytest.mark.faults)])


def command(
    *arguments: object, shell: str = "", env: dict[str, str] | None = None, **streams: object
) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "edge_agent", *map(str, arguments)]
    before = ["sh", "-c", f'exec "$@" {shell}', "sh"] if shell else []
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run(
        [*before, *line],
        env={**os.environ, "PYTHONUNBUFFERED": "", **(env or {})},
        timeout=120,
        check=False,
        **streams,
    )


def test_no_command_is_left_out(place):
    assert set(place.lines()) == {" ".join(way) for way, _ in leaves(_parser())}


@shares
def test_streams_that_are_closed(place, share):
    for name, line in place.share(share):
        done = command(*line.arguments, shell="<&- >&- 2>&-")
        assert done.returncode == line.code, name


@shares
def test_an_output_without_room(place, share):
    with Path("/dev/full").open("wb") as full:
        for name, line in place.share(share):
            done = command(*line.arguments, stdout=full)
            assert done.returncode == 2, (name, done.stderr)
            assert b"Traceback" not in done.stderr, (name, done.stderr)
            if line.prints:
                assert b"the output can't be written: No space left" in done.stderr, name
        for arguments in (["--help"], ["journal", "--help"], ["--version"]):
            assert command(*arguments, stdout=full).returncode == 2


@shares
def test_complaints_without_room(place, share):
    """What can't be said is not said, and changes no exit code."""
    with Path("/dev/full").open("wb") as full:
        for name, line in place.share(share):
            done = command(*line.arguments, stderr=full)
            assert done.returncode == (2 if name == "tune" else line.code), name


@shares
def test_a_reader_that_has_seen_enough(place, share):
    for name, line in place.share(share):
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = command(*line.arguments, stdout=writing)
        finally:
            os.close(writing)
        # Of what was not judged nobody may be told that it is well.
        code = 2 if name == "classify" or not line.prints else 0
        assert done.returncode == code, (name, done.stderr)
        assert b"Traceback" not in done.stderr, (name, done.stderr)
        assert b"Exception ignored" not in done.stderr, (name, done.stderr)


@pytest.mark.parametrize(
    "env", [ASCII, {}, pytest.param({"PYTHONIOENCODING": "ascii:strict"}, marks=pytest.mark.faults)]
)
@shares
def test_names_and_notices_of_others(place, share, env):
    """Umlauts in an ASCII locale, and what would steer a terminal anywhere."""
    for name, line in place.share(share):
        takes_json = name in ("classify", "doctor", "bundle show", "journal stats")
        for json_too in ([], ["--json"])[: 2 if takes_json else 1]:
            done = command(*line.arguments, *json_too, env=env)
            assert done.returncode == line.code, (name, done.stderr)
            assert b"Traceback" not in done.stderr, (name, done.stderr)
            text = (done.stdout + done.stderr).decode()
            odd = {c for c in text if not (c.isprintable() or c == "\n")}
            assert not odd - {"\r"} if name == "journal export" else not odd, (name, text)
            if json_too and name != "classify":
                json.loads(done.stdout)


@shares
def test_settings_and_bundles_that_are_none(place, share, tmp_path, capsys):
    junk = {
        "directory": tmp_path / "directory",
        "empty": tmp_path / "empty",
        "binary": tmp_path / "binary",
        "number": tmp_path / "number",
        "hexadecimal": tmp_path / "hexadecimal",
        "deep": tmp_path / "deep",
    }
    junk["directory"].mkdir()
    junk["empty"].write_bytes(b"")
    junk["binary"].write_bytes(bytes(range(256)) * 10)
    junk["number"].write_text(f"bundle = {'9' * 5000}")
    junk["hexadecimal"].write_text(f"bundle = 0x{'F' * 5000}")
    junk["deep"].write_text("bundle = " + "[" * 5000)
    for way, parser in leaves(_parser()):
        if (" ".join(way) in SLOW) is (share == "quick"):
            continue
        options = [o for action in parser._actions for o in action.option_strings]
        for what, file in junk.items():
            if "--config" not in options:
                continue
            assert run([*way, "--config", str(file)]) == 2, (way, what)
            assert str(file) in "".join(capsys.readouterr())
    for file in junk.values():
        assert run(["classify", "--bundle", str(file), str(place.images)]) == 2
        assert str(file) in "".join(capsys.readouterr())


@pytest.mark.parametrize("version", ["9" * 5000 + ".0.0", "1.0.0\n", "\x1b[31m"])
def test_a_version_that_is_none(place, tmp_path, version):
    bundle = tmp_path / "bundle"
    shutil.copytree(place.bundle, bundle)
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "version": version}))
    station = Station(tmp_path / "station", bundle)
    (station.state).mkdir()
    (station.state / "bundles.json").write_text(json.dumps({"versions": {"dark": "1.0.0"}}))

    done = command("run", "--config", station.config)

    assert done.returncode == 2
    assert b"version" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_history_with_a_version_that_is_none(place, tmp_path):
    station = Station(tmp_path / "station", place.bundle)
    station.state.mkdir()
    for version in ("9" * 5000, "1.a.0", ""):
        history = json.dumps({"versions": {"dark": version}})
        (station.state / "bundles.json").write_text(history)

        done = command("run", "--config", station.config)

        assert done.returncode == 2
        assert b"bundles.json can't be read" in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("shell", "env", "code"),
    [("<&- >&- 2>&-", {}, 0), (">/dev/full", {}, 2), ("2>/dev/full", {}, 2), ("", ASCII, 0)],
)
def test_the_trainer(tmp_path, shell, env, code):
    out = tmp_path / "Prüfung"
    line = [sys.executable, "-m", "trainer", "synth", str(out), "--good", "1", "--defect", "0"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {shell}', "sh", *line, "--size", "64x64"],
        env={**os.environ, "PYTHONUNBUFFERED": "", **env},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    assert len(list(out.rglob("*.png"))) == 1 or code


# -- the daemon --------------------------------------------------------------------------------


@contextmanager
def daemon(station: Station, shell: str, env: dict[str, str]) -> Iterator[None]:
    run = [sys.executable, "-m", "edge_agent", "run", "--config", str(station.config)]
    line = ["sh", "-c", f'exec "$@" {shell}', "sh", *run]
    station.daemon = subprocess.Popen(line, env={**os.environ, **env})
    try:
        yield
    finally:
        station.kill()


def test_a_daemon_without_streams_writes_its_log_into_no_file(place, tmp_path):
    """Descriptor 2 is otherwise the next file's that is opened: the journal's, or a lock's."""
    port = free_port()
    station = Station(tmp_path / "station", place.bundle, f"[http]\nport = {port}\n")
    images = [make_image(defect=False, seed=n) for n in range(3)]
    with daemon(station, "<&- >&- 2>&-", {}):
        for number, image in enumerate(images):
            station.drop(f"{number}.png", image)
        wait_for(lambda: station.last_sequence() == 3 or station.daemon.poll() is not None)
        at_rest(station, 3)
        assert health(port)["status"] == "ok"
        streams = [str(Path(f"/proc/{station.daemon.pid}/fd/{n}").readlink()) for n in range(3)]
        assert station.stop() == 0
    assert streams == ["/dev/null"] * 3
    assert verify(station, images).wrong == []


def test_a_daemon_in_an_ascii_locale_judges_what_has_an_umlaut(place, tmp_path):
    station = Station(tmp_path / "Prüfung", place.bundle)
    images = [make_image(defect=False, seed=n) for n in range(2)]
    log = station.home / "agent.log"
    with daemon(station, f"2>'{log}'", ASCII):
        for number, image in enumerate(images):
            station.drop(f"Müller {STEERING}{number}.png", image)
        wait_for(lambda: station.last_sequence() == 2 or station.daemon.poll() is not None)
        at_rest(station, 2)
        assert station.stop() == 0
    assert verify(station, images).wrong == []
    assert "Traceback" not in station.log
    assert all(c == "\n" or c.isprintable() for c in station.log)


def test_an_interrupt_at_any_moment_is_no_traceback(place):
    # A job in a shell's background inherits that the signal is ignored.
    line = ["env", "--default-signal=INT", sys.executable, "-X", "importtime"]
    line += ["-m", "edge_agent", "classify", "--bundle"]
    for words in (b"edge_agent.system.streams", b"pydantic", b"edge_agent.engine.worker.pool"):
        process = subprocess.Popen(
            [*line, str(place.bundle), str(place.images)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        said = b""
        while words not in said:
            said = process.stderr.readline()
            assert said
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        process.stderr.close()
        assert process.wait(60) == 130, rest
        assert b"Traceback" not in rest, rest
