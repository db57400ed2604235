"""Kubernetes' files: as kustomize puts them together, held to what the container's test runs."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
import yaml

from edge_agent.settings import load_settings
from tests.e2e.test_container import agent
from tests.machine import REPO

pytestmark = pytest.mark.slow

KUBERNETES = REPO / "deploy/kubernetes"
FOLDERS = (KUBERNETES, KUBERNETES / "shared")
# KEDA's own kind: not checked by a schema.
FOREIGN = "ScaledObject"


@functools.cache
def objects() -> list[dict[str, Any]]:
    """What ``kubectl apply -k`` would send, of both folders."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed (make machines installs it)")
    found = []
    for place in FOLDERS:
        built = subprocess.run(
            ["kubectl", "kustomize", place], capture_output=True, text=True, check=False
        )
        assert built.returncode == 0, built.stderr
        found += list(yaml.safe_load_all(built.stdout))
    return found


def templates() -> list[dict[str, Any]]:
    """Of line PCs, and of agents that share a topic."""
    sets = {one["kind"]: one for one in objects()}
    return [sets[kind]["spec"]["template"] for kind in ("DaemonSet", "StatefulSet")]


def pods() -> list[dict[str, Any]]:
    return [one["spec"] for one in templates()]


def test_what_kustomize_makes_is_valid_by_its_schema():
    import kubernetes_validate  # noqa: PLC0415  # heavy, and for this alone

    kinds = set()
    for one in objects():
        if one["kind"] != FOREIGN:
            kubernetes_validate.validate(one, "1.34", strict=True)
            kinds.add(one["kind"])
    assert kinds == {
        *("Namespace", "ConfigMap", "DaemonSet", "NetworkPolicy", "StatefulSet", "Service"),
    }  # fmt: skip


def test_kustomize_takes_every_file():
    for folder in FOLDERS:
        wanted = yaml.safe_load((folder / "kustomization.yaml").read_text())

        there = {one.name for one in folder.iterdir() if one.is_file()} - {"kustomization.yaml"}
        assert there == {*wanted["resources"], *wanted["configMapGenerator"][0]["files"]}


def test_each_name_leads_to_something():
    made = {(one["kind"], one["metadata"]["name"]) for one in objects()}
    for one in objects():
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == "edge-inspect"
        if one["kind"] == FOREIGN:
            target = one["spec"]["scaleTargetRef"]
            assert (target["kind"], target["name"]) in made
        if one["kind"] == "StatefulSet":
            assert ("Service", one["spec"]["serviceName"]) in made
    labels = {one["metadata"]["labels"]["app"] for one in templates()}
    (policy,) = [one for one in objects() if one["kind"] == "NetworkPolicy"]
    assert set(policy["spec"]["podSelector"]["matchExpressions"][0]["values"]) == labels
    for pod in pods():
        there = {one["name"]: one for one in pod["volumes"]} | {"station": {}}  # or claimed
        for container in (*pod["initContainers"], *pod["containers"]):
            for mount in container["volumeMounts"]:
                volume = there[mount["name"]]
                if "configMap" in volume:
                    assert ("ConfigMap", volume["configMap"]["name"]) in made


def test_a_pod_runs_what_the_container_s_test_runs():
    service = agent()
    for pod in pods():
        (container,) = pod["containers"]
        assert container["args"] == service["command"]
        assert container["image"] == service["image"]
        who = pod["securityContext"]
        assert f"{who['runAsUser']}:{who['runAsGroup']}" == service["user"]
        for one in (container, *pod["initContainers"]):
            own = one["securityContext"]
            assert own["readOnlyRootFilesystem"] is service["read_only"]
            assert own["capabilities"]["drop"] == service["cap_drop"]
            assert own["allowPrivilegeEscalation"] is False
            memory = one["resources"]["limits"]["memory"]
            assert memory == service["mem_limit"].replace("m", "Mi")
        mounts = {one["mountPath"] for one in container["volumeMounts"]}
        targets = {volume.split(":")[1] for volume in service["volumes"]}
        assert {"/bundle", "/var/lib/edge-agent"} <= mounts & targets


def named(pod: dict[str, Any], folder: str, name: str, etc: Any) -> Any:
    """The settings that the init container's own program writes for a pod or node of this name."""
    program = pod["initContainers"][0]["command"][-1]
    program = program.replace("/template", str(KUBERNETES / folder))
    program = program.replace("/etc/edge-agent", str(etc))
    environment = {**os.environ, "NAME": name}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    return load_settings(etc / "station.toml")


def test_stations_are_named_after_their_nodes_and_are_else_those_of_compose(tmp_path):
    pod, _ = pods()
    name = pod["initContainers"][0]["env"][0]["valueFrom"]["fieldRef"]["fieldPath"]
    assert name == "spec.nodeName"

    station = named(pod, "", "pc-7.plant", tmp_path).model_dump()

    assert station["station"]["name"] == "pc-7.plant"
    assert station["mqtt"]["username"] == "site/line/pc-7.plant"  # as the access list wants it
    compose = load_settings(REPO / "deploy/compose/station.toml").model_dump()
    for one in (compose, station):
        del one["mqtt"]["host"], one["mqtt"]["password_file"]
        del one["mqtt"]["username"], one["station"]["name"]
    assert compose == station


def test_agents_that_share_a_topic_are_named_after_their_pods(tmp_path):
    _, pod = pods()
    name = pod["initContainers"][0]["env"][0]["valueFrom"]["fieldRef"]["fieldPath"]
    assert name == "metadata.name"

    settings = named(pod, "shared", "edge-agent-shared-3", tmp_path)

    assert settings.station.name == "edge-agent-shared-3"
    assert settings.mqtt.username == "site/line/edge-agent-shared-3"
    assert settings.source.mqtt is not None
    assert settings.source.mqtt.topic.startswith("$share/")
