"""systemd, where it runs: whether the unit is there, works, and comes back after a boot."""

from __future__ import annotations

import sys
from pathlib import Path

from edge_agent.doctor.ask import Answer, ask_program
from edge_agent.doctor.finding import Finding
from edge_agent.doctor.who import user_name

TOPIC = "systemd"
_PATTERN = "edge-agent*.service"
_ASKED = "Id,LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts,User,MainPID"
_BOOTED = Path("/run/systemd/system")  # sd_booted(3)
_INSTALL = "sudo deploy/install.sh installs and enables it"


def look_at_service(booted: Path = _BOOTED) -> list[Finding]:
    """Every unit of ours that systemd knows."""
    if not booted.is_dir():
        what = "systemd does not run here: something else must restart the agent when it ends"
        return [Finding(TOPIC, "ok", what)]
    files = ask_program(["systemctl", "list-unit-files", "--no-legend", "--plain", _PATTERN], 5.0)
    shown = ask_program(["systemctl", "show", "--property", _ASKED, _PATTERN], 5.0)
    return judge_units(files, shown, user_name())


def judge_units(files: Answer, shown: Answer, user: str) -> list[Finding]:
    """What ``list-unit-files`` and ``show`` said; as which user the doctor looks."""
    if shown.trouble:
        mend = "systemctl status, as an administrator"
        return [Finding(TOPIC, "warning", shown.trouble, mend)]
    units = [dict(_pairs(block)) for block in shown.said.split("\n\n") if block.strip()]
    units = [unit for unit in units if unit.get("LoadState") == "loaded"]
    if units:
        return [finding for unit in units for finding in _judge(unit, user)]
    if files.said:
        name = files.said.split()[0]
        mend = f"sudo systemctl enable --now {name}"
        return [Finding(TOPIC, "warning", f"{name} is installed, but not running", mend)]
    what = "no unit edge-agent.service is installed: the agent does not start at boot"
    return [Finding(TOPIC, "warning", what, _INSTALL)]


def _judge(unit: dict[str, str], user: str) -> list[Finding]:
    name, state = unit.get("Id", "?"), unit.get("ActiveState", "?")
    log = f"journalctl -u {name} -n 50 says why; then sudo systemctl restart {name}"
    what = f"{name} is {state} ({unit.get('SubState', '?')})"
    restarts = unit.get("NRestarts", "0")
    if state == "failed" or unit.get("SubState") == "auto-restart":
        found = [Finding(TOPIC, "error", f"{what}: {unit.get('Result', '?')}", log)]
    elif state != "active":
        found = [Finding(TOPIC, "warning", what, f"sudo systemctl start {name}")]
    elif restarts.isdigit() and int(restarts) > 0:
        what = f"{what}, and has been restarted {restarts} times"
        found = [Finding(TOPIC, "warning", what, f"journalctl -u {name} says why")]
    else:
        found = [Finding(TOPIC, "ok", f"{what}, process {unit.get('MainPID', '?')}")]
    if unit.get("UnitFileState") == "disabled":
        what = f"{name} does not start at boot"
        found.append(Finding(TOPIC, "warning", what, f"sudo systemctl enable {name}"))
    owner = unit.get("User") or "root"
    if owner != user:
        what = f"{name} runs as {owner}, but permissions were checked as {user}"
        program = Path(sys.executable).with_name("edge-agent")
        mend = f"sudo -u {owner} {program} doctor --config FILE"
        found.append(Finding(TOPIC, "warning", what, mend))
    return found


def _pairs(block: str) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (line.partition("=") for line in block.splitlines())]
