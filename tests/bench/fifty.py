"""The fifty lines that one would write, to measure the daemon against.

``python -m tests.bench.fifty MODEL WIDTH HEIGHT FOLDER HOST PORT``: watchdog's ``on_created``, ONNX
Runtime with default options, paho's ``publish``. Nothing is settled, journaled, retried or known
after a crash: it is here for its speed alone.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from PIL import Image
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer


class Inspect(FileSystemEventHandler):
    """Judges what is created."""

    def __init__(self, model: str, size: tuple[int, int], client: Client) -> None:
        self._session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._size = size
        self._client = client

    def on_created(self, event: FileSystemEvent) -> None:
        """Read, decode, resize, infer, publish."""
        path = Path(str(event.src_path))
        image = Image.open(path).convert("RGB").resize(self._size)
        score, _ = self._session.run(["score", "heatmap"], {"image": np.asarray(image)[None]})
        verdict = {"image": {"name": path.name}, "score": float(score[0])}
        self._client.publish("fifty/verdict", json.dumps(verdict), qos=1)


def main() -> None:
    """Watch until killed."""
    model, width, height, folder, host, port = sys.argv[1:]
    client = Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(1000)
    client.connect(host, int(port))
    client.loop_start()
    observer = Observer()
    observer.schedule(Inspect(model, (int(width), int(height)), client), folder)
    observer.start()
    print("ready", flush=True)
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()
