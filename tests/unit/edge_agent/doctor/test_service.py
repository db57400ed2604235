"""What systemd says, as it says it."""

from __future__ import annotations

import re

from edge_agent.doctor.ask import Answer
from edge_agent.doctor.service import judge_units, look_at_service
from edge_agent.doctor.who import user_name

NOTHING = Answer("", "")


def unit(**changes):
    fields = {
        "Id": "edge-agent.service",
        "LoadState": "loaded",
        "ActiveState": "active",
        "SubState": "running",
        "UnitFileState": "enabled",
        "Result": "success",
        "NRestarts": "0",
        "User": "edge-agent",
        "MainPID": "77",
        **changes,
    }
    return Answer("\n".join(f"{key}={value}" for key, value in fields.items()), "")


def levels(found):
    return [one.level for one in found]


def test_it_runs():
    (found,) = judge_units(NOTHING, unit(), "edge-agent")

    assert (found.level, found.what) == (
        "ok",
        "edge-agent.service is active (running), process 77",
    )


def test_it_failed():
    failed = unit(ActiveState="failed", SubState="failed", Result="exit-code")
    (found,) = judge_units(NOTHING, failed, "edge-agent")

    assert (found.level, found.what) == (
        "error",
        "edge-agent.service is failed (failed): exit-code",
    )
    assert found.mend.startswith("journalctl -u edge-agent.service")


def test_it_fails_again_and_again():
    again = unit(ActiveState="activating", SubState="auto-restart", Result="watchdog")
    assert levels(judge_units(NOTHING, again, "edge-agent")) == ["error"]
    assert levels(judge_units(NOTHING, unit(NRestarts="3"), "edge-agent")) == ["warning"]


def test_it_does_not_come_back_after_a_boot():
    found = judge_units(NOTHING, unit(UnitFileState="disabled"), "edge-agent")

    assert levels(found) == ["ok", "warning"]
    assert found[1].mend == "sudo systemctl enable edge-agent.service"


def test_rights_were_looked_at_as_somebody_else():
    found = judge_units(NOTHING, unit(), "root")

    assert levels(found) == ["ok", "warning"]
    assert re.match(r"sudo -u edge-agent /\S+/edge-agent doctor ", found[1].mend)
    assert levels(judge_units(NOTHING, unit(User=""), "root")) == ["ok"]


def test_installed_and_not_started():
    files = Answer("edge-agent.service enabled enabled", "")
    (found,) = judge_units(files, unit(LoadState="not-found"), "edge-agent")

    assert found.level == "warning"
    assert found.mend == "sudo systemctl enable --now edge-agent.service"


def test_not_installed():
    (found,) = judge_units(NOTHING, NOTHING, "edge-agent")

    assert found.level == "warning"
    assert "does not start at boot" in found.what


def test_systemd_does_not_run(tmp_path):
    (found,) = look_at_service(tmp_path / "none")

    assert found.level == "ok"


def test_systemctl_is_asked(tmp_path, program):
    program("systemctl", f'[ "$1" = show ] || exit 0\necho "{unit(User=user_name()).said}"')

    (found,) = look_at_service(tmp_path)

    assert found.what == "edge-agent.service is active (running), process 77"


def test_systemctl_that_is_of_no_use(tmp_path, program):
    program("systemctl", "echo 'Failed to connect to bus' >&2; exit 1")

    (found,) = look_at_service(tmp_path)

    assert (found.level, found.what) == ("warning", "systemctl: Failed to connect to bus")
