"""The command line: one message for a user's mistake, exit code 2, no traceback."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from edge_agent.bundle import Decision, write_bundle
from tests.bundles import (
    EXPECTS,
    HEIGHT,
    WIDTH,
    make_bundle,
    make_image,
    make_manifest,
    make_model,
    make_two_variants,
)
from trainer import progress
from trainer.cli import run
from trainer.commands import figures
from trainer.data import fingerprint, hold_back, open_dataset
from trainer.data.learned import list_images


@pytest.fixture
def images(tmp_path):
    """Twelve images, a third of them defective."""
    for number in range(12):
        kind = "defect" if number % 3 == 0 else "ok"
        (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
        content = make_image(defect=kind == "defect", seed=number)
        (tmp_path / "data" / kind / f"{number}.png").write_bytes(content)
    return tmp_path / "data"


def test_help_is_quick_and_needs_no_torch():
    code = (
        "import sys; from trainer.cli import run\n"
        "try: run(['train', '--help'])\n"
        "finally: sys.exit(3 if {'torch', 'numpy', 'onnxruntime'} & set(sys.modules) else 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert found.returncode == 0, found.stderr
    assert b"--strides" in found.stdout


def test_the_module_runs():
    found = subprocess.run(
        [sys.executable, "-m", "trainer", "evaluate", "nowhere", "nowhere"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert found.returncode == 2
    assert found.stderr.startswith("trainer evaluate: nowhere does not exist")
    assert "Traceback" not in found.stderr
    assert found.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "nowhere", "--out", "run"], "nowhere does not exist"),
        (["train", "data", "--out", "run", "--strides", "8,4"], "--strides: must be some of"),
        (["train", "data", "--out", "run", "--size", "100x64"], "multiples of 32"),
        (["train", "data", "--out", "run", "--folds", "9"], "Use fewer folds"),
        (["train", "data", "--out", "data", "--folds", "2"], "is not empty"),
        (["evaluate", "bundle", "data", "--variant", "int8"], "it has: fp32"),
        (["synth", "data", "--good", "1", "--defect", "1"], "not an empty folder"),
        (["synth", "new", "--good", "-1", "--defect", "1"], "0 or more"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    images, tmp_path, monkeypatch, capsys, arguments, said
):
    monkeypatch.chdir(tmp_path)
    make_bundle(tmp_path / "bundle")
    assert run(arguments) == 2
    output = capsys.readouterr()
    assert said in output.err
    assert output.err.startswith(f"trainer {arguments[0]}: ")
    assert output.out == ""
    assert not (tmp_path / "run").exists()


def test_what_can_not_be_written_is_one_message(images, tmp_path, capsys):
    make_bundle(tmp_path / "bundle")
    scores = tmp_path / "nowhere" / "scores.csv"
    command = ["evaluate", str(tmp_path / "bundle"), str(images), "--scores", str(scores)]
    assert run(command) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"trainer evaluate: {scores}: No such file or directory"


def test_a_full_disk_is_told_with_where_to_make_room(monkeypatch, capsys):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("trainer.commands.synth.synth", full)
    assert run(["synth", "out", "--good", "1", "--defect", "1"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("trainer synth: No space left on device: free some space in out and in")


@pytest.mark.parametrize("size", ["256", "ax3", "1x2x3", ""])
def test_a_wrong_size_is_explained(capsys, size):
    with pytest.raises(SystemExit) as caught:
        run(["synth", "out", "--good", "1", "--defect", "1", "--size", size])
    assert caught.value.code == 2
    assert "WxH" in capsys.readouterr().err


def test_ctrl_c_ends_in_one_line(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("trainer.commands.synth.synth", interrupted)
    assert run(["synth", "out", "--good", "1", "--defect", "1"]) == 1
    assert capsys.readouterr().err == "trainer synth: interrupted\n"


def test_evaluate_judges_with_the_bundle(images, tmp_path, capsys):
    make_bundle(tmp_path / "bundle")
    arguments = ["evaluate", str(tmp_path / "bundle"), str(images)]
    scores = tmp_path / "scores.csv"
    assert run([*arguments, "--json", "--scores", str(scores)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["ap"], figures["escapes"], figures["overkills"]) == (1.0, 0, 0)
    assert (figures["images"], figures["defects"], figures["threshold"]) == (12, 4, 0.5)
    with scores.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all((float(row["score"]) >= 0.5) == (row["label"] == "1") for row in rows)
    assert run(arguments) == 0
    assert "escapes 0 of 4" in capsys.readouterr().out


def taught(path, samples, **dataset):
    """A bundle that says that it learned from ``samples``."""
    entry, files = list_images(samples)
    manifest, own = make_manifest(make_model())
    training = manifest.training.model_copy(update={"dataset": {**entry, **dataset}})
    return write_bundle(path, manifest.model_copy(update={"training": training}), own | files)


def evaluated(capsys, *arguments):
    assert run(["evaluate", *map(str, arguments), "--json"]) == 0
    output = capsys.readouterr()
    return json.loads(output.out), output.err


def test_evaluate_says_which_images_it_learned_from_by_their_bytes(images, tmp_path, capsys):
    learned = open_dataset(images).samples
    bundle = taught(tmp_path / "bundle", learned).path
    figures, said = evaluated(capsys, bundle, images)
    assert (figures["learned_from"], figures["escape_bound"]) == (12, None)
    assert "the model learned from these images: these figures don't predict" in said
    # A label moved, a name changed, others beside them: it is the same images all the same.
    (images / "ok" / "1.png").rename(images / "defect" / "1.png")
    (images / "ok" / "2.png").rename(images / "ok" / "two.png")
    for number in range(20, 25):
        (images / "ok" / f"{number}.png").write_bytes(make_image(defect=False, seed=number))
    figures, said = evaluated(capsys, bundle, images)
    assert figures["learned_from"] == 12
    assert "the model learned from 12 of these 17 images" in said
    for n, file in enumerate(images.glob("*/*.png")):
        file.write_bytes(make_image(defect=file.parent.name == "defect", seed=1000 + n))
    figures, said = evaluated(capsys, bundle, images)
    assert figures["learned_from"] == 0
    assert "learned from" not in said
    assert figures["escape_bound"] == pytest.approx(1 - 0.05 ** (1 / 5))
    assert run(["evaluate", str(bundle), str(images)]) == 0
    assert "at most 45 % of the defects will pass" in capsys.readouterr().out


def test_evaluate_judges_a_variant_at_its_own_threshold(images, tmp_path, capsys):
    make_two_variants(tmp_path / "both", decision=Decision(threshold=0.9, rule="by hand"))
    for variant, threshold in (("fp32", 0.5), ("int8", 0.9)):
        command = ["evaluate", str(tmp_path / "both"), str(images), "--json"]
        assert run([*command, "--variant", variant]) == 0
        assert json.loads(capsys.readouterr().out)["threshold"] == threshold


def test_a_training_tells_first_what_a_station_will_run():
    fp32 = {"ap": 0.99, "f1": 0.99, "threshold": 0.34, "escapes": 0, "overkills": 1}
    fp32 |= {"images": 399, "defects": 52}
    int8 = {**fp32, "threshold": 0.31, "overkills": 2}
    metrics = {"pooled": fp32, "variants": {"fp32": fp32, "int8": int8}, "runs": "int8"}
    first, second = figures.headline(metrics)
    assert first.startswith("out of fold   AP 0.9900  F1 0.9900  threshold 0.310  escapes 0 of 52")
    assert "overkills 2 of 347" in first
    assert "with int8, the fastest on this machine" in first
    assert second.startswith("in fp32       AP 0.9900  F1 0.9900  threshold 0.340")
    (alone,) = figures.headline({**metrics, "runs": "fp32"})
    assert alone == second.replace("in fp32    ", "out of fold")


def test_a_training_warns_of_pictures_of_nothing():
    assert figures.warnings_of({"judged_blanks": []}) == []
    blank, odd = figures.warnings_of(
        {
            "judged_blanks": ["black"],
            "test": {"images": 9},
            "test_implausible": (2, "a.png: not a picture"),
        }
    )
    assert blank.startswith("a black picture would be judged like one of the part")
    assert odd.startswith("2 of 9 images don't look like the training images")
    assert odd.endswith("a.png: not a picture")


def test_evaluate_says_what_of_it_a_station_would_not_judge(images, tmp_path, capsys):
    make_bundle(tmp_path / "bundle", expects=EXPECTS)
    command = ["evaluate", str(tmp_path / "bundle"), str(images), "--json"]
    assert run(command) == 0
    assert "look like the training" not in capsys.readouterr().err
    Image.new("L", (WIDTH, HEIGHT), 255).save(images / "ok" / "white.png")
    assert run(command) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["images"] == 13
    assert "1 of 13 images don't look like the training images" in said.err
    assert "ok/white.png: " in said.err
    assert "brightness 255 (expected 60 to 230)" in said.err


def test_the_test_split_was_not_learned_from(images, tmp_path, capsys):
    rows = [f"{kind}/{n}.png" for n in range(12) for kind in ["ok" if n % 3 else "defect"]]
    table = [
        f"{row},{row[0] == 'd':d},{'test' if n > 7 else 'train'}" for n, row in enumerate(rows)
    ]
    (images / "manifest.csv").write_text("\n".join(["image,defect,split", *table]))
    learned, _ = hold_back(open_dataset(images))
    training = make_manifest(make_model())[0].training
    known = training.model_copy(update={"dataset": {"fingerprint": fingerprint(learned)}})
    old = make_bundle(tmp_path / "old", training=known).path  # made before there was a list
    for bundle in (old, taught(tmp_path / "new", learned.samples).path):
        for options, images_judged, count, said in (
            ([], 12, 8, "the model learned from 8 of these 12 images"),
            (["--split", "train"], 8, 8, "the model learned from these images"),
            (["--split", "test"], 4, 0, ""),
        ):
            figures, output = evaluated(capsys, bundle, images, *options)
            assert (figures["images"], figures["learned_from"]) == (images_judged, count)
            assert said in output
            assert ("learned from" in output) == bool(said)
    (images / "manifest.csv").unlink()  # an old bundle knows its whole set, not a part of it
    figures, said = evaluated(capsys, old, images)
    assert figures["learned_from"] is None
    assert "the bundle does not list the images that it learned from" in said
    assert run(["evaluate", str(old), str(images), "--split", "test"]) == 2
    assert "has no test split" in capsys.readouterr().err


def test_a_bundle_with_another_threshold_keeps_the_list(images, tmp_path, capsys):
    samples = open_dataset(images).samples
    taught(tmp_path / "run" / "bundle", samples)
    rows = [
        f"{s.name},{s.group},{n % 2},{s.defect:d},{0.9 if s.defect else 0.1}\n"
        for n, s in enumerate(samples)
    ]
    (tmp_path / "run" / "oof.csv").write_text("image,group,fold,label,score\n" + "".join(rows))
    assert run(["calibrate", str(tmp_path / "run"), "--out", str(tmp_path / "new")]) == 0
    capsys.readouterr()
    assert evaluated(capsys, tmp_path / "new", images)[0]["learned_from"] == 12


def test_a_list_of_learned_images_that_was_changed_is_told(images, tmp_path, capsys):
    bundle = taught(tmp_path / "bundle", open_dataset(images).samples).path
    (bundle / "learned.txt").write_text("")
    assert run(["evaluate", str(bundle), str(images)]) == 2
    assert "learned.txt was changed or damaged" in capsys.readouterr().err


def test_variants_are_named_with_where_they_hold_and_where_not():
    common = {"ap": 0.99, "size": 1e6, "fault": "", "how": "minmax", "untried": {}}
    fp32 = {**common, "latency_ms": {"cpu": 2.0, "openvino:CPU": 1.9}, "gate": {"cpu": ""}}
    gate = {"cpu": "", "openvino:CPU": "3 of 90 verdicts change"}
    int8 = {**common, "latency_ms": {"cpu": 1.0}, "gate": gate, "untried": {"cuda": "no driver"}}
    assert figures.variant_lines({"fp32": fp32, "int8": int8}) == [
        "fp32          AP 0.9900  1.0 MB  2.0 ms on cpu, 1.9 ms on openvino:CPU",
        "int8          AP 0.9900  1.0 MB  1.0 ms on cpu: 1.90 times as fast as fp32",
        "int8          keeps FP32's accuracy on cpu",
        "int8          NOT ON openvino:CPU: 3 of 90 verdicts change",
        "int8          not tested on cuda: no driver",
    ]


def test_synth_draws_what_train_reads(tmp_path, capsys):
    arguments = ["synth", str(tmp_path / "s"), "--good", "4", "--defect", "3", "--size", "64x96"]
    assert run(arguments) == 0
    output = capsys.readouterr()
    assert "4 good and 3 flawed" in output.out
    assert len(list((tmp_path / "s" / "defect").iterdir())) == 3
    assert "drawing: 7/7" in output.err


def test_plain_progress_says_what_is_left(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with progress.progress("looking", 3) as advance:
        for _ in range(3):
            advance("at it")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines[:2]] == ["looking: 1/3", "looking: 2/3"]
    assert all("s left at it" in line for line in lines[:2])
    assert lines[2].startswith("looking: 3/3 in ")


def test_a_bar_with_an_eta_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.progress("looking", 2) as advance:
        advance("")
        advance("at it")
    found = capsys.readouterr()
    assert "looking" in found.err
    assert "2/2" in found.err
    assert found.out == ""
