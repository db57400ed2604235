"""What we ship for Prometheus and Grafana, with a real Prometheus and a running station."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.broker import free_port
from tests.bundles import make_image
from tests.integration.conftest import QUICK
from tests.line import wait_for
from tests.prometheus import MISSING, PROMETHEUS, PROMTOOL, Prometheus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.line import Station

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROMETHEUS is None or PROMTOOL is None, reason=MISSING),
]

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "edge-agent.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "edge-agent.json"
ONLY_WITH_A_GPU = 'edge_agent_gpu_memory_bytes{instance=~".*"}'


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[..., Prometheus]]:
    made: list[Prometheus] = []

    def make(target: int, rules: str) -> Prometheus:
        directory = tmp_path / "prometheus"
        directory.mkdir()
        made.append(Prometheus(directory, target, rules))
        return made[-1].start()

    yield make
    for one in made:
        one.stop()


def queries() -> list[str]:
    """Every query of the dashboard, its variables filled in."""
    found = [
        target["expr"]
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel["targets"]
    ]
    for variable, value in (("$instance", ".*"), ("$__rate_interval", "1m"), ("$__range", "1h")):
        found = [query.replace(variable, value) for query in found]
    assert not [query for query in found if "$" in query]
    return found


def test_a_station_is_scraped_drawn_and_alarmed_about(
    make_station: Callable[..., Station], watched: Callable[..., Prometheus]
) -> None:
    port, nobody = free_port(), free_port()
    station = make_station(
        f"{QUICK}[http]\nport = {port}\n"
        f'[mqtt]\nhost = "127.0.0.1"\nport = {nobody}\n'  # so that not all is well
    ).start()
    # As shipped, but for how long it has to last.
    rules, changed = re.subn(r"\bfor: \d+m", "for: 1s", RULES.read_text())
    assert changed > 5
    prometheus = watched(port, rules)
    inspections = 'sum(edge_agent_inspections_total{job="edge-agent"})'
    wait_for(lambda: prometheus.query(inspections))
    for number in range(12):
        station.drop(f"{number}.png", make_image(defect=number < 3, seed=number))
    wait_for(lambda: float(prometheus.query(inspections)[0]["value"][1]) == 12)

    wait_for(lambda: "EdgeAgentDegraded" in prometheus.firing())
    assert "not all is well" in prometheus.firing()["EdgeAgentDegraded"]
    for query in queries():
        if query != ONLY_WITH_A_GPU:
            wait_for(lambda query=query: prometheus.query(query))  # a rate needs two scrapes
        else:
            assert prometheus.query(query) == []
    assert not {"EdgeAgentFailing", "EdgeAgentDown"} & prometheus.firing().keys()

    assert station.stop() == 0
    wait_for(lambda: "EdgeAgentDown" in prometheus.firing())


def promtool(*arguments: str | Path) -> str:
    found = subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_the_files_are_valid() -> None:
    assert "SUCCESS" in promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")


SERIES = """
      - series: 'edge_agent_inspections_total{{instance="s", verdict="ok"}}'
        values: '{ok}'
      - series: 'edge_agent_inspections_total{{instance="s", verdict="defect"}}'
        values: '{defect}'
      - series: 'edge_agent_inspections_total{{instance="s", verdict="error"}}'
        values: '{error}'
      - series: 'edge_agent_waiting_images{{instance="s"}}'
        values: '{waiting}'
      - series: 'edge_agent_work_images{{instance="s"}}'
        values: '{work}'
      - series: 'edge_agent_outbox_messages{{instance="s"}}'
        values: '{outbox}'
      - series: 'edge_agent_failing{{instance="s"}}'
        values: '{failing}'
      - series: 'edge_agent_silent{{instance="s"}}'
        values: '{silent}'
      - series: 'edge_agent_degraded{{instance="s"}}'
        values: '{degraded}'
      - series: 'edge_agent_paused{{instance="s"}}'
        values: '{paused}'
      - series: 'edge_agent_worker_restarts_total{{instance="s"}}'
        values: '{restarts}'
      - series: 'process_start_time_seconds{{instance="s", job="edge-agent"}}'
        values: '{started}'
      - series: 'edge_agent_drifting{{instance="s", figure="sharpness"}}'
        values: '{drifting}'
      - series: 'edge_agent_disk_free_bytes{{instance="s", place="state"}}'
        values: '{free}'
      - series: 'edge_agent_disk_size_bytes{{instance="s", place="state"}}'
        values: '100x800'
"""
DAY = 24 * 12  # steps of five minutes
# 60 images in five minutes, 2 % defects, for two days and a half: nothing is wrong.
WELL = {
    "ok": "0+59x800", "defect": "0+1x800", "error": "0x800", "waiting": "1x800", "work": "1x800",
    "outbox": "3x800", "failing": "0x800", "silent": "0x800", "degraded": "0x800",
    "restarts": "0x800", "drifting": "0x800", "paused": "0x800", "free": "60x800",
    "started": "0x800",
}  # fmt: skip
# Each the same until two days have passed, and then something else.
WRONG = {
    "EdgeAgentNotInspecting": {
        "ok": f"0+59x{2 * DAY} {59 * 2 * DAY}x200", "defect": f"0+1x{2 * DAY} {2 * DAY}x200",
    },
    "EdgeAgentFailing": {"failing": f"0x{2 * DAY} 1x200", "degraded": f"0x{2 * DAY} 1x200"},
    "EdgeAgentSilent": {
        "failing": f"0x{2 * DAY} 1x200", "degraded": f"0x{2 * DAY} 1x200",
        "silent": f"0x{2 * DAY} 1x200", "ok": f"0+59x{2 * DAY} {59 * 2 * DAY}x200",
        "defect": f"0+1x{2 * DAY} {2 * DAY}x200", "waiting": "0x800", "work": "0x800",
    },
    "EdgeAgentDegraded": {"degraded": f"0x{2 * DAY} 1x200"},
    "EdgeAgentOutboxGrowing": {"outbox": f"3x{2 * DAY} 3+60x200"},
    "EdgeAgentDiskAlmostFull": {"free": f"60x{2 * DAY} 9x200"},
    "EdgeAgentDiskFullSoon": {"free": f"60x{2 * DAY} 60-0.3x200"},
    "EdgeAgentDefectRateUnusual": {"defect": f"0+1x{2 * DAY} {2 * DAY}+9x200"},
    "EdgeAgentErrors": {"error": f"0x{2 * DAY} 0+6x200"},
    "EdgeAgentWorkersDie": {"restarts": f"0x{2 * DAY} 0+2x200"},
    "EdgeAgentRestarts": {"started": f"0x{2 * DAY} 0+300x200"},
    "EdgeAgentDrift": {"drifting": f"0x{2 * DAY} 1x200"},
}  # fmt: skip


@pytest.mark.parametrize("alert", sorted(WRONG))
def test_each_alert_fires_for_what_it_is_for_and_no_other(alert: str, tmp_path: Path) -> None:
    """By Prometheus' own engine, on its own clock: two days and a half in a moment."""
    at = 2 * DAY * 5 + 600  # minutes: ten hours after it went wrong
    alone = (*WRONG, "EdgeAgentDown")
    before = "".join(_expect(name, 2 * DAY * 5 - 10, fires=False) for name in alone)
    after = "".join(_expect(name, at, fires=name == alert) for name in alone)
    file = tmp_path / "test.yml"
    file.write_text(
        f"rule_files: [{RULES}]\nevaluation_interval: 5m\ntests:\n"
        "  - interval: 5m\n    input_series:"
        + SERIES.format(**{**WELL, **WRONG[alert]})
        + "    promql_expr_test:\n"
        + before
        + after
    )
    assert "SUCCESS" in promtool("test", "rules", file)


def test_a_pause_is_no_failure(tmp_path: Path) -> None:
    idle = {**WELL, **WRONG["EdgeAgentNotInspecting"]}
    for paused, fires in (("0x800", True), (f"0x{2 * DAY} 1x200", False)):
        file = tmp_path / "test.yml"
        file.write_text(
            f"rule_files: [{RULES}]\nevaluation_interval: 5m\ntests:\n"
            "  - interval: 5m\n    input_series:"
            + SERIES.format(**{**idle, "paused": paused})
            + "    promql_expr_test:\n"
            + _expect("EdgeAgentNotInspecting", 2 * DAY * 5 + 600, fires=fires)
        )
        assert "SUCCESS" in promtool("test", "rules", file)


def _expect(alert: str, minutes: int, *, fires: bool) -> str:
    expression = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    samples = "[{labels: '{}', value: 1}]" if fires else "[]"
    return (
        f"      - expr: '{expression}'\n        eval_time: {minutes}m\n"
        f"        exp_samples: {samples}\n"
    )
