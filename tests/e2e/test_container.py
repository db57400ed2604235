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

import trainer.cli
from tests.broker import Broker, free_port
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
    if why := missing("mmdebstrap", "buildah", "podman", "runc", "mosquitto_passwd"):
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


def broker_of_compose(place: Path, password: Path) -> Broker:
    """mosquitto as compose.yaml sets it up, on a port of its own."""
    place.mkdir()
    passwords = place / "passwords"
    passwords.touch(0o600)
    login = ("site/line/station", password.read_text().strip())
    subprocess.run(["mosquitto_passwd", "-b", passwords, *login], check=True)
    text = (COMPOSE.parent / "mosquitto/mosquitto.conf").read_text()
    text = text.replace("/mosquitto/data/", f"{place}/")
    text = text.replace("/mosquitto/config/passwords", str(passwords))
    text = text.replace("/mosquitto/config/acl", str(REPO / "deploy/mosquitto/acl"))
    port = free_port()
    text = text.replace("listener 1883\n", f"listener {port} 127.0.0.1\n")
    return Broker(place, whole=f"{text}\nuser root\n", port=port)


def health(port: int) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20) as answer:
            return answer.status, json.load(answer)
    except OSError:
        return 0, None


def test_it_judges_images_tells_the_broker_and_stops_cleanly(image, tmp_path):
    port, name = free_port(), f"edge-agent-test-{os.getpid()}"
    home, bundle, password = tmp_path / "home", tmp_path / "bundle", tmp_path / "password"
    shutil.copytree(REPO / "edge_agent/demo/bundle", bundle)
    station = Station(home, bundle)
    config = tmp_path / "station.toml"
    # The host's own network, because a machine in a box has no bridge: hence a port of our own.
    text = (COMPOSE.parent / "station.toml").read_text()
    text = text.replace("[http]\n", f"[http]\nport = {port}\n")
    password.write_text("secret\n")
    broker = broker_of_compose(tmp_path / "broker", password)
    config.write_text(
        text.replace('host = "mosquitto"', f'host = "127.0.0.1"\nport = {broker.port}')
    )
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
        broker.start()
        wait_for(lambda: health(port)[0] == 200 or not running(name), 120, 0.2)
        assert running(name), podman("logs", name)
        for one in sorted(IMAGES.glob("*.png")):
            station.drop(one.name, one.read_bytes())
        wait_for(lambda: len(station.rows()) == 12)
        wait_for(lambda: not list((station.state / "work").iterdir()))

        def told_the_broker() -> bool:
            told = health(port)[1]
            return (told["status"], told["broker"], told["outbox"]) == ("ok", "connected", 0)

        wait_for(told_the_broker)
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
        broker.stop()


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


def test_the_gpu_s_base_has_the_cuda_that_its_onnx_runtime_wants():
    """ONNX Runtime's wheels for GPUs are built for CUDA 13 from 1.27 on, for CUDA 12 before."""
    pins = (REPO / "deploy/constraints.txt").read_text()
    minor = int(re.search(r"^onnxruntime-gpu==1\.(\d+)\..*>= \"3\.11\"", pins, re.MULTILINE)[1])
    base = yaml.safe_load(COMPOSE.read_text())["services"]["agent-gpu"]["build"]["args"]["BASE"]
    assert base.startswith(f"docker.io/nvidia/cuda:{13 if minor >= 27 else 12}.")
    assert base in (REPO / "Dockerfile.edge").read_text()


def test_the_trainer_s_commands_are_commands():
    """Its image has 6 GB and is not built here."""
    text = (REPO / "Dockerfile.train").read_text()
    (line,) = re.findall(r"^#   podman run .* trainer (.*)$", text, re.MULTILINE)
    assert trainer.cli._parser().parse_args(line.split()).recipe == "dense"
    left = (REPO / ".dockerignore").read_text()
    for copied in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE):
        for one in copied.split():
            assert (REPO / one).exists(), one
            assert f"!{one}\n" in left, one


def test_every_setting_of_compose_is_in_its_example():
    used = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    example = (COMPOSE.parent / ".env.example").read_text()
    assert used | {"COMPOSE_PROFILES"} == set(re.findall(r"^(\w+)=", example, re.MULTILINE))


def test_what_a_site_puts_beside_compose_is_not_for_its_repository():
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text())
    whole = yaml.safe_load(text)
    volumes = [one for service in whole["services"].values() for one in service["volumes"]]
    sources = {one.split(":")[0] for one in volumes} - set(whole["volumes"])
    sources |= {one["file"] for one in whole["secrets"].values()}
    for source in sources:
        if not (COMPOSE.parent / source).is_file():
            ignored = ["git", "-C", COMPOSE.parent, "check-ignore", "--quiet", f"{source}/x"]
            assert source == "../grafana/provisioning" or not subprocess.call(ignored), source


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
