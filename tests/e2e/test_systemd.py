"""The service as it is installed: in a booted system, by deploy/install.sh, under its own unit."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.bundles import make_bundle, make_image
from tests.docs import replaced
from tests.line import Station, verify, wait_for
from tests.machine import REPO, Machine, in_memory, make_wheels, missing
from tests.slow import make_slow_bundle, make_slow_image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

UNIT = "edge-agent.service"
HOME = "/var/lib/edge-agent"
CONFIG = "/etc/edge-agent/station.toml"
SECRET = "/run/credentials/edge-agent.service/mqtt-password"
PASSWORD = "correct horse battery"
STARTS = ("MainPID", "NRestarts")
INSTALL = ("bash", "/repo/deploy/install.sh")
OPENVINO = ("--runtime", "openvino", "--wheels", "/wheels")
SYSTEMD = REPO / "deploy/systemd"


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A line PC without a network, on which the agent was installed with a bundle."""
    if why := missing("mmdebstrap", "systemd-nspawn", "nsenter"):
        pytest.skip(f"the service can't be installed in a booted system here: {why}")
    place = tmp_path_factory.mktemp("machine")
    bundle = make_slow_bundle(place / "bundle").path
    wheels = make_wheels(place / "wheels", "cpu", "openvino")
    plain = make_bundle(place / "plain").path
    shared = {REPO: "/repo", wheels: "/wheels", bundle: "/bundle", plain: "/plain"}
    (place / "machine").mkdir()
    with in_memory(place / "changes") as changes:
        made = Machine(place / "machine", changes, shared)
        try:
            yield made.boot()
        finally:
            made.turn_off()


@pytest.fixture(scope="module")
def installed(machine):
    """The station, as the one command leaves it, and what that command said."""
    options = ("--runtime", "cpu", "--bundle", "/bundle", "--wheels", "/wheels")
    said = machine.run(*INSTALL, *options).stdout
    after = machine.unit(UNIT)
    # From here on nothing is to be measured at a start, and a frozen worker is not waited for long.
    change(machine, provider='"cpu"', workers="1", threads="1", frame_timeout="3.0")
    machine.path("/etc/edge-agent/mqtt-password").write_text(f"{PASSWORD}\n")
    mqtt = (
        '\n[mqtt]\nhost = "127.0.0.1"\nusername = "a"\npassword_file = "credential:mqtt-password"\n'
    )
    with machine.path(CONFIG).open("a") as config:
        config.write(mqtt)
    # Half a minute is long for a test; what counts is that it is the watchdog that ends it.
    drop_in = machine.path(f"/etc/systemd/system/{UNIT}.d/quick.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nWatchdogSec=8\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", UNIT)
    return said, after


@pytest.fixture(scope="module")
def station(machine, installed):
    """Its state, seen from outside; it goes on from test to test."""
    return Line(machine.path(HOME), Path("/bundle"))


@dataclass
class Line(Station):
    """A station that knows how many images it was offered."""

    offered: int = 0

    def offer(self, count: int, *, white: int = 0) -> None:
        for _ in range(count):
            self.offered += 1
            image = make_slow_image(white, grey=100 + self.offered % 100)
            self.drop(f"part{self.offered}.png", image)

    def judged(self) -> bool:
        """Whether all of them are, each once."""
        wait_for(lambda: len(self.rows()) >= self.offered, 120)
        wait_for(lambda: not list((self.state / "work").iterdir()))
        return verify(self, self.offered).wrong == []


def change(machine: Machine, **settings: str) -> None:
    """Set what is commented out in the example, in the first section that has it."""
    for key, value in settings.items():
        machine.run("sed", "-i", "-E", f"0,/^#? ?{key} = .*/s||{key} = {value}|", CONFIG)


def agent_of(machine: Machine) -> psutil.Process:
    """The daemon's process as it is known here, not by its number inside."""
    name = f"/opt/edge-agent/current/bin/edge-agent run --config {CONFIG}"
    (found,) = [p for p in machine.processes() if name in " ".join(command_of(p))]
    return found


def worker_of(machine: Machine) -> psutil.Process:
    found: list[psutil.Process] = []

    def there() -> bool:
        children = agent_of(machine).children()
        found[:] = [c for c in children if "edge_agent.engine.worker" in command_of(c)]
        return bool(found)

    wait_for(there)
    return found[0]


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def until_restarted(machine: Machine, before: dict[str, str]) -> None:
    def again() -> bool:
        unit = machine.unit(UNIT)
        other = unit["MainPID"] not in (before["MainPID"], "0")
        return other and unit["ActiveState"] == "active"

    wait_for(again, 120, 0.1)


def journald(machine: Machine, *options: str, unit: str = UNIT) -> str:
    return machine.run("journalctl", "--unit", unit, "--output=cat", *options).stdout


# -- installed -------------------------------------------------------------------------------------


def test_one_command_installs_a_station_that_runs(machine, installed):
    said, unit = installed

    assert f"{UNIT} runs: drop images into {HOME}/inbox" in said
    assert unit["ActiveState"] == "active"
    assert unit["SubState"] == "running"
    assert unit["Type"] == "notify"
    assert unit["NRestarts"] == "0"
    assert unit["StatusText"].startswith("ok: 0 inspections")
    assert unit["UnitFileState"] == "enabled"


def test_images_of_another_user_are_judged_and_the_status_counts_them(machine, station):
    machine.run("useradd", "--groups", "edge-agent", "camera")
    machine.path("/opt/part.png").write_bytes(make_image(defect=True))
    machine.run("runuser", "-u", "camera", "--", "cp", "/opt/part.png", f"{HOME}/inbox/")
    station.offered += 1

    assert station.judged()
    assert station.rows()[0]["verdict"] == "defect"
    wait_for(lambda: ": 1 inspections, 0 waiting" in machine.unit(UNIT)["StatusText"])
    listed = machine.run("runuser", "-u", "camera", "--", "ls", f"{HOME}/state", check=False)
    assert "Permission denied" in listed.stderr


def test_again_changes_nothing(machine, station):
    before = machine.unit(UNIT)["MainPID"]

    said = machine.run(*INSTALL, "--wheels", "/wheels").stdout  # the runtime that is installed

    assert "is there already" in said
    assert f"drop images into {HOME}/inbox" in said
    assert machine.unit(UNIT)["MainPID"] == before
    assert len(list(machine.path("/opt/edge-agent/releases").iterdir())) == 1


def test_what_would_be_done_is_told_only_to_who_can_see_what_is_there(machine, station):
    """To others it said that it would write the settings that are there."""
    dry = (*INSTALL, "--dry-run", "--wheels", "/wheels")

    refused = machine.run("runuser", "-u", "camera", "--", *dry, check=False)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert "must be run as root" in refused.stderr
    assert f"{CONFIG} is left as it is" in machine.run(*dry).stdout


def test_what_can_t_be_installed_is_not_left_half(machine, station):
    """It would fill the station's disk, for one."""
    machine.run("mkdir", "/opt/few")
    machine.run("sh", "-c", "cp /wheels/edge_inspect-*.whl /opt/few")

    refused = machine.run(*INSTALL, "--wheels", "/opt/few", check=False)

    assert refused.returncode == 2
    assert "nothing was replaced" in refused.stderr
    assert len(list(machine.path("/opt/edge-agent/releases").iterdir())) == 1


def test_it_runs_with_nothing_that_it_does_not_need(machine, station):
    for process in (agent_of(machine), worker_of(machine)):
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert status["Uid"].split()[0] != "0"
    wrote = machine.run(
        "nsenter", "--target", machine.unit(UNIT)["MainPID"], "--mount",
        "touch", "/opt/edge-agent/there", check=False,
    )  # fmt: skip
    assert "Read-only file system" in wrote.stderr


def test_a_secret_is_the_service_s_alone(machine, station):
    """It runs, so it could read its password: without, it would not have started."""
    for user in ("camera", "nobody"):
        for file in (SECRET, "/etc/edge-agent/mqtt-password"):
            read = machine.run("runuser", "-u", user, "--", "cat", file, check=False)
            assert "Permission denied" in read.stderr
            assert read.stdout == ""
    inside = Path(f"/proc/{agent_of(machine).pid}/root{SECRET}")
    assert inside.read_text() == f"{PASSWORD}\n"
    source = machine.run("stat", "-c", "%U %a", "/etc/edge-agent/mqtt-password").stdout
    assert source.split() == ["root", "600"]
    assert PASSWORD not in journald(machine)
    for process in (agent_of(machine), worker_of(machine)):
        assert PASSWORD not in " ".join(process.cmdline())
        assert PASSWORD.encode() not in Path(f"/proc/{process.pid}/environ").read_bytes()


def test_a_reload_takes_a_changed_threshold_without_a_restart(machine, station):
    before, config = machine.unit(UNIT), machine.path(CONFIG)
    shown = machine.run(
        "/opt/edge-agent/current/bin/edge-agent", "bundle", "show", "/bundle"
    ).stdout
    digest = re.search(r"\(([0-9a-f]{12})\)", shown)[1]
    settings = config.read_text()
    own = f'[decision]\nbundle = "{digest}"\nthreshold = 0.4321\n'
    config.write_text(replaced(settings, {"[decision]\n": own}))

    machine.run("systemctl", "reload", UNIT)

    wait_for(lambda: "threshold 0.4321" in journald(machine))
    station.offer(1)
    assert station.judged()
    assert station.rows()[-1]["threshold"] == pytest.approx(0.4321)
    after = machine.unit(UNIT)
    assert [after[key] for key in STARTS] == [before[key] for key in STARTS]
    assert after["ActiveState"] == "active"
    config.write_text(settings)
    machine.run("systemctl", "reload", UNIT)
    wait_for(lambda: re.search(r"reloaded: .*, before: .*threshold 0\.4321", journald(machine)))


# -- another one -----------------------------------------------------------------------------------

OTHER = "edge-agent@side.service"
CAMERAS = "/srv/the cameras"
ANOTHER = (*INSTALL, "--wheels", "/wheels", "--bundle", "/plain", "--station", "side")


@pytest.fixture(scope="module")
def other(machine, station):
    """A second station, in whose folder a camera's user has always written."""
    machine.run("install", "-d", "-o", "camera", "-g", "camera", CAMERAS)

    refused = machine.run(*ANOTHER, "--inbox", CAMERAS, check=False)

    assert refused.returncode == 2
    assert "can't move images out of it" in refused.stderr
    assert machine.run("stat", "-c", "%U %G %a", CAMERAS).stdout.split() == [
        "camera",
        "camera",
        "755",
    ]
    assert not machine.path("/etc/edge-agent/side.toml").exists()
    machine.run("sh", "-c", refused.stderr.split("runs as edge-agent: ")[1].split(" (")[0])
    # A disk that is full when the settings are written leaves no half of them.
    machine.run("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", "/etc/edge-agent")
    assert machine.run(*ANOTHER, "--inbox", CAMERAS, check=False).returncode != 0
    left = machine.run("ls", "/etc/edge-agent").stdout.split()
    machine.run("umount", "/etc/edge-agent")
    assert "side.toml" not in left
    said = machine.run(*ANOTHER, "--inbox", CAMERAS).stdout
    assert f"{OTHER} runs: drop images into {CAMERAS}" in said
    return Station(machine.path(f"{HOME}/side"), Path("/plain"))


def test_a_second_station_takes_images_from_a_folder_of_somebody_else(machine, other):
    machine.run("runuser", "-u", "camera", "--", "cp", "/opt/part.png", CAMERAS)

    wait_for(lambda: [row["verdict"] for row in other.rows()] == ["defect"])
    assert machine.run("stat", "-c", "%U", CAMERAS).stdout.strip() == "camera"
    settings = machine.path("/etc/edge-agent/side.toml").read_text()
    assert '\nname = "side"\n' in settings  # or both would be one to the broker


def test_what_a_station_has_is_not_changed_by_options_for_a_new_one(machine, other):
    said = machine.run(*ANOTHER, "--inbox", "/srv/elsewhere").stdout

    assert "--inbox is for a new station" in said
    assert f"drop images into {CAMERAS}" in said
    assert machine.run("systemctl", "restart", OTHER).returncode == 0


def test_a_station_whose_disk_comes_late_is_started_then(machine, other):
    name = machine.run("systemd-escape", "--path", "--suffix=mount", CAMERAS).stdout.strip()
    disk = machine.path(f"/etc/systemd/system/{name}")
    mount = f"[Mount]\nWhat=tmpfs\nWhere={CAMERAS}\nType=tmpfs\nOptions="
    machine.run("systemctl", "stop", OTHER)
    disk.write_text(f"{mount}mode=777\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", name)
    machine.path(f"/etc/systemd/system/{OTHER}.d/inbox.conf").unlink()
    machine.run(*ANOTHER)  # sees that the folder lies on a disk of its own
    machine.run("systemctl", "stop", OTHER, name)

    disk.write_text(f"{mount}away\n")
    machine.run("systemctl", "daemon-reload")
    assert machine.run("systemctl", "start", OTHER, check=False).returncode != 0
    wait_for(lambda: "is not a mountpoint" in journald(machine, unit=OTHER))
    assert machine.unit(OTHER)["ActiveState"] == "activating"  # and not given up

    disk.write_text(f"{mount}mode=777\n")
    machine.run("systemctl", "daemon-reload")
    wait_for(lambda: machine.unit(OTHER)["ActiveState"] == "active", 120, 0.1)
    machine.run("runuser", "-u", "camera", "--", "cp", "/opt/part.png", CAMERAS)
    wait_for(lambda: len(other.rows()) == 2)
    # It has served. Its settings go; the service is there to be ended with all others.
    machine.run("rm", "/etc/edge-agent/side.toml")


# -- faults ----------------------------------------------------------------------------------------


def test_a_frozen_worker_is_replaced_and_its_frame_judged(machine, station):
    before = machine.unit(UNIT)
    frozen = worker_of(machine)
    frozen.send_signal(signal.SIGSTOP)

    station.offer(5)

    assert station.judged()
    assert not frozen.is_running()
    worth_a_look = journald(machine, "--priority=warning")
    assert "worker" in worth_a_look
    assert len(worth_a_look.splitlines()) < len(journald(machine).splitlines())
    after = machine.unit(UNIT)
    assert [after[key] for key in STARTS] == [before[key] for key in STARTS]


def test_a_frozen_daemon_is_ended_by_the_watchdog_and_started_again(machine, station):
    before = machine.unit(UNIT)
    agent_of(machine).send_signal(signal.SIGSTOP)
    station.offer(5)

    until_restarted(machine, before)

    assert station.judged()
    assert "Watchdog timeout" in journald(machine)


def test_after_kills_under_load_no_image_is_missing(machine, station):
    judged = station.offered
    station.offer(120, white=2)
    for more in (10, 40):
        wait_for(lambda least=judged + more: len(station.rows()) >= least, 120)
        before = machine.unit(UNIT)
        agent_of(machine).kill()
        until_restarted(machine, before)

    assert station.judged()


def test_it_stops_cleanly_under_load_within_five_seconds(machine, station):
    judged = station.offered
    station.offer(120, white=3)
    wait_for(lambda: len(station.rows()) >= judged + 5)

    began = time.monotonic()
    machine.run("systemctl", "stop", UNIT)
    seconds = time.monotonic() - began

    unit = machine.unit(UNIT)
    assert (unit["Result"], unit["ExecMainStatus"]) == ("success", "0")
    assert len(station.rows()) < station.offered, "there was no load"
    assert seconds < 5
    machine.run("systemctl", "start", UNIT)
    assert station.judged()


# -- upgraded, and removed -------------------------------------------------------------------------


def test_an_upgrade_judges_the_golden_images_first(machine, station):
    change(machine, provider='"openvino:CPU"', bundle='"/plain"')
    before = machine.unit(UNIT)
    old = machine.path("/opt/edge-agent/current").readlink()

    # One that is not right: the bundle's golden image says something else by now.
    spoilt = "/opt/spoilt"
    machine.run("cp", "-rT", "/plain", spoilt)
    machine.run("sh", "-c", f"echo other > {spoilt}/golden/ok.png; chmod -R a+rX {spoilt}")
    change(machine, bundle=f'"{spoilt}"')
    refused = machine.run(*INSTALL, *OPENVINO, check=False)
    assert refused.returncode == 2
    assert "golden/ok.png was changed or damaged" in refused.stderr
    assert "nothing was replaced, what ran still runs" in refused.stderr
    assert machine.path("/opt/edge-agent/current").readlink() == old
    assert machine.unit(UNIT)["MainPID"] == before["MainPID"]

    # One that is; but the call that has switched to it does not come to restarting.
    change(machine, bundle='"/plain"')
    machine.path("/opt/systemctl").write_text(
        '#!/bin/sh\n[ "$1" = daemon-reload ] && kill -9 $PPID\nexec /usr/bin/systemctl "$@"\n'
    )
    machine.path("/opt/systemctl").chmod(0o755)
    broken_off = machine.run(
        "env", "PATH=/opt:/usr/sbin:/usr/bin", *INSTALL, *OPENVINO, check=False
    )
    assert broken_off.returncode == -signal.SIGKILL
    assert machine.path("/opt/edge-agent/current").readlink() != old
    assert machine.unit(UNIT)["MainPID"] == before["MainPID"]
    said = machine.run(*INSTALL, *OPENVINO).stdout
    assert "fp32 on openvino: 2 golden images within" in said
    groups = machine.run("runuser", "-u", "edge-agent", "--", "id", "-nG").stdout.split()
    assert "render" in groups  # or neither this nor the doctor could use what the service can
    assert machine.unit(UNIT)["MainPID"] != before["MainPID"]
    station.offer(3)
    assert station.judged()
    assert {row["provider"] for row in station.rows()[-3:]} == {"openvino"}
    assert old.name in {one.name for one in machine.path("/opt/edge-agent/releases").iterdir()}


def test_an_upgrade_that_does_not_start_is_taken_back(machine, station):
    """Its units too: those of this one want what no version knows."""
    old = machine.path("/opt/edge-agent/current").readlink()
    machine.run("mkdir", "-p", "/opt/next/edge_agent")
    machine.run("cp", "-r", "/repo/deploy", "/opt/next")
    machine.run("cp", "/repo/edge_agent/__init__.py", "/opt/next/edge_agent")  # its version
    start = f"s|{CONFIG}$|& --unheard-of|"
    machine.run("sed", "-i", start, "/opt/next/deploy/systemd/edge-agent.service")

    refused = machine.run("bash", "/opt/next/deploy/install.sh", *OPENVINO, check=False)

    assert refused.returncode == 2
    assert "unrecognized arguments: --unheard-of" in journald(machine)
    assert machine.path("/opt/edge-agent/current").readlink() == old
    assert machine.unit(UNIT)["ActiveState"] == "active"
    assert machine.path(f"/etc/systemd/system/{UNIT}.d/openvino.conf").exists()


def test_a_runtime_that_the_station_does_not_run_with_is_refused(machine, station):
    """With a CPU's release a station that names OpenVINO proves its images by no other."""
    old = machine.path("/opt/edge-agent/current").readlink()

    refused = machine.run(*INSTALL, "--runtime", "cpu", "--wheels", "/wheels", check=False)

    assert refused.returncode == 2
    assert machine.path("/opt/edge-agent/current").readlink() == old
    assert machine.unit(UNIT)["ActiveState"] == "active"


def test_removed_it_leaves_what_is_the_user_s(machine, station):
    machine.run(*INSTALL, "uninstall")

    for unit in (UNIT, OTHER):
        after = machine.unit(unit)
        assert (after["LoadState"], after["ActiveState"]) == ("not-found", "inactive")
    units = machine.path("/etc/systemd/system")
    kept = [str(path.relative_to(units)) for path in sorted(units.rglob("*edge-agent*"))]
    assert kept == [f"{UNIT}.d"]  # with the drop-in of the site's own
    assert [path.name for path in (units / kept[0]).iterdir()] == ["quick.conf"]
    assert not machine.path("/opt/edge-agent").exists()
    assert len(station.rows()) == station.offered
    assert machine.path(CONFIG).exists()
    machine.run(*INSTALL, "uninstall", "--purge")
    assert not machine.path(HOME).exists()
    assert not (units / kept[0]).exists()
    assert not machine.path("/etc/edge-agent").exists()
    assert machine.run("id", "edge-agent", check=False).returncode != 0


# -- the files -------------------------------------------------------------------------------------


def security(place: Path, *dropins: str) -> float:
    """The exposure that systemd gives the unit with these drop-ins: 0 is best, 10 worst."""
    unit = place / UNIT
    unit.write_text((SYSTEMD / UNIT).read_text())
    extra = place / f"{UNIT}.d"
    extra.mkdir()
    for name in dropins:
        (extra / name).write_text((SYSTEMD / "dropins" / name).read_text())
    done: Any = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = done.stdout.strip().splitlines()[-1]
    return float(line.split(f"{UNIT}: ")[1].split()[0])


@pytest.mark.parametrize(
    ("dropins", "most"), [((), 1.6), (("openvino.conf",), 2.0), (("gpu.conf",), 2.0)]
)
def test_the_unit_is_hardened(tmp_path, dropins, most):
    if why := missing("systemd-analyze"):
        pytest.skip(f"the unit can't be judged here: {why}")

    assert security(tmp_path, *dropins) <= most


@pytest.mark.parametrize("dropins", [(), ("openvino.conf",), ("gpu.conf",)])
def test_the_unit_has_no_key_that_systemd_does_not_know(tmp_path, dropins):
    if why := missing("systemd-analyze"):
        pytest.skip(f"the unit can't be judged here: {why}")
    security(tmp_path, *dropins)

    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / UNIT], capture_output=True, text=True, check=False
    )

    complaints = [line for line in done.stderr.splitlines() if "is not executable" not in line]
    assert complaints == []


def test_the_unit_of_many_stations_is_the_unit_of_one(tmp_path):
    def settings(name: str) -> list[str]:
        lines = (SYSTEMD / name).read_text().splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    many = [
        line.replace("of station %i", "of the station")
        .replace("/%i.mqtt", "/mqtt")
        .replace("/%i.toml", "/station.toml")
        .replace("/%i", "")
        for line in settings("edge-agent@.service")
    ]
    assert many == settings(UNIT)


def test_the_script_is_clean():
    if why := missing("shellcheck"):
        pytest.skip(f"install.sh can't be checked here: {why}")

    subprocess.run(["shellcheck", REPO / "deploy/install.sh"], check=True)
