"""The container, run as compose.yaml says; and what compose.yaml says beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.broker import free_port
from tests.line import Station, verify, wait_for
from tests.machine import REPO, base_system, missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COMPOSE = REPO / "deploy/compose/compose.yaml"
IMAGE = "localhost/edge-agent:test"
IMAGES = REPO / "edge_agent/demo/images"
# What a machine without systemd and without the right to raise limits needs of podman.
PODMAN = ("podman", "--runtime", "runc")
HERE = ("--no-healthcheck", "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def agent() -> dict[str, Any]:
    """The service of the profile ``cpu``, its variables at their defaults."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text())
    return yaml.safe_load(text)["services"]["agent"]


def podman(*arguments: str, check: bool = True) -> str:
    done = subprocess.run([*PODMAN, *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Dockerfile.edge, built on a Debian of our own under the name that it asks for."""
    if why := missing("mmdebstrap", "buildah", "podman", "runc"):
        pytest.skip(f"the container can't be built here: {why}")
    base = re.search(r"^ARG BASE=(\S+)$", (REPO / "Dockerfile.edge").read_text(), re.MULTILINE)[1]
    if subprocess.run([*PODMAN, "image", "exists", base], check=False).returncode:
        podman("import", "--quiet", str(base_system()), base)
    pip = tmp_path_factory.mktemp("pip") / "pip.conf"
    pip.write_text(f"[global]\ncert = {CERTIFICATES}\n")
    command = [
        *("buildah", "bud", "--pull-never", "--isolation", "chroot", "--network", "host"),
        *("--format", "docker", "--layers", "--storage-driver", "overlay"),
        *("--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", "--volume", f"{pip}:/etc/pip.conf:ro"),
        *("--file", "Dockerfile.edge", "--tag", IMAGE, "."),
    ]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return base


def run_options(service: dict[str, Any], home: Path, files: dict[str, Path]) -> list[str]:
    """The service's settings as podman's."""
    options = [f"--user={service['user']}", f"--memory={service['mem_limit']}"]
    options += ["--read-only"] if service["read_only"] else []
    options += [f"--cap-drop={one}" for one in service["cap_drop"]]
    options += [f"--security-opt={one}" for one in service["security_opt"]]
    options += [f"--pids-limit={service['pids_limit']}"]
    options += [f"--tmpfs={one}" for one in service["tmpfs"]]
    for volume in service["volumes"]:
        source, target, *mode = volume.split(":")
        options.append(f"--volume={':'.join([str(files.get(source, home)), target, *mode])}")
    for secret in service["secrets"]:
        options.append(f"--volume={files[secret]}:/run/secrets/{secret}:ro")
    return options


def health(port: int) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20) as answer:
            return answer.status, json.load(answer)
    except OSError:
        return 0, None


def test_it_judges_images_and_stops_cleanly(image, tmp_path):
    port, name = free_port(), f"edge-agent-test-{os.getpid()}"
    home, bundle, password = tmp_path / "home", tmp_path / "bundle", tmp_path / "password"
    shutil.copytree(REPO / "edge_agent/demo/bundle", bundle)
    station = Station(home, bundle)
    config = tmp_path / "station.toml"
    # The host's own network, because a machine in a box has no bridge: hence a port of our own.
    text = (COMPOSE.parent / "station.toml").read_text()
    config.write_text(text.replace("[http]\n", f"[http]\nport = {port}\n"))
    password.write_text("secret\n")
    for path in (tmp_path, home, station.inbox):
        path.chmod(0o755)
        os.chown(path, 10001, 10001)
    os.chown(password, 10001, 10001)
    password.chmod(0o400)
    service = agent()
    files = {"./station.toml": config, "./bundle": bundle, "mqtt-password": password}
    options = run_options(service, home, files)
    podman("run", "--detach", f"--name={name}", "--network=host", *HERE, *options, IMAGE,
           *service["command"])  # fmt: skip
    try:
        wait_for(lambda: health(port)[0] == 200 or not running(name), 120, 0.2)
        assert running(name), podman("logs", name)
        for one in sorted(IMAGES.glob("*.png")):
            station.drop(one.name, one.read_bytes())
        wait_for(lambda: len(station.rows()) == 12)
        wait_for(lambda: not list((station.state / "work").iterdir()))

        status, told = health(port)
        assert status == 200
        assert told["verdicts"] == {"ok": 8, "defect": 4, "review": 0, "error": 0}
        began = time.monotonic()
        podman("stop", "--time=60", name)
        assert time.monotonic() - began < 60
        assert podman("inspect", "--format={{.State.ExitCode}}", name) == "0"
        assert verify(station, 12).wrong == []
        log = subprocess.run(
            [*PODMAN, "logs", name], capture_output=True, text=True, check=True
        )  # fmt: skip
        assert '"message": "stopped"' in log.stdout + log.stderr
        assert "telemetry" not in log.stdout + log.stderr  # ONNX Runtime's to its maker
    finally:
        podman("rm", "--force", "--time=0", name, check=False)


def running(name: str) -> bool:
    return podman("inspect", "--format={{.State.Running}}", name) == "true"


def test_it_is_small_and_holds_nothing_to_build_with(image):
    size, base = (
        int(podman("image", "inspect", "--format={{.Size}}", one)) for one in (IMAGE, image)
    )
    assert size - base <= 300e6, f"{(size - base) / 1e6:.0f} MB over its base"
    labels = json.loads(podman("image", "inspect", "--format={{json .Labels}}", IMAGE))
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    looked = "command -v gcc cc make pip pip3 trainer; ls /opt/edge-agent/lib/python*/site-packages"
    inside = podman("run", "--rm", "--network=host", *HERE, "--entrypoint=sh", IMAGE, "-c", looked)
    assert "onnxruntime" in inside
    for absent in ("gcc", "/cc", "/make", "/pip", "torch", "trainer"):
        assert absent not in inside.replace("gcc-12-base", "")


# -- the files -------------------------------------------------------------------------------------


def test_the_dockerfiles_are_clean():
    hadolint = Path(sys.executable).parent / "hadolint"
    files = [REPO / "Dockerfile.edge", REPO / "Dockerfile.train"]

    done = subprocess.run([hadolint, *files], capture_output=True, text=True, check=False)

    assert done.stdout == ""
    assert done.returncode == 0, done.stderr


def test_compose_is_valid_by_its_schema():
    checker = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]

    done = subprocess.run(
        [Path(sys.executable).parent / checker[0], *checker[1:]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_prometheus_of_compose_asks_as_the_rules_expect():
    compose, plant = (
        yaml.safe_load((REPO / "deploy" / place / "prometheus.yml").read_text())
        for place in ("compose", "prometheus")
    )
    for one in (compose, plant):
        (job,) = one["scrape_configs"]
        assert job["job_name"] == "edge-agent"
        del job["static_configs"]
    assert compose == plant
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    assert services["prometheus"]["profiles"] == services["grafana"]["profiles"] == ["watching"]
    for service in (services["prometheus"], services["grafana"]):
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith(".") or (COMPOSE.parent / source).exists(), source
