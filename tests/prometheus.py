"""A real Prometheus on a loopback port, that scrapes a station and evaluates the rules we ship."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.broker import free_port
from tests.program import Program

if TYPE_CHECKING:
    from pathlib import Path

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
MISSING = "prometheus is not installed: apt-get install prometheus"


@dataclass
class Prometheus(Program):
    """Scrapes and evaluates every half a second."""

    directory: Path
    target: int
    """The port that is scraped, on loopback."""
    rules: str
    port: int = field(default_factory=free_port)

    def start(self) -> Prometheus:
        """Start it; wait until it answers."""
        assert PROMETHEUS is not None
        (self.directory / "rules.yml").write_text(self.rules)
        config = self.directory / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\n"
            f"rule_files: [{self.directory / 'rules.yml'}]\n"
            "scrape_configs:\n- job_name: edge-agent\n"
            f'  static_configs: [{{targets: ["127.0.0.1:{self.target}"]}}]\n'
        )
        with (self.directory / "prometheus.log").open("wb") as log:
            self._running = subprocess.Popen(
                [
                    PROMETHEUS,
                    f"--config.file={config}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    f"--storage.tsdb.path={self.directory / 'series'}",
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._running.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        return self

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now: ``metric`` (its labels) and ``value``."""
        said = self._get(f"query?{urllib.parse.urlencode({'query': expression})}")
        result: list[dict[str, Any]] = said["result"]
        return result

    def firing(self) -> dict[str, str]:
        """The alerts that fire, by name, with their summary."""
        return {
            alert["labels"]["alertname"]: alert["annotations"]["summary"]
            for alert in self._get("alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def stop(self) -> None:
        self._end(signal.SIGKILL)

    def log(self) -> str:
        return (self.directory / "prometheus.log").read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=20) as a:
                return int(a.status) == 200
        except urllib.error.HTTPError as error:  # 503: it begins
            error.close()
            return False
        except OSError:
            return False

    def _get(self, path: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["data"]
