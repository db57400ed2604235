"""Device files: there, and to be opened by this user."""

from __future__ import annotations

import grp
import os

import pytest

from edge_agent.doctor.devices import look_at_devices


@pytest.fixture(autouse=True)
def _no_nvidia(program):
    """PATH holds what a test puts there."""


def test_none_is_fine_where_none_is_needed(tmp_path):
    (found,) = look_at_devices("auto", tmp_path)

    assert (found.level, found.what) == ("ok", "no NPU and no GPU: the CPU judges")


@pytest.mark.parametrize(
    ("wanted", "missing"),
    [
        ("openvino:NPU", "accel/accel*"),
        ("openvino:GPU", "dri/renderD*"),
        ("openvino:GPU.1", "dri/renderD*"),
        ("cuda", "nvidia[0-9]*"),
        ("cuda:1", "nvidia[0-9]*"),
        ("tensorrt", "nvidia[0-9]*"),
    ],
)
def test_none_is_an_error_where_one_is_named(tmp_path, wanted, missing):
    (found,) = look_at_devices(wanted, tmp_path)

    assert found.level == "error"
    assert f"there is no {tmp_path / missing}" in found.what
    assert found.mend.startswith("install ")


@pytest.mark.parametrize("wanted", ["auto", "cpu", "openvino:CPU"])
def test_nothing_is_missed_on_a_cpu(tmp_path, wanted):
    assert [one.level for one in look_at_devices(wanted, tmp_path)] == ["ok"]


@pytest.mark.parametrize(("wanted", "level"), [("auto", "warning"), ("openvino:GPU", "error")])
def test_one_that_may_not_be_opened(unprivileged, wanted, level):
    (unprivileged / "dri").mkdir()
    (unprivileged / "dri/renderD128").write_text("")
    (unprivileged / "dri/renderD128").chmod(0)

    (found,) = look_at_devices(wanted, unprivileged)

    assert found.level == level
    assert f"GPU {unprivileged}/dri/renderD128: user " in found.what
    assert "may not open it" in found.what
    assert found.mend.startswith("give it to a group by a udev rule")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another group")
def test_the_group_to_join_is_named(unprivileged):
    device = unprivileged / "accel/accel0"
    device.parent.mkdir()
    device.write_text("")
    group = next(one for one in grp.getgrall() if one.gr_gid not in (0, 65534) and not one.gr_mem)
    os.seteuid(0)
    os.chown(device, 1, group.gr_gid)
    device.chmod(0o660)
    os.seteuid(65534)

    (found,) = look_at_devices("auto", unprivileged)

    assert f"sudo usermod -aG {group.gr_name} " in found.mend
    assert f"SupplementaryGroups={group.gr_name}" in found.mend


def test_one_that_may_be_opened(tmp_path):
    (tmp_path / "accel").mkdir()
    (tmp_path / "accel/accel0").write_text("")

    (found,) = look_at_devices("openvino:NPU", tmp_path)

    assert (found.level, found.what) == (
        "ok",
        f"NPU {tmp_path}/accel/accel0: this user may open it",
    )


def test_nvidias_own_word(tmp_path, program):
    program("nvidia-smi", "echo 'NVIDIA A2, 550.54, 16380 MiB'")
    assert look_at_devices("auto", tmp_path)[-1].what == "nvidia-smi: NVIDIA A2, 550.54, 16380 MiB"

    program("nvidia-smi", 'echo "couldn\'t communicate with the NVIDIA driver"; exit 9')
    found = look_at_devices("auto", tmp_path)[-1]
    assert found.level == "warning"
    assert found.what == "nvidia-smi: couldn't communicate with the NVIDIA driver"
    assert look_at_devices("cuda", tmp_path)[-1].level == "error"
