"""Accelerators that the kernel shows, and whether this user may open them."""

from __future__ import annotations

import grp
import os
import shutil
import stat
from pathlib import Path

from edge_agent.doctor.ask import ask_program
from edge_agent.doctor.finding import Finding, Level
from edge_agent.doctor.who import user_name
from edge_agent.types.target import AUTO, CPU, parse_target

TOPIC = "devices"
_KINDS = {
    "accel/accel*": ("NPU", "openvino:NPU", "Intel's NPU driver (linux kernel 6.6 or newer)"),
    "dri/renderD*": ("GPU", "openvino:GPU", "the GPU's kernel driver (i915 or xe)"),
    "nvidia[0-9]*": ("NVIDIA GPU", "cuda", "NVIDIA's driver"),
}
_QUERY = "--query-gpu=name,driver_version,memory.total"


def look_at_devices(wanted: str = AUTO, dev: Path = Path("/dev")) -> list[Finding]:
    """Device files and their rights; NVIDIA's own word where its tool is installed.

    Args:
        wanted: ``runtime.provider`` of the settings: what is wrong with its device is an error.
        dev: where device files lie.
    """
    found: list[Finding] = []
    for pattern, (kind, provider, driver) in _KINDS.items():
        needed = _needs(wanted, provider)
        paths = sorted(dev.glob(pattern))
        found += [_rights(kind, path, "error" if needed else "warning") for path in paths]
        if needed and not paths:
            what = f"no {kind}: there is no {dev / pattern}, and runtime.provider is {wanted!r}"
            mend = f"install {driver}; a container must be given the device"
            found.append(Finding(TOPIC, "error", what, mend))
    found += _nvidia("error" if _needs(wanted, "cuda") else "warning")
    return found or [Finding(TOPIC, "ok", "no NPU and no GPU: the CPU judges")]


def _needs(wanted: str, provider: str) -> bool:
    if wanted in (AUTO, CPU):
        return False
    target = parse_target(wanted)
    if target.provider != "openvino":
        return provider == "cuda"
    return provider == f"openvino:{target.device.partition('.')[0]}"


def _rights(kind: str, path: Path, level: Level) -> Finding:
    if os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        return Finding(TOPIC, "ok", f"{kind} {path}: this user may open it")
    status = path.stat()
    user, group = user_name(), _name_of_group(status.st_gid)
    what = f"{kind} {path}: user {user} may not open it"
    both = stat.S_IRGRP | stat.S_IWGRP
    if status.st_mode & both != both or status.st_gid == 0:
        mend = 'give it to a group by a udev rule: GROUP="render", MODE="0660"'
    elif user in grp.getgrgid(status.st_gid).gr_mem:
        mend = f"{user} has joined the group {group} since: log in again, restart the service"
    else:
        mend = (
            f"sudo usermod -aG {group} {user}, then log in again; in a systemd unit: "
            f"SupplementaryGroups={group}"
        )
    return Finding(TOPIC, level, what, mend)


def _nvidia(level: Level) -> list[Finding]:
    if shutil.which("nvidia-smi") is None:
        return []
    answer = ask_program(["nvidia-smi", _QUERY, "--format=csv,noheader"], 5.0)
    if answer.trouble:
        mend = "load NVIDIA's driver (modprobe nvidia), or install the one for this kernel"
        return [Finding(TOPIC, level, answer.trouble, mend)]
    return [Finding(TOPIC, "ok", f"nvidia-smi: {line}") for line in answer.said.splitlines()]


def _name_of_group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
