"""A bundle with two variants, and tables of measurements that nobody had to wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge_agent.bundle import write_bundle
from tests.bundles import make_manifest, make_model

if TYPE_CHECKING:
    from edge_agent.bundle import Bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """FP32 and INT8 by name; the graph is the same."""
    manifest, files = make_manifest(make_model())
    (fp32,) = manifest.variants
    int8 = fp32.model_copy(update={"name": "int8", "precision": "int8", "file": "model.int8.onnx"})
    golden = tuple(
        one.model_copy(update={"scores": {**one.scores, "int8": one.scores["fp32"]}})
        for one in manifest.golden
    )
    both = manifest.model_copy(update={"variants": (fp32, int8), "golden": golden})
    files["model.int8.onnx"] = files["model.fp32.onnx"]
    return write_bundle(tmp_path_factory.mktemp("two") / "bundle", both, files)
