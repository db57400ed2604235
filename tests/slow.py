"""A model that takes its time over certain images: so that a worker can be met in the middle."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edge_agent.bundle import Bundle, write_bundle
from tests.bundles import HEIGHT, WIDTH, make_manifest, make_model

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

ROUNDS = 1000  # of a loop, per white sample: about 7 ms per white pixel of a grey image
FOREVER = WIDTH * HEIGHT
"""White pixels that take far longer than any test needs."""


def make_slow_bundle(path: Path) -> Bundle:
    """The bundle of `tests.bundles`, the slower the more white pixels an image has."""
    manifest, files = make_manifest(make_model(edit=_loop_over_white))
    return write_bundle(path, manifest, files)


def make_slow_image(white: int, *, grey: int = 150) -> bytes:
    """A PNG without a defect, of some white pixels."""
    pixels = np.full(HEIGHT * WIDTH, grey, np.uint8)
    pixels[:white] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels.reshape(HEIGHT, WIDTH)).save(stream, "PNG")
    return stream.getvalue()


def _loop_over_white(model: onnx.ModelProto) -> None:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Add", ["nothing_in", "zero"], ["nothing_out"]),
            helper.make_node("Identity", ["on_in"], ["on_out"]),
        ],
        "round",
        [
            value("number", TensorProto.INT64, []),
            value("on_in", TensorProto.BOOL, []),
            value("nothing_in", TensorProto.FLOAT, []),
        ],
        [value("on_out", TensorProto.BOOL, []), value("nothing_out", TensorProto.FLOAT, [])],
    )
    graph = model.graph
    for name, number, kind in (
        ("white", 255, np.uint8),
        ("per_white", ROUNDS, np.int64),
        ("on", True, np.bool_),
        ("zero", 0.0, np.float32),
    ):
        graph.initializer.append(numpy_helper.from_array(np.array(number, kind), name))
    nodes = list(graph.node)
    (scale,) = (place for place, node in enumerate(nodes) if list(node.output) == ["scaled"])
    nodes[scale].input[0] = "share_later"
    nodes[scale:scale] = [
        helper.make_node("Equal", ["image", "white"], ["is_white"]),
        helper.make_node("Cast", ["is_white"], ["whites"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["whites"], ["count"], keepdims=0),
        helper.make_node("Mul", ["count", "per_white"], ["rounds"]),
        helper.make_node("Loop", ["rounds", "on", "zero"], ["nothing"], body=body),
        helper.make_node("Add", ["share", "nothing"], ["share_later"]),
    ]
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
