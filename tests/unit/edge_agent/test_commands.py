"""What a person or a script gets from the commands: lines, JSON, exit codes, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from edge_agent.bundle import Decision, look_at_bundle, read_manifest
from edge_agent.cli import run
from tests.bundles import EXPECTS, HEIGHT, WIDTH, make_bundle, make_image, make_two_variants

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("cli") / "bundle").path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(make_image(defect=False))
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "sub").mkdir()
    return folder


def classify(bundle: Path, *arguments: object) -> int:
    return run(["classify", "--bundle", str(bundle), "--threads", "1", *map(str, arguments)])


def test_all_well(bundle, images, capsys):
    assert classify(bundle, images) == 0

    said = capsys.readouterr()
    (line,) = said.out.splitlines()
    assert line.split()[:3] == ["ok", "0.0000", str(images / "a.png")]
    assert said.err == ""


def test_a_defect(bundle, images, capsys):
    (images / "b.png").write_bytes(make_image(defect=True))

    assert classify(bundle, "--json", images) == 1

    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert list(first) == ["path", "verdict", "score", "threshold", "latency_ms", "error"]
    assert list(first["latency_ms"]) == ["wait", "decode", "preprocess", "infer", "total"]
    assert (first["verdict"], second["verdict"], second["score"]) == ("ok", "defect", 1.0)
    assert second["path"] == str(images / "b.png")


@pytest.mark.parametrize(
    ("instead", "code", "verdict", "score"),
    [("error", 2, "error", None), ("review", 1, "review", 0.0)],
)
def test_a_picture_of_nothing(images, tmp_path, capsys, instead, code, verdict, score):
    bundle = make_bundle(tmp_path / "bundle", expects=EXPECTS).path
    Image.new("L", (WIDTH, HEIGHT), 255).save(images / "white.png")

    assert classify(bundle, "--json", "--implausible", instead, images) == code

    part, white = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (part["verdict"], part["error"]) == ("ok", "")
    assert (white["verdict"], white["score"]) == (verdict, score)
    assert "brightness 255 (expected 60 to 230)" in white["error"]


def test_a_variant_is_judged_by_its_own_threshold(images, tmp_path, capsys):
    own = Decision(threshold=0.9, review=(0.8, 0.95), rule="by hand")
    bundle = make_two_variants(tmp_path / "both", decision=own).path

    assert classify(bundle, "--json", "--variant", "int8", images) == 0

    assert json.loads(capsys.readouterr().out)["threshold"] == 0.9
    assert run(["bundle", "show", str(bundle)]) == 0
    shown = capsys.readouterr().out
    assert "threshold  0.5000 by by hand" in shown
    assert "its own threshold 0.9000, review 0.8 to 0.95" in shown
    assert "expects    any picture" in shown


def test_a_provider_that_is_lost_is_no_reason_to_wait_for_ever(bundle, images, capsys, go_wrong):
    golden = len(read_manifest(bundle).golden)
    go_wrong(f"raise@{golden + 1}", "cpu")  # proves itself, and fails at every image

    assert classify(bundle, images) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert "cpu was lost: cpu failed: the device was removed" in said.err


def test_an_error_outweighs_a_defect(bundle, images, capsys):
    (images / "b.png").write_bytes(make_image(defect=True))
    (images / "c.png").write_bytes(b"words")

    assert classify(bundle, "--json", images, images / "none.png") == 2

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["verdict"] for line in lines] == ["ok", "defect", "error", "error"]
    assert lines[2]["score"] is None
    assert lines[2]["error"].startswith("not an image of an allowed format")
    assert lines[3]["error"] == "No such file or directory"


def test_more_pixels_than_usual_are_judged_where_it_is_asked_for(bundle, images, capsys):
    pixels = 64 * 96
    assert classify(bundle, "--max-pixels", pixels - 1, images) == 2
    said = f"64 x 96 pixels is more than the limit of {pixels - 1}: raise it to {pixels} "
    assert f"{said}(--max-pixels; at a station max_pixels in [worker])" in capsys.readouterr().out
    assert classify(bundle, "--max-pixels", pixels, images) == 0


def test_an_image_to_review_is_not_all_well(images, tmp_path, capsys):
    decision = {"threshold": 0.5, "review": (0.0, 1.0), "rule": "by hand"}
    bundle = make_bundle(tmp_path / "bundle", decision=decision).path

    assert classify(bundle, images) == 1
    assert capsys.readouterr().out.startswith("review")


def test_an_empty_folder(bundle, tmp_path, capsys):
    (tmp_path / "empty").mkdir()

    assert classify(bundle, tmp_path / "empty") == 2
    assert capsys.readouterr().err == f"edge-agent: no image in {tmp_path}/empty\n"


def test_a_folder_that_may_not_be_read_is_a_mistake_that_is_named(unprivileged, capsys):
    closed = unprivileged / "closed"
    closed.mkdir(mode=0)

    for place in (closed, closed / "images"):
        assert classify(unprivileged / "none", place) == 2
        assert f"{place} can't be read: Permission denied" in capsys.readouterr().err


def test_no_bundle(images, tmp_path, capsys):
    assert classify(tmp_path / "none", images) == 2
    assert "none does not exist: give the folder that `trainer train`" in capsys.readouterr().err


def test_names_that_no_terminal_can_show(bundle, images):
    (images / "bad \udcff.png").write_bytes(make_image(defect=False))
    (images / "two\nlines.png").write_bytes(make_image(defect=False))

    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "classify", "--bundle", bundle, images],
        capture_output=True,
        check=False,
        env={"PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": ":".join(sys.path)},
    )

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("threads", ["-1", "many", "1.5", "1000"])
def test_threads_that_can_not_be(bundle, images, capsys, threads):
    with pytest.raises(SystemExit) as caught:
        run(["classify", "--bundle", str(bundle), "--threads", threads, str(images)])

    assert caught.value.code == 2
    assert "argument --threads: " in capsys.readouterr().err


def test_a_bundle_is_shown_and_verified(bundle, capsys):
    assert run(["bundle", "show", str(bundle)]) == 0
    digest = look_at_bundle(bundle).digest
    said = capsys.readouterr().out
    assert f"dark 1.0.0 ({digest[:12]}), made" in said
    assert f"digest     {digest}\n" in said
    assert run(["bundle", "show", "--json", str(bundle)]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "dark"
    assert run(["bundle", "verify", str(bundle)]) == 0
    assert "2 golden images within 0.00000" in capsys.readouterr().out


def test_the_bundle_of_a_station_is_verified_as_the_station_would(bundle, tmp_path, capsys):
    config = tmp_path / "station.toml"
    text = (
        f'bundle = "{bundle}"\n[source.folder]\npath = "inbox"\n[storage]\nroot = "state"\n'
        "[runtime]\nprovider = "
    )
    config.write_text(text + '"auto"')
    assert run(["bundle", "verify", "--config", str(config)]) == 0
    assert "fp32 on cpu: 2 golden images" in capsys.readouterr().out

    config.write_text(text + '"cuda"')
    assert run(["bundle", "verify", "--config", str(config)]) == 2
    assert "cuda" in capsys.readouterr().err
    assert run(["bundle", "verify", "--config", str(config), "--provider", "cpu"]) == 0

    digest = look_at_bundle(bundle).digest[:12]
    config.write_text(text + f'"cpu"\n[decision]\nthreshold = 0.9\nbundle = "{"0" * 12}"\n')
    assert run(["bundle", "verify", "--config", str(config)]) == 2  # an upgrade goes by this
    assert f'write bundle = "{digest}" into [decision]' in capsys.readouterr().err


def test_a_damaged_bundle_is_not_verified(tmp_path, capsys):
    bundle = make_bundle(tmp_path / "bundle").path
    (bundle / "golden/ok.png").write_bytes(b"other")

    assert run(["bundle", "verify", str(bundle)]) == 2
    assert "golden/ok.png was changed or damaged" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["run"], ["journal", "tail"], ["journal", "stats"]])
def test_no_settings(tmp_path, capsys, command):
    assert run([*command, "--config", str(tmp_path / "none.toml")]) == 2
    assert "none.toml does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run"], ["classify"], ["bundle"]])
def test_a_command_that_there_is_not(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        run(arguments)

    assert caught.value.code == 2
    assert "usage: edge-agent" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["classify", "show"])
def test_an_output_that_has_no_room_is_a_mistake_and_no_defect(bundle, images, what):
    command = {
        "classify": ["classify", "--bundle", bundle, "--threads", "1", "--json", images],
        "show": ["bundle", "show", bundle, "--json"],
    }[what]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edge_agent", *map(str, command)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "edge-agent: the output can't be written: No space left on device\n"
