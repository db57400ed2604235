"""A small real network on the bundle's contract, made without torch: convolutions, one squeeze."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, HEIGHT = 64, 96


def make_network(file: Path, *, seed: int = 0, outlier: float = 1.0) -> Path:
    """Write it; ``outlier`` multiplies one of 16 channels of block 1, to spoil its 8 bits."""
    rng = np.random.default_rng(seed)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        scale = (2 / np.prod(shape[1:])) ** 0.5
        return numpy_helper.from_array(rng.normal(0, scale, shape).astype(np.float32), name)

    stem, one = weights("body.0.weight", 16, 3, 3, 3), weights("body.1.weight", 16, 16, 3, 3)
    two = weights("body.2.conv.weight", 16, 16, 3, 3)
    if outlier != 1.0:
        values = numpy_helper.to_array(one).copy()
        values[0] *= outlier
        one = numpy_helper.from_array(values, one.name)
        values = numpy_helper.to_array(two).copy()
        values[:, 0] /= outlier  # in float32 it makes no difference at all
        two = numpy_helper.from_array(values, two.name)
    constants = {"mean": 127.0, "std": 128.0}
    numbers = [
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in constants.items()
    ]
    axes = [
        numpy_helper.from_array(np.array(value, np.int64), name)
        for name, value in {"spatial": [2, 3], "channel": [1], "cells": [1, 2]}.items()
    ]
    node = helper.make_node
    nodes = [
        node("Transpose", ["image"], ["planes"], "planes", perm=[0, 3, 1, 2]),
        node("Cast", ["planes"], ["float"], "cast", to=TensorProto.FLOAT),
        node("Sub", ["float", "mean"], ["centred"], "sub"),
        node("Div", ["centred", "std"], ["normal"], "div"),
        node("Conv", ["normal", "body.0.weight"], ["c0"], "conv0", strides=[2, 2], pads=[1] * 4),
        node("Relu", ["c0"], ["r0"], "relu0"),
        node("Conv", ["r0", "body.1.weight"], ["c1"], "conv1", strides=[2, 2], pads=[1] * 4),
        node("Relu", ["c1"], ["r1"], "relu1"),
        node("Conv", ["r1", "body.2.conv.weight"], ["c2"], "conv2", strides=[2, 2], pads=[1] * 4),
        node("Relu", ["c2"], ["r2"], "relu2"),
        node("ReduceMean", ["r2", "spatial"], ["squeezed"], "squeeze", keepdims=1),
        node("Conv", ["squeezed", "body.2.fc.weight"], ["c3"], "excite"),
        node("Sigmoid", ["c3"], ["gain"], "gain"),
        node("Mul", ["r2", "gain"], ["scaled"], "scale"),
        node("Conv", ["scaled", "body.3.weight"], ["c4"], "conv3", pads=[1] * 4),
        node("Relu", ["c4"], ["r4"], "relu3"),
        node("Conv", ["r4", "logit.weight"], ["logits"], "logit"),
        node("Squeeze", ["logits", "channel"], ["map"], "map"),
        node("Sigmoid", ["map"], ["heatmap"], "heat"),
        node("ReduceMean", ["map", "cells"], ["mean_logit"], "pool", keepdims=0),
        node("Sigmoid", ["mean_logit"], ["score"], "score"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", HEIGHT, WIDTH, 3])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info(
                "heatmap", TensorProto.FLOAT, ["N", HEIGHT // 8, WIDTH // 8]
            ),
        ],
        [
            *(stem, one, two, weights("body.2.fc.weight", 16, 16, 1, 1)),
            *(weights("body.3.weight", 16, 16, 3, 3), weights("logit.weight", 1, 16, 1, 1)),
            *numbers,
            *axes,
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)
    return file


def make_frames(count: int, seed: int = 0) -> list[np.ndarray]:
    """Fitted frames, each of another brightness."""
    rng = np.random.default_rng(seed)
    return [
        np.clip(rng.normal(rng.uniform(40, 210), 30, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
        for _ in range(count)
    ]
