"""The worked example of docs/mqtt.md, as it stands there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.bundles import make_image
from tests.line import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.broker]

PAGE = Path(__file__).parents[2] / "docs" / "mqtt.md"


def test_the_worked_example(make_station, broker, tmp_path):
    if not shutil.which("mosquitto_rr"):
        pytest.skip("mosquitto_rr is not installed: apt-get install mosquitto-clients")
    text = PAGE.read_text()
    toml, commands = text[text.index("## Try it") :].split("```toml\n")[1].split("```sh\n")
    settings = toml.partition("```")[0].replace("[mqtt]\n", f"[mqtt]\nport = {broker.port}\n")
    commands = commands.partition("```")[0]
    port = rf"\g<0>-p {broker.port} "
    script, count = re.subn(r"^mosquitto_\w+ ", port, commands, flags=re.MULTILINE)
    assert count == commands.count("mosquitto_")
    (tmp_path / "part.png").write_bytes(make_image(defect=True))
    station = make_station(source=settings).start()
    for client in ("edge-agent-site-line-station", "edge-agent-site-line-station-source"):
        wait_for(lambda c=client: f"SUBACK to {c}\n" in broker.log())
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer, pause, resume, first, second, replay, again = map(json.loads, done.stdout.splitlines())
    assert (answer["verdict"], answer["image"]["name"]) == ("defect", "top-7")
    assert (pause["detail"], resume["detail"]) == ({"paused": True}, {"paused": False})
    assert (first, again) == (answer, answer)
    assert (second["image"]["name"], second["captured"]) == (
        "part 8.png",
        "2026-11-24T08:00:00.000Z",
    )
    assert replay["detail"]["messages"] == 1
    assert station.stop() == 0
