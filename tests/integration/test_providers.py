"""Execution providers that fail in every way, seen from the outside of a daemon: no image is lost.

The failing provider is `tests.standins.onnxruntime`, in the daemon's processes alone.
"""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from edge_agent.bundle import Decision
from edge_agent.sources.spool import Spool
from tests.broker import free_port
from tests.bundles import HEIGHT, WIDTH, make_image, make_two_variants
from tests.integration.test_agent import at_rest, health, run
from tests.line import Station, verify, wait_for
from tests.sweeps import swept

if TYPE_CHECKING:
    from pathlib import Path

OPENVINO = "OpenVINOExecutionProvider"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        OPENVINO not in onnxruntime.get_available_providers(),
        reason="onnxruntime-openvino is not installed: pip install 'edge-inspect[openvino]'",
    ),
]

LIMITS = "[worker]\nframe_timeout = 1.5\nstart_timeout = 30\nretry_truncated = 0.5\n"
# Runs of a process before its first frame: where it runs, and the two golden images.
FIRST = 4
IMAGES = 6


def settings(*, fallback: bool, port: int = 0, provider: str = "openvino:CPU") -> str:
    return (
        f'[runtime]\nprovider = "{provider}"\nvariant = "fp32"\nworkers = 1\nthreads = 1\n'
        f"fallback = {str(fallback).lower()}\n"
        + LIMITS
        + (f"[http]\nport = {port}\n" if port else "")
    )


@pytest.fixture(scope="module")
def tuned(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of a station that has measured OpenVINO and the CPU, both well."""
    station = Station(tmp_path_factory.mktemp("tuned"), bundle, settings(fallback=True))
    station.start()
    assert station.stop() == 0
    return station.state / "cache"


def drop(station: Station, start: int, count: int) -> None:
    for number in range(start, start + count):
        station.drop(f"{number}.png", make_image(defect=number % 2 == 1, seed=number))


def providers(station: Station) -> list[str]:
    """Who judged, in order; every verdict as it must be."""
    rows = station.rows()
    for row in rows:
        assert row["verdict"] == ("defect" if int(row["name"][:-4]) % 2 else "ok"), row
    return [f"{row['provider']} {row['device']}" for row in rows]


# -- at the start ------------------------------------------------------------------------------

AT_START = {
    "raise": "the device was removed",
    "raise@1": "openvino:CPU failed: the device was removed",
    "hang": "hung for 6 s at its start",
    "segv": "it was killed by SIGSEGV",
    "segv@1": "it was killed by SIGSEGV",
    "elsewhere": "on CPUExecutionProvider instead of OpenVINOExecutionProvider without an error",
    "lie": "openvino:CPU: the graph does not run there",
    "wrong": "golden image golden/ok.png scores 1.0000 with variant fp32 on openvino:CPU",
}

KINDS = ("raise", "hang", "lie")
"""One of each kind; with a fallback, the others are met in `make faults`."""


@pytest.mark.parametrize("fault", AT_START)
def test_a_named_provider_that_fails_at_the_start_is_refused(make_station, go_wrong, fault):
    go_wrong(fault)
    station = make_station(
        settings(fallback=False).replace("start_timeout = 30", "start_timeout = 6")
    )
    drop(station, 0, 1)

    done = run(station.config)

    assert done.returncode == 2, done.stderr
    assert AT_START[fault] in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("edge-agent: ") == 1
    assert [p.name for p in station.inbox.iterdir()] == ["0.png"]


@pytest.mark.parametrize("fault", [*KINDS, *swept(*(one for one in AT_START if one not in KINDS))])
def test_with_fallback_the_station_runs_and_says_degraded(make_station, go_wrong, fault):
    go_wrong(fault)
    port = free_port()
    quick = settings(fallback=True, port=port).replace("[worker]", "probe_timeout = 6\n[worker]")
    station = make_station(quick).start()
    drop(station, 0, 2)
    at_rest(station, 2)

    told = health(port)
    assert told["status"] == "degraded"
    assert AT_START[fault] in told["reasons"][0]
    assert "warning degraded: openvino:CPU: " in station.log
    assert providers(station) == ["cpu CPU"] * 2
    assert station.stop() == 0
    assert verify(station, 2).wrong == []


def test_a_provider_that_was_measured_is_refused_with_its_reason(make_station, go_wrong):
    go_wrong("segv")
    station = make_station(settings(fallback=False).replace('variant = "fp32"\n', ""))

    done = run(station.config)

    assert done.returncode == 2, done.stderr
    assert "runtime.provider = 'openvino:CPU' is not available" in done.stderr
    assert "it was killed by SIGSEGV" in done.stderr
    assert "fp32 on cpu" not in done.stderr  # nothing else is measured: nothing else would do
    assert "Or set runtime.fallback = true to run on another" in done.stderr


# -- while running -----------------------------------------------------------------------------

WHILE_RUNNING = {
    f"raise@{FIRST}": "openvino:CPU failed: the device was removed",  # the golden images pass
    f"segv@{FIRST}": "it was killed by SIGSEGV",
    f"hang@{FIRST}": "hung for 1.5 s at a frame",
    "raise@1": "openvino:CPU failed: the device was removed",  # gone for good: no start any more
}


def reload_next_version(station: Station) -> None:
    """Have the same bundle judge under another version."""
    new = station.home / "new"
    shutil.copytree(station.bundle, new)
    manifest = json.loads((new / "manifest.json").read_text())
    (new / "manifest.json").write_text(json.dumps({**manifest, "version": "9.0.0"}))
    _, rest = station.config.read_text().split("\n", 1)
    station.config.write_text(f'bundle = "{new}"\n{rest}')
    station.daemon.send_signal(signal.SIGHUP)
    wait_for(lambda: "reloaded: " in station.log)
    assert "9.0.0" in station.log


@pytest.mark.parametrize("fault", WHILE_RUNNING)
def test_a_provider_lost_while_running_is_replaced(make_station, go_wrong, tuned, fault):
    port = free_port()
    station = make_station(settings(fallback=True, port=port))
    shutil.copytree(tuned, station.state / "cache")
    station.start()
    assert "benchmarking" not in station.log
    drop(station, 0, 1)
    at_rest(station, 1)
    assert health(port)["status"] == "ok"

    go_wrong(fault)
    drop(station, 1, IMAGES)
    at_rest(station, 1 + IMAGES)

    assert providers(station) == ["openvino CPU"] + ["cpu CPU"] * IMAGES
    told = health(port)
    assert told["status"] == "degraded"
    assert f"openvino:CPU was lost: {WHILE_RUNNING[fault]}" in told["reasons"][0]
    assert "degraded: openvino:CPU was lost" in station.log
    reload_next_version(station)
    assert health(port)["reasons"] == told["reasons"]  # another bundle does not bring it back
    assert station.stop() == 0
    assert verify(station, 1 + IMAGES).wrong == []


def test_a_variant_that_takes_over_is_judged_by_its_own_threshold(make_station, go_wrong, tmp_path):
    elsewhere = "not kept there"
    gates = {"fp32": {"openvino:CPU": elsewhere}, "int8": {"cpu": elsewhere}}
    own = Decision(threshold=0.9, rule="by hand")
    both = make_two_variants(tmp_path / "both", gates, own).path
    anything = settings(fallback=True).replace('variant = "fp32"\n', "")
    station = make_station(anything, bundle=both).start()
    pixels = np.full((HEIGHT, WIDTH), 150, np.uint8)
    pixels[:24, :22] = 10  # scores 0.69: between both
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    station.drop("0.png", stream.getvalue())
    at_rest(station, 1)

    go_wrong("raise@1")
    station.drop("1.png", stream.getvalue())
    at_rest(station, 2)
    assert station.stop() == 0

    judged = [(row["variant"], row["threshold"], row["verdict"]) for row in station.rows()]
    assert judged == [("int8", 0.9, "ok"), ("fp32", 0.5, "defect")]


@pytest.mark.parametrize("fault", WHILE_RUNNING)
def test_without_fallback_the_station_stops_and_the_next_start_judges(
    make_station, go_wrong, fault
):
    station = make_station(settings(fallback=False)).start()
    drop(station, 0, 1)
    at_rest(station, 1)

    go_wrong(fault)
    drop(station, 1, IMAGES)

    assert station.daemon.wait(60) == 3, station.log
    lost = (
        "edge-agent: openvino:CPU was lost, and no other provider is available: "
        f"{WHILE_RUNNING[fault]}"
    )
    assert lost in station.log
    assert "Traceback" not in station.log
    assert len(station.rows()) == 1
    go_wrong("")
    station.start()
    at_rest(station, 1 + IMAGES)
    assert providers(station) == ["openvino CPU"] * (1 + IMAGES)
    assert station.stop() == 0
    assert verify(station, 1 + IMAGES).wrong == []


@pytest.mark.parametrize("fault", [f"raise@{FIRST + 2}", f"segv@{FIRST + 2}"])
def test_a_provider_that_fails_now_and_then_goes_on(make_station, go_wrong, fault):
    """No image pays for it, as one that is tried again behind all others would."""
    go_wrong(fault)
    station = make_station(settings(fallback=False))
    drop(station, 0, 20)
    spool = Spool(*(station.state / name for name in ("work", "processed", "quarantine")))
    for file in sorted(station.inbox.iterdir()):
        spool.claim(file)  # as by an earlier run: all of them wait in one queue
    station.start()
    at_rest(station, 20)

    assert providers(station) == ["openvino CPU"] * 20
    assert "is replaced: " + WHILE_RUNNING[f"{fault[:-1]}{FIRST}"] in station.log
    assert station.stop() == 0
    assert verify(station, 20).wrong == []


def test_what_was_chosen_before_and_is_gone_at_a_start(make_station, go_wrong, tuned):
    port = free_port()
    station = make_station(settings(fallback=True, port=port))
    shutil.copytree(tuned, station.state / "cache")
    go_wrong("raise")
    station.start()
    assert "1 worker x 1 thread, which was chosen before, is not available: " in station.log
    assert health(port)["status"] == "degraded"
    assert station.stop() == 0

    measured = station.log.count("benchmarking")
    station.start()  # still gone: known, and not measured all over
    assert station.log.count("benchmarking") == measured
    assert health(port)["status"] == "degraded"
    assert station.stop() == 0

    go_wrong("")
    station.start()
    drop(station, 0, 1)
    at_rest(station, 1)

    assert health(port)["status"] == "ok"
    assert providers(station) == ["openvino CPU"]
    assert station.stop() == 0


@pytest.mark.parametrize("attempts", [3, *swept(5)])
def test_a_single_frame_that_takes_down_workers_costs_no_provider(make_station, go_wrong, attempts):
    limits = f"[worker]\nmax_attempts = {attempts}\n"
    station = make_station(settings(fallback=False).replace("[worker]\n", limits)).start()
    go_wrong(f"segv@{FIRST}")
    drop(station, 0, 1)
    at_rest(station, 1)

    (row,) = station.rows()
    assert row["reason"] == f"took down {attempts} workers, the last: it was killed by SIGSEGV"
    go_wrong("")
    drop(station, 1, 1)
    at_rest(station, 2)
    assert station.stop() == 0
    assert verify(station, 2).wrong == []


def test_tune_lists_every_variant_on_everything_and_what_is_out(tmp_path):
    bundle = make_two_variants(tmp_path / "bundle")
    command = [sys.executable, "-m", "edge_agent", "tune", "--bundle", str(bundle.path), "--json"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    names = ["variant", "provider", "device", "threads", "workers"]
    figures = ["ok", "reason", "golden_error", "latency_ms", "fps"]
    assert all(list(one) == names + figures for one in told["candidates"])
    assert list(told["chosen"]) == names
    right = [one for one in told["candidates"] if one["ok"]]
    assert {(one["variant"], one["provider"], one["device"]) for one in right} == {
        (variant, provider, "CPU")
        for variant in ("fp32", "int8")
        for provider in ("cpu", "openvino")
    }
    fastest = max(right, key=lambda one: one["fps"])
    assert told["chosen"] == {name: fastest[name] for name in names}
    (cuda,) = (one for one in told["candidates"] if one["provider"] == "cuda")
    assert (cuda["ok"], cuda["fps"], cuda["variant"]) == (False, None, "-")
    assert "not installed here: pip install 'edge-inspect[gpu]'" in cuda["reason"]
    assert "cuda: not available: not installed here" in done.stderr


def test_tune_says_what_the_agent_would_say(make_station):
    station = make_station(settings(fallback=False, provider="cuda"))
    command = [sys.executable, "-m", "edge_agent", "tune", "--config", str(station.config)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert "cuda          not available: not installed here" in done.stdout
    assert "edge-agent: runtime.provider = 'cuda' is not available" in done.stderr


def test_cuda_is_refused_where_there_is_none_before_anything_is_measured(make_station):
    station = make_station(settings(fallback=False, provider="cuda").replace("workers = 1\n", ""))

    done = run(station.config)

    assert done.returncode == 2, done.stderr
    assert "runtime.provider = 'cuda' is not available: cuda: not installed here: " in done.stderr
    assert "pip install 'edge-inspect[gpu]' in an environment of its own" in done.stderr
    assert "frames/s" not in done.stderr
    assert "worker" not in done.stderr
    assert not (station.state / "cache/tuning.json").exists()


def test_cuda_with_all_given_is_refused_too(make_station):
    station = make_station(settings(fallback=False, provider="cuda"))

    done = run(station.config)

    assert done.returncode == 2, done.stderr
    assert "cuda is not installed here. Found: OpenVINOExecutionProvider, " in done.stderr
    assert "To install it: pip install 'edge-inspect[gpu]'" in done.stderr


def test_cuda_with_fallback_runs_degraded(make_station):
    port = free_port()
    station = make_station(settings(fallback=True, provider="cuda", port=port)).start()
    drop(station, 0, 1)
    at_rest(station, 1)

    told = health(port)
    assert told["status"] == "degraded"
    assert told["reasons"][0].startswith("not as configured: cuda: not installed here: ")
    assert "warning degraded: cuda: not installed here" in station.log
    assert station.stop() == 0


@pytest.mark.broker
def test_degraded_is_told_to_the_plant(make_station, go_wrong, tuned, broker, subscribe):
    subscriber = subscribe(broker.port, "inspection/#")
    mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
    station = make_station(settings(fallback=True) + mqtt)
    shutil.copytree(tuned, station.state / "cache")
    station.start()
    subscriber.wait(lambda got: any(m.topic.endswith("/status") for m in got))
    go_wrong("raise@1")
    drop(station, 0, IMAGES)

    at_rest(station, IMAGES)
    cpu = {"provider": "cpu", "device": "CPU"}
    subscriber.wait(
        lambda got: any(m.topic.endswith("/status") and m.json()["runtime"] == cpu for m in got)
    )

    before, *_, after = (m.json() for m in subscriber.received("/status"))
    assert (before["degraded"], before["runtime"]["provider"]) == (False, "openvino")
    assert (after["degraded"], after["runtime"]["provider"]) == (True, "cpu")
    assert station.stop() == 0
    assert verify(station, IMAGES, subscriber).wrong == []
