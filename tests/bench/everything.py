"""All of the speed and memory figures, in one run, as a page.

``python -m tests.bench.everything BUNDLE IMAGES [--out FILE] [--share F]``; `make bench` runs it.
Needs mosquitto. Takes about half an hour on two cores; ``--share 0.1`` does a tenth of each count.
Without torch the script that the product began as is left out. Two things that are compared take
turns within the run, and their ratio is what counts: machines are noisy.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from PIL import Image

from edge_agent.bench.report import run_bench
from edge_agent.bench.whole import Plant, a_broker
from edge_agent.bundle import open_bundle
from edge_agent.engine.tuning.candidates import Candidate
from edge_agent.settings import RuntimeSettings
from edge_agent.types.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

SETS = {"500 x 1250 JPEG": ((500, 1250), ".jpg"), "230 x 630 PNG": ((230, 630), ".png")}
ROUNDS = 3
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--share", type=float, default=1.0)
    given = parser.parse_args()
    lines: list[str] = []

    def say(line: str = "") -> None:
        print(line, flush=True)
        lines.append(line)

    with tempfile.TemporaryDirectory(prefix="everything-") as place:
        scratch = Path(place)
        sets = {name: resized(given.images, scratch, *what) for name, what in SETS.items()}
        measure(given.bundle, sets, scratch, given.share, say)
    if given.out:
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure(bundle: Path, sets: dict[str, Path], scratch: Path, share: float, say: Any) -> None:
    """Every section in turn."""
    manifest = open_bundle(bundle, graphs=False).manifest
    size = f"{manifest.preprocess.width} x {manifest.preprocess.height}"
    say("# Benchmarks")
    say()
    say(
        "Written by `make bench BUNDLE=RUN/bundle IMAGES=FOLDER OUT=docs/benchmarks.md`; what was "
        "compared with what is said beside each figure. Broker and subscriber run on the same "
        "cores."
    )
    say()
    say(f"- machine: {machine()}")
    say(f"- bundle: {manifest.name} {manifest.version}, {size}; AP by variant: {accuracy(bundle)}")
    say(f"- images: {', '.join(sets)}")
    say()
    candidate = choice(bundle, say)
    for name, folder in sets.items():
        sustained(bundle, folder, name, candidate, share, say)
    jpegs = sorted(next(iter(sets.values())).iterdir())
    with a_broker(None, scratch) as address:
        backlog(bundle, jpegs, candidate, share, scratch, address, say)
        start(bundle, scratch, address, say)
        rivals(bundle, jpegs, candidate, share, scratch, address, say)


def choice(bundle: Path, say: Any) -> Candidate:
    """Measure the candidates twice; what the first run chose, in the eyes of the second."""
    first, second = tune(bundle), tune(bundle)
    say("## Choice of the execution provider")
    say()
    say("`edge-agent tune`, twice. Frames/s are of all workers together, on one fitted image.")
    say()
    say("| candidate | 1st run, frames/s | 2nd run, frames/s | latency, ms | |")
    say("|---|---|---|---|---|")
    again = {candidate_of(one): one for one in second["candidates"]}
    chosen = candidate_of(first["chosen"])
    for one in first["candidates"]:
        if not one["ok"]:
            say(f"| {candidate_of(one).provider} | out | | | {one['reason']} |")
            continue
        other = again[candidate_of(one)]
        mark = "chosen" if candidate_of(one) == chosen else ""
        say(
            f"| {candidate_of(one)} | {one['fps']:.1f} | {other['fps']:.1f} "
            f"| {one['latency_ms']:.1f} | {mark} |"
        )
    best = max(one["fps"] for one in second["candidates"] if one["ok"])
    say()
    say(f"The first run's choice does {again[chosen]['fps'] / best:.1%} of the second's best.")
    say()
    return chosen


def sustained(
    bundle: Path, folder: Path, name: str, candidate: Candidate, share: float, say: Any
) -> None:
    """The daemon beside the bare loop."""
    found = run_bench(
        bundle,
        folder,
        count=max(50, int(2000 * share)),
        unloaded=max(10, int(40 * share)),
        pause=1.0,
        runtime=runtime_of(candidate),
        broker=None,
        tell=lambda what: print(what, file=sys.stderr, flush=True),
    )
    figures = found.as_json()
    say(f"## Folder to subscriber: {name}")
    say()
    say(f"{found.images} images with {found.candidate}, beside the bare loop (read, decode,")
    say("preprocess, infer and nothing else, in as many processes), before and after. Unloaded:")
    say("one image a second, the bare loop at the same pace in one process.")
    say()
    say("| | |")
    say("|---|---|")
    say(f"| the bare loop | {found.ceiling_fps:.1f} frames/s |")
    say(f"| the daemon | {found.agent_fps:.1f} frames/s: {figures['ratio']:.1%} |")
    say(f"| memory, daemon and workers (PSS) | {found.pss_mb[0]} MB, then {found.pss_mb[1]} MB |")
    over = found.overhead_ms
    say(f"| unloaded: over the bare loop | p50 {over['p50']} ms, p95 {over['p95']} ms |")
    for stage, ms in found.latency_ms.items():
        say(f"| unloaded: {stage} | p50 {ms['p50']} ms, p95 {ms['p95']} ms, p99 {ms['p99']} ms |")
    say()


def backlog(
    bundle: Path,
    images: list[Path],
    candidate: Candidate,
    share: float,
    scratch: Path,
    address: tuple[str, int],
    say: Any,
) -> None:
    """A small backlog, a large one, a small one again; and memory."""
    small, large = max(50, int(1000 * share)), max(200, int(20_000 * share))
    with closing(Plant(scratch / "many", bundle, candidate, address)) as plant:
        before = plant.sustain(cycled(images, small))
        whole = plant.sustain(cycled(images, large))
        after = plant.sustain(cycled(images, small))
    shutil.rmtree(scratch / "many")
    fair = 2 / (1 / before.fps + 1 / after.fps)
    one = replace(candidate, workers=1)
    with closing(Plant(scratch / "one", bundle, one, address)) as plant:
        alone = plant.sustain(cycled(images, small))
    first, last = whole.pss_mb
    say("## Backlog and memory")
    say()
    say("| | |")
    say("|---|---|")
    say(f"| backlog of {small}, before and after | {before.fps:.1f}, {after.fps:.1f} frames/s |")
    say(f"| backlog of {large} | {whole.fps:.1f} frames/s: {whole.fps / fair:.1%} |")
    say(
        f"| PSS, daemon and {candidate.workers} workers | {first} MB after {large // 10} images, "
        f"{last} MB after {large}: {last / first - 1:+.1%} |"
    )
    say(f"| PSS, daemon and one worker | {alone.pss_mb[1]} MB after {small} |")
    say()


def start(bundle: Path, scratch: Path, address: tuple[str, int], say: Any) -> None:
    """From exec to ready, with the choice and the compiled models cached."""
    home = scratch / "start"
    (home / "inbox").mkdir(parents=True)
    config = home / "station.toml"
    config.write_text(
        f"bundle = {json.dumps(str(bundle.resolve()))}\n"
        '[source.folder]\npath = "inbox"\n[storage]\nroot = "state"\n'
        f'[mqtt]\nhost = "{address[0]}"\nport = {address[1]}\n',
        encoding="utf-8",
    )
    seconds = [ready_after(config) for _ in range(6)]
    say("## Start")
    say()
    say(
        f"From exec to ready with `provider = auto`: {seconds[0]:.1f} s at the first start, which "
        f"measures; {statistics.median(seconds[1:]):.2f} s with the cached choice "
        f"(median of {len(seconds) - 1}, the longest {max(seconds[1:]):.2f} s)."
    )
    say()


def rivals(
    bundle: Path,
    images: list[Path],
    candidate: Candidate,
    share: float,
    scratch: Path,
    address: tuple[str, int],
    say: Any,
) -> None:
    """The daemon, the fifty lines and the old script, in turns."""
    count = max(50, int(600 * share))
    daemon, fifty, eager = [], [], []
    variant = open_bundle(bundle, graphs=False).variant(candidate.variant)
    for _ in range(ROUNDS):
        fifty.append(fifty_lines(bundle, variant.file, cycled(images, count), scratch, address))
        with closing(Plant(scratch / "daemon", bundle, candidate, address)) as plant:
            daemon.append(plant.sustain(cycled(images, count)).fps)
        shutil.rmtree(scratch / "daemon")
        if importlib.util.find_spec("torch"):
            eager.append(old_script(cycled(images, count // 2)))
    ours = statistics.median(daemon)
    say("## Beside what one would write")
    say()
    say(f"{count} images, {ROUNDS} rounds in turns; medians.")
    say()
    say("| | frames/s | the daemon against it |")
    say("|---|---|---|")
    say(f"| the daemon, folder to subscriber, {candidate} | {ours:.1f} | |")
    lines = statistics.median(fifty)
    say(
        f"| fifty lines (tests/bench/fifty.py): watchdog, the same {variant.file} on ONNX "
        f"Runtime's CPU provider with default options, paho | {lines:.1f} | {ours / lines:.2f} x |"
    )
    if eager:
        script = statistics.median(eager)
        say(
            "| the script this began as (tests/bench/eager.py): PyTorch eager, EfficientNet-B0 "
            f"at 224 x 224, no watching, no publishing | {script:.1f} | {ours / script:.2f} x |"
        )
    say()


# -- the parts -----------------------------------------------------------------------------------


def fifty_lines(
    bundle: Path, model: str, images: list[Path], scratch: Path, address: tuple[str, int]
) -> float:
    """Frames/s, from the first file that is renamed in to the last message at a subscriber."""
    inbox, aside = scratch / "fifty", scratch / "fifty aside"
    inbox.mkdir()
    aside.mkdir()
    names = []
    for number, image in enumerate(images):
        names.append(f"{number:06}{image.suffix}")
        shutil.copyfile(image, aside / names[-1])
    spec = open_bundle(bundle, graphs=False).manifest.preprocess
    size = [str(spec.width), str(spec.height)]
    order = [sys.executable, "-m", "tests.bench.fifty", str(bundle / model), *size, str(inbox)]
    with counting("fifty/verdict", len(names), address) as done:
        program = subprocess.Popen([*order, address[0], str(address[1])], stdout=subprocess.PIPE)
        try:
            assert program.stdout is not None
            program.stdout.readline()
            started = time.perf_counter()
            for name in names:
                (aside / name).rename(inbox / name)
            if not done.wait(600):
                raise RuntimeError("the fifty lines lost an image")
            seconds = time.perf_counter() - started
        finally:
            program.kill()
            program.wait()
    shutil.rmtree(inbox)
    shutil.rmtree(aside)
    return len(names) / seconds


@contextmanager
def counting(topic: str, count: int, address: tuple[str, int]) -> Iterator[threading.Event]:
    """Set when so many messages have come."""
    done, seen = threading.Event(), []
    subscribed = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)

    def on_message(*_: object) -> None:
        seen.append(None)
        if len(seen) == count:
            done.set()

    client.on_message = on_message
    client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect(*address)
    client.loop_start()
    try:
        subscribed.wait(30)
        yield done
    finally:
        client.disconnect()
        client.loop_stop()


def old_script(images: list[Path]) -> float:
    """Images/s of `tests.bench.eager`."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.bench.eager"],
        input="\n".join(map(str, images)),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(ended.stdout)


def ready_after(config: Path) -> float:
    """Seconds from exec to the line that says so."""
    started = time.perf_counter()
    daemon = subprocess.Popen(
        [sys.executable, "-m", "edge_agent", "run", "--config", str(config)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert daemon.stderr is not None
        for line in daemon.stderr:
            if "ready: " in line:
                return time.perf_counter() - started
        raise RuntimeError("the agent did not start")
    finally:
        daemon.terminate()
        daemon.communicate(timeout=60)


def tune(bundle: Path) -> dict[str, Any]:
    """What ``edge-agent tune --json`` says."""
    ended = subprocess.run(
        [sys.executable, "-m", "edge_agent", "tune", "--bundle", str(bundle), "--json"],
        stdout=subprocess.PIPE,
        check=True,
    )
    return dict(json.loads(ended.stdout))


def candidate_of(one: dict[str, Any]) -> Candidate:
    """A line of the table, or the choice."""
    target = Target(one["provider"], one["device"]).name
    return Candidate(one["variant"], target, one["threads"], one["workers"])


def runtime_of(candidate: Candidate) -> RuntimeSettings:
    """Settings that name it."""
    return RuntimeSettings(
        provider=candidate.provider,
        variant=candidate.variant,
        threads=candidate.threads,
        workers=candidate.workers,
    )


def cycled(images: list[Path], count: int) -> list[Path]:
    """So many, over and over."""
    return [images[n % len(images)] for n in range(count)]


def resized(images: Path, scratch: Path, size: tuple[int, int], suffix: str) -> Path:
    """The images at one size, in one format; those that have both already are copied."""
    folder = scratch / suffix[1:]
    folder.mkdir()
    found = sorted(p for p in images.rglob("*") if p.suffix.lower() in _SUFFIXES)
    for number, path in enumerate(
        p for p in found if "label" not in p.name and "_GT" not in p.name
    ):
        target = folder / f"{number:05}{suffix}"
        with Image.open(path) as image:
            if (
                path.suffix == suffix
                and abs(image.width - size[0]) + abs(image.height - size[1]) < 60
            ):
                shutil.copyfile(path, target)
            else:
                image.resize(size).save(target, quality=92)
    return folder


def accuracy(bundle: Path) -> str:
    """Of each variant, as the manifest has it."""
    variants = open_bundle(bundle, graphs=False).manifest.variants
    return ", ".join(f"{one.name} {one.accuracy.ap:.4f}" for one in variants if one.accuracy)


def machine() -> str:
    """Processor, cores, memory, and the libraries that matter."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    flags = next((line for line in lines if line.startswith("flags")), "")
    vnni = "with" if "vnni" in flags else "without"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    wheels = [
        f"{name} {metadata.version(name)}"
        for name in ("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu", "torch")
        if importlib.util.find_spec(name.split("-")[0]) and _installed(name)
    ]
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores {vnni} VNNI, {memory:.0f} GB, "
        f"Python {platform.python_version()}, {', '.join(wheels)}; no GPU, no NPU"
    )


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
