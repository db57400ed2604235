"""A real Node-RED without its editor, that runs the flow we ship."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.broker import free_port
from tests.docs import REPO
from tests.line import wait_for
from tests.program import Program

if TYPE_CHECKING:
    from pathlib import Path

# make node-red puts it there.
INSTALLED = REPO / "build/node-red/node_modules/.bin/node-red"
NODE_RED = INSTALLED if INSTALLED.exists() else shutil.which("node-red")
MISSING = "Node-RED is not installed: make node-red"
_SETTINGS = """module.exports = {{
  uiHost: "127.0.0.1", uiPort: {port}, httpAdminRoot: false, flowFile: "flow.json",
  credentialSecret: false, mqttReconnectTime: 1000, telemetry: {{ enabled: false }},
  logging: {{ console: {{ level: "info", metrics: false, audit: false }} }},
}};
"""


@dataclass
class NodeRed(Program):
    """Node-RED with a directory of its own."""

    directory: Path
    flow: str
    port: int = field(default_factory=free_port)

    def start(self) -> NodeRed:
        """Start it; wait until its flow runs and has found the broker."""
        assert NODE_RED is not None
        (self.directory / "flow.json").write_text(self.flow)
        (self.directory / "settings.js").write_text(_SETTINGS.format(port=self.port))
        with (self.directory / "node-red.log").open("ab") as log:
            self._running = subprocess.Popen(
                [str(NODE_RED), "--userDir", str(self.directory)],
                cwd=self.directory,
                env={**os.environ, "HOME": str(self.directory)},
                stdout=log,
                stderr=log,
            )

        def connected() -> bool:
            assert self._running.poll() is None, self.log()
            return "Connected to broker" in self.log()

        wait_for(connected, 120)
        return self

    def log(self) -> str:
        return (self.directory / "node-red.log").read_text(errors="replace")

    def stop(self) -> None:
        self._end(signal.SIGTERM)
