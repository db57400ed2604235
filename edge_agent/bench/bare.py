"""The ceiling: read, decode, preprocess, infer and nothing else, in as many processes as workers.

``python -m edge_agent.bench.bare`` takes its orders as JSON on stdin and answers on stdout.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.bundle.preprocess import MAX_PIXELS
from edge_agent.settings import SettingsError
from edge_agent.system.child import python_module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.bundle import Bundle
    from edge_agent.engine.tuning.candidates import Candidate

_LIMIT = 3600.0


@dataclass(frozen=True)
class Bare:
    """What the bare loop did."""

    fps: float
    milliseconds: dict[str, float]
    """By image, when one process alone judged them one after the other; empty otherwise."""


def run_bare(
    bundle: Bundle,
    candidate: Candidate,
    images: Sequence[Path],
    processes: int,
    pause: float = 0.0,
    max_pixels: int = MAX_PIXELS,
) -> Bare:
    """Judge ``images`` in ``processes`` processes that begin together.

    Args:
        bundle: what is run, verified.
        candidate: how.
        images: each process takes its share.
        processes: so many.
        pause: seconds between two images: after a rest the processor's caches are cold.
        max_pixels: as a station's.

    Raises:
        SettingsError: an image can't be judged.
        RuntimeError: a process failed; its last words.
    """
    order = {
        "bundle": str(bundle.path),
        "digest": bundle.digest,
        "variant": candidate.variant,
        "provider": candidate.provider,
        "threads": candidate.threads,
        "pause": pause,
        "max_pixels": max_pixels,
    }
    running = [
        _begin({**order, "images": [str(image) for image in images[n::processes]]})
        for n in range(processes)
    ]
    for loop in running:
        assert loop.stdout is not None
        if loop.stdout.readline().strip() != "ready":
            raise RuntimeError(f"the bare loop failed: {loop.communicate()[1].strip()[-500:]}")
    started = time.perf_counter()
    for loop in running:
        assert loop.stdin is not None
        loop.stdin.write("go\n")
        loop.stdin.flush()
    milliseconds: dict[str, float] = {}
    for loop in running:
        assert loop.stdout is not None
        answer = loop.stdout.readline()
        if not answer:
            raise SettingsError(loop.communicate()[1].strip()[-500:])
        milliseconds |= json.loads(answer)
    seconds = time.perf_counter() - started
    for loop in running:
        loop.communicate(timeout=_LIMIT)
    return Bare(len(images) / seconds, milliseconds if processes == 1 else {})


def _begin(order: dict[str, object]) -> subprocess.Popen[str]:
    loop = subprocess.Popen(
        python_module("edge_agent.bench.bare"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert loop.stdin is not None
    loop.stdin.write(json.dumps(order) + "\n")
    loop.stdin.flush()
    return loop


def main() -> None:
    """One process of the loop."""
    from edge_agent.bundle import look_at_bundle
    from edge_agent.bundle.preprocess import DecodeError, decode_for, fit
    from edge_agent.engine.runtime.session import Execution
    from edge_agent.engine.worker.predictor import Predictor
    from edge_agent.types.target import parse_target

    order = json.loads(sys.stdin.readline())
    execution = Execution(parse_target(order["provider"]), order["threads"])
    bundle = look_at_bundle(Path(order["bundle"]), digest=order["digest"])
    predictor = Predictor(bundle, order["variant"], execution)
    predictor.prove()
    print("ready", flush=True)
    sys.stdin.readline()
    milliseconds = {}
    for image in order["images"]:
        time.sleep(order["pause"])
        began = time.perf_counter()
        try:
            data = Path(image).read_bytes()
            frame = decode_for(predictor.preprocess, data, max_pixels=order["max_pixels"])
        except DecodeError as error:
            sys.exit(f"{image}: {error}")
        except OSError as error:
            sys.exit(f"{image} can't be read: {error.strerror}")
        predictor.predict(fit(frame, predictor.preprocess).tensor[None])
        milliseconds[image] = (time.perf_counter() - began) * 1e3
    print(json.dumps(milliseconds), flush=True)


if __name__ == "__main__":
    main()
