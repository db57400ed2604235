"""No library of ours tells its maker about the plant."""

from __future__ import annotations

import subprocess
import sys


def test_onnxruntime_is_told_to_be_silent_before_it_is_loaded():
    code = (
        "import sys, edge_agent.engine.runtime.session, os\n"
        "assert 'onnxruntime' in sys.modules\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    command = [sys.executable, "-c", code]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(filter(None, sys.path))}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert done.stdout == "1\n"
