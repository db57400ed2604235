"""Another bundle, under load: taken whole or not at all, and every row names what judged it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import numpy_helper

from edge_agent.bundle import Decision, Golden, write_bundle
from edge_agent.bundle.signature import make_keys, sign
from tests.bundles import make_image, make_manifest, make_model
from tests.integration.conftest import children_of
from tests.line import Station, verify, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx

pytestmark = pytest.mark.slow

COUNT = 30
QUICK = "[worker]\nretry_truncated = 0.5\n"


def write(path: Path, **changes: Any) -> Path:
    """A bundle that differs from the fixture's."""
    manifest, files = make_manifest(make_model(), **changes)
    return write_bundle(path, manifest, files).path


def swap(station: Station, bundle: Path, more: str = "") -> str:
    """Name another bundle in the settings and SIGHUP; what the daemon then said of it."""
    said = len(station.log)
    text = station.config.read_text()
    first, rest = text.split("\n", 1)
    assert first.startswith("bundle = ")
    station.config.write_text(f'bundle = "{bundle}"\n{rest}\n{more}')
    station.daemon.send_signal(signal.SIGHUP)
    wait_for(lambda: "reloaded" in station.log[said:])
    return station.log[said:]


def load(station: Station, first: int) -> None:
    for number in range(first, first + COUNT):
        station.drop(f"{number:04}.png", make_image(defect=number % 4 == 0, seed=number))


def at_rest(station: Station, count: int) -> None:
    wait_for(lambda: len(station.rows()) >= count)
    wait_for(lambda: not list((station.state / "work").iterdir()))


def score_half(model: onnx.ModelProto) -> None:
    (factor,) = (one for one in model.graph.initializer if one.name == "eight")
    factor.CopyFrom(numpy_helper.from_array(np.array(4.0, np.float32), "eight"))


def write_half(path: Path, **changes: Any) -> Path:
    """A bundle whose model gives a defect the score of 2/3 and not of 1."""
    manifest, files = make_manifest(make_model(edit=score_half), **changes)
    ok, defect = manifest.golden
    golden = ok, defect.model_copy(update={"scores": {"fp32": 2 / 3}})
    return write_bundle(path, manifest.model_copy(update={"golden": golden}), files).path


def test_a_valid_one_takes_over_between_two_frames(make_station, tmp_path):
    station = make_station().start()
    load(station, 0)
    wait_for(lambda: len(station.rows()) > 5)
    said = swap(station, write_half(tmp_path / "new", version="1.1.0", decision=Decision(
        threshold=0.25, rule="by hand"
    )))  # fmt: skip
    load(station, COUNT)
    at_rest(station, 2 * COUNT)

    was, new = (sha256((path / "manifest.json").read_bytes()).hexdigest() for path in (
        station.bundle, tmp_path / "new"
    ))  # fmt: skip
    assert (
        f"reloaded: dark 1.1.0 ({new[:12]}), threshold 0.2500, "
        f"before: dark 1.0.0 ({was[:12]}), threshold 0.5000"
    ) in said
    assert station.stop() == 0
    assert "is replaced" not in station.log  # the one that proved it went on and judged
    assert "Traceback" not in station.log
    assert verify(station, 2 * COUNT).wrong == []
    rows = station.rows()
    judged = [(row["version"], row["threshold"], row["digest"]) for row in rows]
    assert set(judged) == {("1.0.0", 0.5, was), ("1.1.0", 0.25, new)}
    assert judged == sorted(judged)  # one after the other, never mixed
    # Nor does a row name another model than the one that gave the score.
    defects = [row for row in rows if row["verdict"] == "defect"]
    assert len(defects) == len(rows) // 4
    for row in defects:
        assert row["score"] == pytest.approx({"1.0.0": 1.0, "1.1.0": 2 / 3}[row["version"]])
    station.start()  # the new one is what it starts with, too
    assert station.stop() == 0


def truncated(bundle: Path) -> None:
    model = bundle / "model.fp32.onnx"
    model.write_bytes(model.read_bytes()[:-100])


def of_another_hash(bundle: Path) -> None:
    model = bundle / "model.fp32.onnx"
    content = bytearray(model.read_bytes())
    content[-20] ^= 1
    model.write_bytes(content)


def leading_outside(bundle: Path) -> None:
    text = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(text.replace("model.fp32.onnx", "../model.fp32.onnx"))


def missing(bundle: Path) -> None:
    shutil.rmtree(bundle)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (truncated, "bytes, the manifest says"),
        (of_another_hash, "was changed or damaged"),
        (leading_outside, "is not a plain path inside the bundle"),
        (missing, "does not exist"),
    ],
)
def test_a_damaged_one_changes_nothing(make_station, tmp_path, harm, said):
    refuse(make_station, write(tmp_path / "new", version="1.1.0"), said, harm)


def test_one_with_a_wrong_golden_score_changes_nothing(make_station, tmp_path):
    manifest, files = make_manifest(make_model(), version="1.1.0")
    lying = tuple(
        Golden.model_validate({**one.model_dump(), "scores": {"fp32": 0.5}})
        for one in manifest.golden
    )
    new = write_bundle(tmp_path / "new", manifest.model_copy(update={"golden": lying}), files).path

    refuse(make_station, new, "it must be 0.5000 within 0.01")


def test_an_older_one_changes_nothing_unless_it_is_allowed(make_station, tmp_path):
    old = write(tmp_path / "old", version="0.9.0")

    station = refuse(make_station, old, "dark 0.9.0 is older than 1.0.0, which ran here last")

    assert "reloaded: dark 0.9.0" in swap(station, old, "[trust]\nallow_downgrade = true\n")


def test_signatures_are_asked_for_at_a_swap_and_at_a_start(make_station, tmp_path):
    key = tmp_path / "key"
    trust = f'[trust]\nrequire_signature = true\nkeys = {{ us = "{make_keys(key)}" }}\n'
    first, unsigned, strange = (
        write(tmp_path / name, version=f"1.{n}.0")
        for n, name in enumerate(("first", "unsigned", "strange"))
    )
    sign(first, key)
    make_keys(tmp_path / "other")
    sign(strange, tmp_path / "other")

    station = make_station(QUICK + trust, bundle=first).start()
    load(station, 0)
    assert "has no manifest.sig" in swap(station, unsigned)
    assert "was made with none of the keys" in swap(station, strange)
    sign(unsigned, key)
    assert "reloaded: dark 1.1.0" in swap(station, unsigned)
    at_rest(station, COUNT)
    assert station.stop() == 0
    assert verify(station, COUNT).wrong == []
    (unsigned / "manifest.sig").unlink()
    station.start(wait=False)
    assert station.daemon.wait(60) == 2
    assert "has no manifest.sig" in station.log


def test_the_bundle_that_runs_is_asked_for_a_signature_that_is_required_from_now_on(
    make_station, tmp_path
):
    key, bundle = tmp_path / "key", write(tmp_path / "one")
    trust = f'[trust]\nrequire_signature = true\nkeys = {{ us = "{make_keys(key)}" }}\n'
    station = make_station(bundle=bundle).start()

    said = swap(station, bundle, trust)
    assert "not reloaded, the previous bundle keeps running" in said
    assert "has no manifest.sig" in said
    sign(bundle, key)
    assert "reloaded: dark 1.0.0" in swap(station, bundle)

    load(station, 0)
    at_rest(station, COUNT)
    assert station.stop() == 0
    assert verify(station, COUNT).wrong == []


def test_a_link_that_is_turned_to_another_bundle_counts_at_the_reload(make_station, tmp_path):
    current = tmp_path / "current"
    current.symlink_to(write(tmp_path / "one"))
    station = make_station(bundle=tmp_path / "one").start()
    swap(station, current)
    current.unlink()
    current.symlink_to(write(tmp_path / "two", version="2.0.0"))
    for child in children_of(station):  # a worker that starts anew takes what was verified
        child.kill()
    load(station, 0)
    at_rest(station, COUNT)
    assert {row["version"] for row in station.rows()} == {"1.0.0"}

    assert "reloaded: dark 2.0.0" in swap(station, current)

    load(station, COUNT)
    at_rest(station, 2 * COUNT)
    assert {row["version"] for row in station.rows()} == {"1.0.0", "2.0.0"}


def test_a_bundle_that_was_changed_in_place_is_not_judged_with(make_station, tmp_path):
    """Whoever may write there could otherwise get past the signature."""
    bundle = write(tmp_path / "one")
    station = make_station(bundle=bundle).start()
    replaced = write(tmp_path / "two", version="2.0.0")
    for file in ("manifest.json", "model.fp32.onnx"):
        shutil.copyfile(replaced / file, bundle / file)
    for child in children_of(station):
        child.kill()
    load(station, 0)

    wait_for(lambda: "was changed after it was verified" in station.log)
    assert "2.0.0" not in {row["version"] for row in station.rows()}


def test_settings_that_can_change_and_those_that_can_not(make_station, bundle, tmp_path):
    station = make_station().start()
    digest = sha256((bundle / "manifest.json").read_bytes()).hexdigest()[:12]
    chosen = f"[decision]\nbundle = '{digest}'\nthreshold = 0.9\n[log]\nlevel = 'debug'\n"
    said = swap(station, bundle, chosen)
    assert re.search(r"reloaded: dark 1\.0\.0 \(\w+\), threshold 0\.9000, before: .* 0\.5000", said)
    load(station, 0)
    at_rest(station, COUNT)
    assert {row["threshold"] for row in station.rows()} == {0.9}
    assert " debug " in station.log

    # What was chosen for one bundle is no other's: neither at a reload nor at a start.
    other = write(tmp_path / "other", name="bright")
    said = swap(station, other)
    assert "the previous bundle keeps running: [decision] threshold = 0.9 is for the" in said
    assert re.search(f"{digest}, and this is bright 1\\.0\\.0 \\((\\w+)\\).*write bundle = ", said)
    load(station, COUNT)
    at_rest(station, 2 * COUNT)
    assert {(row["model"], row["threshold"]) for row in station.rows()} == {("dark", 0.9)}
    swap(station, bundle)

    said = swap(station, bundle, "[http]\nport = 1\n")
    assert "[http] changed; restart to apply" in said

    said = swap(station, bundle, "tpyo = 1\n")
    assert "not reloaded, the previous bundle keeps running" in said
    assert "tpyo: unknown key" in said
    assert station.stop() == 0


def refuse(
    make_station: Callable[..., Station],
    new: Path,
    said: str,
    harm: Callable[[Path], None] = lambda _: None,
) -> Station:
    """Try to swap under load; the old one must go on as if nothing had been."""
    station = make_station().start()
    harm(new)
    load(station, 0)
    wait_for(lambda: len(station.rows()) > 5)
    began = time.time()
    answer = swap(station, new)
    load(station, COUNT)
    at_rest(station, 2 * COUNT)

    assert "not reloaded, the previous bundle keeps running" in answer
    assert said in answer, answer
    rows = station.rows()
    assert {row["version"] for row in rows} == {"1.0.0"}
    assert max(row["completed"] for row in rows) > began
    assert verify(station, 2 * COUNT).wrong == []
    noted = json.loads((station.state / "bundles.json").read_text())
    assert (noted["versions"], noted["before"]) == ({"dark": "1.0.0"}, None)
    return station
