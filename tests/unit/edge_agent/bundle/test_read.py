"""The bytes that were hashed are the bytes that are used, whatever lies there a moment later."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent.bundle import BundleError, look_at_bundle, open_bundle
from edge_agent.bundle.signature import make_keys, signer
from edge_agent.engine.worker.predictor import Predictor
from tests.bundles import HEIGHT, WIDTH, make_bundle, make_image, make_model, see_golden_alone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_agent.bundle import Bundle

DEFECT = np.full((1, HEIGHT, WIDTH, 3), 20, np.uint8)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(make_bundle(tmp_path / "bundle").path)


@pytest.fixture
def model(bundle: Bundle) -> Path:
    return bundle.path / "model.fp32.onnx"


@pytest.fixture
def blind(bundle: Bundle) -> Path:
    """An attacker's model, which scores the golden images as it must."""
    file = bundle.path.parent / "blind.onnx"
    file.write_bytes(make_model(edit=see_golden_alone))
    return file


def test_the_attackers_model_would_pass_every_other_check(tmp_path, blind):
    made = make_bundle(tmp_path / "other").path
    shutil.copyfile(blind, made / "model.fp32.onnx")
    manifest = (made / "manifest.json").read_text()
    own = make_model()
    for old, new in (
        (hashlib.sha256(own).hexdigest(), hashlib.sha256(blind.read_bytes()).hexdigest()),
        (f'"size": {len(own)}', f'"size": {blind.stat().st_size}'),
    ):
        manifest = manifest.replace(old, new)
    (made / "manifest.json").write_text(manifest)

    predictor = Predictor(open_bundle(made), "fp32", threads=1)

    assert predictor.prove() <= 0.01
    assert predictor.predict(DEFECT).score[0] == 0.0


def test_a_model_that_took_the_place_of_the_verified_one_is_not_run(bundle, model, blind):
    blind.rename(model)

    with pytest.raises(BundleError, match=r"model\.fp32\.onnx has \d+ bytes, the manifest says"):
        Predictor(bundle, "fp32", threads=1)


def test_nor_one_of_the_same_size(bundle, model):
    content = bytearray(model.read_bytes())
    content[-20] ^= 1
    model.write_bytes(content)

    with pytest.raises(BundleError, match=r"model\.fp32\.onnx was changed or damaged"):
        Predictor(bundle, "fp32", threads=1)


def test_a_model_that_is_rewritten_in_place_judges_as_it_was_read(bundle, model, blind, tmp_path):
    """By a hard link, from outside of the bundle."""
    os.link(model, tmp_path / "link")
    predictor = Predictor(bundle, "fp32", threads=1)

    (tmp_path / "link").write_bytes(blind.read_bytes())

    assert predictor.prove() <= 0.01
    assert predictor.predict(DEFECT).score[0] == 1.0


def test_golden_images_that_took_the_place_of_the_verified_ones_prove_nothing(bundle):
    predictor = Predictor(bundle, "fp32", threads=1)
    (bundle.path / "golden/defect.png").write_bytes(make_image(defect=True, seed=1))

    with pytest.raises(BundleError, match=r"golden/defect\.png was changed or damaged"):
        predictor.prove()


def test_a_whole_bundle_that_took_the_place_of_the_verified_one(bundle, tmp_path):
    """By turning a link; each file is right in itself, but of the other bundle."""
    other = make_bundle(tmp_path / "other", version="2.0.0").path
    (other / "golden/ok.png").write_bytes(make_image(defect=False, seed=1))
    (tmp_path / "current").symlink_to(bundle.path)
    seen = look_at_bundle(tmp_path / "current")

    (tmp_path / "turned").symlink_to(other)
    (tmp_path / "turned").rename(tmp_path / "current")

    with pytest.raises(BundleError, match=r"golden/ok\.png was changed or damaged"):
        seen.read(seen.manifest.golden[0])
    with pytest.raises(BundleError, match="was changed after it was verified"):
        look_at_bundle(tmp_path / "current", digest=seen.digest)


WRITER = """if True:
    import os, sys, time
    file, over = sys.argv[1], time.monotonic() + 60
    content = open(file, "rb").read()
    print("ready", flush=True)
    while time.monotonic() < over:
        with open(file, "ab") as stream:
            stream.write(b"more")
        os.truncate(file, len(content))
        with open(file, "r+b") as stream:
            stream.write(content[::-1])
            stream.seek(0)
            stream.write(content)
"""


@contextmanager
def catch(kind: type[Exception], caught: list[Exception]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        caught.append(error)


def test_a_file_that_changes_while_it_is_read_is_right_or_refused(bundle, model):
    own = model.read_bytes()
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(model)], stdout=subprocess.PIPE)
    refused = []
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        for _ in range(500):
            with catch(BundleError, refused):
                assert bundle.read(bundle.variant("fp32")) == own
    finally:
        writer.kill()
        writer.communicate()
    print(f"refused {len(refused)} times of 500")


# -- kinds of files ----------------------------------------------------------------------------


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(bundle):
    (bundle.path / "manifest.json").unlink()
    os.mkfifo(bundle.path / "manifest.json")

    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        look_at_bundle(bundle.path)


@pytest.mark.timeout(20)
def test_a_pipe_is_no_signature(bundle, tmp_path):
    os.mkfifo(bundle.path / "manifest.sig")

    assert signer(bundle.path, {"us": make_keys(tmp_path / "key")}) == ("", "")


def test_a_golden_image_that_would_fill_the_memory(bundle):
    os.truncate(bundle.path / "golden/ok.png", 1 << 40)

    with pytest.raises(BundleError, match=r"ok\.png is larger than a golden image can be"):
        bundle.read(bundle.manifest.golden[0])
