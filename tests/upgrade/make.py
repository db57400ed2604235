"""Leave a station behind as an earlier version would: its code is what runs here, not today's.

``python -m tests.upgrade.make CHECKOUT OUT``: CHECKOUT is a work tree of the earlier version, OUT
is new. The station has judged five images while its broker was there or away, and was killed
while a sixth was with its worker. A seventh waits in the inbox.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import psutil

from tests.broker import Broker
from tests.bundles import make_image
from tests.line import wait_for

SETTINGS = """\
bundle = "bundle"

[station]
site = "plant"
line = "line 1"
name = "camera"

[source.folder]
path = "inbox"

[storage]
root = "state"

[worker]
retry_truncated = 0.5

[mqtt]
host = "127.0.0.1"
port = {port}
"""
BUNDLE = """\
from pathlib import Path
from tests.bundles import make_bundle
make_bundle(Path("bundle"))
"""
# What an earlier program makes for itself at each start, or is of no use without its process.
NOT_KEPT = ("lock", "journal.db-shm", "cache")


def main() -> int:
    checkout, out = (Path(argument).resolve() for argument in sys.argv[1:])
    theirs = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        (home / "broker").mkdir()
        broker = Broker(home / "broker").start()
        (home / "inbox").mkdir()
        (home / "station.toml").write_text(SETTINGS.format(port=broker.port))
        subprocess.run([sys.executable, "-c", BUNDLE], cwd=home, env=theirs, check=True)
        with (home / "agent.log").open("wb") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "edge_agent", "run", "--config", "station.toml"],
                cwd=home, env=theirs, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            wait_for(lambda: b"ready: " in (home / "agent.log").read_bytes())
            drop(home, "1-ok.png", make_image(defect=False, seed=1))
            drop(home, "2-defect.png", make_image(defect=True, seed=2))
            drop(home, "3-broken.png", b"no picture")
            wait_for(lambda: count(home, "outbox WHERE acknowledged IS NOT NULL") == 3)
            broker.stop()
            drop(home, "4-ok.png", make_image(defect=False, seed=4))
            drop(home, "5-defect.png", make_image(defect=True, seed=5))
            wait_for(lambda: count(home, "inspections") == 5 and not claimed(home))
            for worker in psutil.Process(daemon.pid).children():
                worker.send_signal(signal.SIGSTOP)
            drop(home, "6-defect.png", make_image(defect=True, seed=6))
            wait_for(lambda: claimed(home))
        finally:
            workers = psutil.Process(daemon.pid).children()
            daemon.kill()
            daemon.wait()
            for worker in workers:
                worker.kill()
            broker.kill()
        (home / "inbox" / "7-ok.png").write_bytes(make_image(defect=False, seed=7))
        keep(home, out)
    return 0


def drop(home: Path, name: str, content: bytes) -> None:
    (home / ".dropping").write_bytes(content)
    (home / ".dropping").rename(home / "inbox" / name)


def count(home: Path, what: str) -> int:
    # A reader: a writer's last connection would write the WAL back at its end.
    with closing(sqlite3.connect(f"file:{home / 'state/journal.db'}?mode=ro", uri=True)) as db:
        return int(db.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


def claimed(home: Path) -> list[Path]:
    return list((home / "state" / "work").iterdir())


def keep(home: Path, out: Path) -> None:
    """The station's own files; not the broker's, and nothing that a port or a path is in."""
    port = (home / "station.toml").read_text().split("port = ")[1].strip()
    out.mkdir(parents=True)
    for name in ("bundle", "inbox", "state"):
        shutil.copytree(home / name, out / name, ignore=shutil.ignore_patterns(*NOT_KEPT))
    settings = (home / "station.toml").read_text()
    (out / "station.toml").write_text(settings.replace(f"port = {port}", "port = 1883"))
    log = (home / "agent.log").read_text()
    (out / "agent.log").write_text(log.replace(str(home), "STATION").replace(port, "1883"))


if __name__ == "__main__":
    sys.exit(main())
