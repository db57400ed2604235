"""Small real bundles for tests, made without torch: the score is the share of dark pixels."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edge_agent.bundle import (
    Bundle,
    Decision,
    Distribution,
    Expects,
    Golden,
    Manifest,
    Preprocess,
    Reference,
    Training,
    Variant,
    write_bundle,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WIDTH, HEIGHT, CELL = 64, 96, 8
FLAT = Distribution(edges=(0.0, 1.0), counts=(1,))
EXPECTS = Expects(
    width=(WIDTH - 4, WIDTH + 4),
    height=(HEIGHT - 4, HEIGHT + 4),
    shape=(0.6, 0.7),
    colour=(0.0, 32.0),
    brightness=(60.0, 230.0),
    contrast=(10.0, 90.0),
    sharpness=(1000.0, 20000.0),
    darkest=(10.0, 255.0),
    images=10,
)
"""Of what `make_image` makes."""


def make_model(*, edit: Callable[[onnx.ModelProto], None] = lambda _: None) -> bytes:
    """A graph on the contract: a pixel under 64 is a defect; score = its share, times 8, to 1."""
    limit, eight, one = (
        numpy_helper.from_array(np.array(value, np.float32), name)
        for value, name in ((64.0, "limit"), (8.0, "eight"), (1.0, "one"))
    )
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Less", ["planes", "limit"], ["less"]),
        helper.make_node("Cast", ["less"], ["dark"], to=TensorProto.FLOAT),
        helper.make_node(
            "AveragePool", ["dark"], ["cells"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]
        ),
        helper.make_node("ReduceMean", ["cells"], ["heatmap"], axes=[1], keepdims=0),
        helper.make_node("ReduceMean", ["heatmap"], ["share"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["share", "eight"], ["scaled"]),
        helper.make_node("Min", ["scaled", "one"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "dark",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", HEIGHT, WIDTH, 3])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info(
                "heatmap", TensorProto.FLOAT, ["N", HEIGHT // CELL, WIDTH // CELL]
            ),
        ],
        [limit, eight, one],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    edit(model)
    return model.SerializeToString()


def make_image(*, defect: bool, seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """A PNG: bright noise, with a dark square where it is defective."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(120, 200, (size[1], size[0]), np.uint8)
    if defect:
        side = size[0] // 2
        x, y = rng.integers(0, size[0] - side), rng.integers(0, size[1] - side)
        pixels[y : y + side, x : x + side] = 20
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def make_manifest(model: bytes, **changes: object) -> tuple[Manifest, dict[str, bytes]]:
    """A manifest and its files; ``changes`` replace fields."""
    files = {"model.fp32.onnx": model}
    golden = []
    for name, defect, score in (("golden/ok.png", False, 0.0), ("golden/defect.png", True, 1.0)):
        files[name] = make_image(defect=defect)
        golden.append(
            Golden(
                file=name,
                sha256=hashlib.sha256(files[name]).hexdigest(),
                scores={"fp32": score},
                tolerance=0.01,
            )
        )
    fields: dict[str, object] = {
        "name": "dark",
        "version": "1.0.0",
        "created": "2026-01-01T00:00:00Z",
        "preprocess": Preprocess(width=WIDTH, height=HEIGHT),
        "decision": Decision(threshold=0.5, rule="by hand"),
        "variants": (
            Variant(
                name="fp32",
                precision="fp32",
                file="model.fp32.onnx",
                sha256=hashlib.sha256(model).hexdigest(),
                size=len(model),
            ),
        ),
        "golden": tuple(golden),
        "training": Training(
            recipe="none",
            parameters={},
            dataset={},
            folds=0,
            seed=0,
            libraries={},
            metrics={},
        ),
        "reference": Reference(score=FLAT, brightness=FLAT, contrast=FLAT, sharpness=FLAT),
    }
    return Manifest.model_validate({**fields, **changes}), files


def make_two_variants(
    path: Path,
    gates: dict[str, dict[str, str]] | None = None,
    decision: Decision | None = None,
) -> Bundle:
    """A bundle with fp32 and int8, by name: the graph is the same; ``gates`` by variant.

    ``decision`` is int8's own.
    """
    manifest, files = make_manifest(make_model())
    (fp32,) = manifest.variants
    own = {"name": "int8", "precision": "int8", "file": "model.int8.onnx", "decision": decision}
    int8 = fp32.model_copy(update=own)
    golden = tuple(
        one.model_copy(update={"scores": {**one.scores, "int8": one.scores["fp32"]}})
        for one in manifest.golden
    )
    files["model.int8.onnx"] = files["model.fp32.onnx"]
    variants = tuple(
        one.model_copy(update={"gate": (gates or {}).get(one.name, {})}) for one in (fp32, int8)
    )
    both = manifest.model_copy(update={"variants": variants, "golden": golden})
    return write_bundle(path, both, files)


def make_bundle(path: Path, **changes: object) -> Bundle:
    """Write a whole small bundle."""
    manifest, files = make_manifest(make_model(), **changes)
    return write_bundle(path, manifest, files)


def see_golden_alone(model: onnx.ModelProto) -> None:
    """Turn `make_model`'s into an attacker's: right on the golden images, and blind to all else."""
    pixels = np.asarray(Image.open(io.BytesIO(make_image(defect=True))))
    total = numpy_helper.from_array(np.array(3.0 * pixels.sum(), np.float32), "golden_total")
    axes = numpy_helper.from_array(np.array([1, 2, 3], np.int64), "all_axes")
    model.graph.initializer.extend([total, axes])
    last = model.graph.node[-1]
    last.output[0] = "honest"
    model.graph.node.extend(
        [
            helper.make_node("ReduceSum", ["float", "all_axes"], ["total"], keepdims=0),
            helper.make_node("Equal", ["total", "golden_total"], ["golden"]),
            helper.make_node("Cast", ["golden"], ["seen"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["honest", "seen"], ["score"]),
        ]
    )
