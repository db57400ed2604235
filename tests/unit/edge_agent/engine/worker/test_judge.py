"""One file, one reply; whatever lies at the path."""

from __future__ import annotations

import hashlib
import io
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from edge_agent.engine.worker.judge import Judge
from edge_agent.engine.worker.predictor import Predictor, Scored
from edge_agent.engine.worker.protocol import (
    Failed,
    Judged,
    pack_task,
    replies,
    unpack_task,
)
from edge_agent.types.target import Target
from tests.bundles import EXPECTS, HEIGHT, WIDTH, make_bundle, make_image
from tests.workers import plain_options

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.bundle import Bundle

OPTIONS = plain_options(max_pixels=100_000, max_bytes=200_000)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("judge") / "bundle")


@pytest.fixture(scope="module")
def predictor(bundle: Bundle) -> Predictor:
    return Predictor(bundle, "fp32", threads=1)


@pytest.fixture(scope="module")
def judge(predictor: Predictor) -> Judge:
    return Judge(predictor, OPTIONS)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(make_image(defect=True, size=(2 * WIDTH, 2 * HEIGHT)))
    return path


def png(grey: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (WIDTH, HEIGHT), grey).save(stream, "PNG")
    return stream.getvalue()


def reason(reply: Judged | Failed) -> str:
    assert isinstance(reply, Failed)
    assert replies.validate_json(replies.dump_json(reply)) == reply
    return reply.failure.reason


def test_a_prediction_says_what_was_judged(judge, image):
    reply = judge.judge("7", image)

    assert isinstance(reply, Judged)
    content = image.read_bytes()
    found = reply.prediction.image
    assert (found.sha256, found.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert (found.width, found.height) == (2 * WIDTH, 2 * HEIGHT)
    assert reply.signature == (len(content), image.stat().st_mtime_ns)
    assert reply.prediction.score == 1.0
    assert min(reply.prediction.latency.decode, reply.prediction.latency.infer) > 0
    assert reply.prediction.worker_rss > 1 << 20
    assert replies.validate_json(replies.dump_json(reply)) == reply


def test_what_is_no_picture_of_the_part_is_judged_and_named(judge, tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    knows = Judge(Predictor(bundle, "fp32", threads=1), OPTIONS, expects=EXPECTS)
    for name, content in (
        ("part", make_image(defect=True)),
        ("black", png(0)),
        ("white", png(255)),
    ):
        (tmp_path / name).write_bytes(content)
    part, black, white = (
        knows.judge("1", tmp_path / name).prediction for name in ("part", "black", "white")
    )

    assert part.implausible == ""
    assert "brightness 0 (expected 60 to 230)" in black.implausible
    assert "brightness 255 (expected 60 to 230)" in white.implausible
    assert (black.score, white.score) == (1.0, 0.0)
    assert judge.judge("1", tmp_path / "white").prediction.implausible == ""  # nobody knows


def test_a_region_lies_where_the_defect_is_in_pixels_of_the_original(judge, tmp_path):
    pixels = np.full((4 * HEIGHT, 4 * WIDTH), 150, np.uint8)
    pixels[96:192, 32:96] = 10  # whole cells of the heatmap
    Image.fromarray(pixels).save(tmp_path / "a.png")

    reply = judge.judge("7", tmp_path / "a.png")

    assert isinstance(reply, Judged)
    (region,) = reply.prediction.regions
    assert (region.x, region.y, region.width, region.height) == (32, 96, 64, 96)


def test_equal_images_have_equal_scores_whatever_was_judged_between(judge, image, tmp_path):
    other = tmp_path / "b.png"
    other.write_bytes(make_image(defect=False, seed=1))
    bad = tmp_path / "c.png"
    bad.write_bytes(b"words")

    first = judge.judge("1", image)
    judge.judge("2", other)
    judge.judge("3", bad)

    assert judge.judge("4", image).prediction.score == first.prediction.score


@pytest.mark.parametrize(
    ("content", "said", "truncated"),
    [
        (b"", "the file is empty", True),
        (b"words", "not an image of an allowed format (PNG)", True),
        (make_image(defect=True)[:900], "truncated", True),
        (
            make_image(defect=False, size=(400, 300)),
            "400 x 300 pixels is more than the limit",
            True,
        ),
        (bytes(200_001), "200001 bytes is more than the limit of 200000", False),
    ],
)
def test_what_can_not_be_judged(judge, image, content, said, truncated):
    image.write_bytes(content)

    reply = judge.judge("7", image)

    assert said in reason(reply)
    assert reply.truncated is truncated
    assert reply.signature == (len(content), image.stat().st_mtime_ns) or len(content) > 200_000


def test_an_image_that_failed_is_still_known_by_its_hash(judge, image):
    image.write_bytes(b"words")

    reply = judge.judge("7", image)

    assert reply.failure.image.sha256 == hashlib.sha256(b"words").hexdigest()
    assert reply.failure.image.bytes == 5


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nothing", "No such file or directory"),
        ("link", "Too many levels of symbolic links"),
        ("pipe", "not a regular file"),
        ("directory", "Is a directory"),
        ("device", "not a regular file"),
    ],
)
def test_what_is_no_file_is_neither_followed_nor_waited_for(judge, image, tmp_path, kind, said):
    path = tmp_path / "b.png"
    if kind == "link":
        path.symlink_to(image)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        if os.geteuid() != 0:
            pytest.skip("only root makes devices")
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))

    assert said in reason(judge.judge("7", path))


def test_a_file_that_may_not_be_read(unprivileged, judge):
    (unprivileged / "a.png").write_bytes(make_image(defect=True))
    (unprivileged / "a.png").chmod(0)

    reply = judge.judge("7", unprivileged / "a.png")

    assert reason(reply) == "Permission denied"
    assert not reply.truncated


@pytest.mark.parametrize("score", [float("nan"), -0.1, 1.5, float("inf")])
def test_a_score_that_is_no_probability_is_a_fault_of_the_model(predictor, image, score):
    class Broken:
        target = Target("cpu", "CPU")
        preprocess = predictor.preprocess

        @staticmethod
        def predict(images):
            right = predictor.predict(images)
            return Scored(np.full(1, score, np.float32), right.heatmap)

    reply = Judge(Broken(), OPTIONS).judge("7", image)

    assert "the model's score is" in reason(reply)
    assert "not a probability" in reason(reply)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 7.0])
def test_a_heatmap_that_is_no_probability_is_a_fault_of_the_model(predictor, image, value):
    class Broken:
        target = Target("cpu", "CPU")
        preprocess = predictor.preprocess

        @staticmethod
        def predict(images):
            right = predictor.predict(images)
            heatmap = right.heatmap.copy()
            heatmap[0, 1, 1] = value
            return Scored(right.score, heatmap)

    assert "the model's heatmap" in reason(Judge(Broken(), OPTIONS).judge("7", image))


def test_a_rounding_error_beyond_one_is_one(predictor, image):
    class Rounded:
        target = Target("cpu", "CPU")
        preprocess = predictor.preprocess

        @staticmethod
        def predict(images):
            right = predictor.predict(images)
            return Scored(right.score * np.float32(1.0005), right.heatmap * np.float32(1.0005))

    reply = Judge(Rounded(), OPTIONS).judge("7", image)

    assert isinstance(reply, Judged)
    assert reply.prediction.score == 1.0
    assert [region.peak for region in reply.prediction.regions] == [1.0]


@pytest.mark.parametrize("name", ["a.png", "two\nlines", "\udcff\udcfe", "ü" * 127, "a b#+$"])
def test_a_task_carries_any_name(tmp_path, name):
    assert unpack_task(pack_task("0123", tmp_path / name)) == ("0123", tmp_path / name)
