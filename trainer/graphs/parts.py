"""Which nodes of a graph belong together, and which are not worth anything but full precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx

_WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
_POOLING = frozenset({"GlobalAveragePool", "ReduceMean"})
_DEPTH = 5
"""Names such as ``backbone.groups.1.0.2.conv_pw.weight`` tell a block by so many parts."""


def float_nodes(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes that stay in float32 in every variant.

    What is done to pixels before the first convolution (8 bits of 0-255 are not 8 bits of -1 to
    1); the last convolution and what follows, where a rounded logit is a rounded verdict; and
    squeeze-and-excite, whose few values cost no time and, quantized, most of an EfficientNet's
    accuracy (B0 on ImageNet: 77.7 to 16.1 % top-1).
    """
    return _before_weights(model) | _after_weights(model) | _squeezes(model)


def blocks(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Names of nodes by block, in the order of the graph.

    A block is named by its weights; a node without any belongs to the block before it.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    found: dict[str, list[str]] = {}
    block = ""
    for node in model.graph.node:
        if node.op_type in _WEIGHTED:
            named = [name for name in node.input[1:2] if name in weights]
            block = _block(named[0]) if named else block
        found.setdefault(block, []).append(node.name)
    return found


def _block(weight: str) -> str:
    """The parts of a weight's name up to the last number among the first few."""
    parts = weight.split(".")[:-1][:_DEPTH]
    while len(parts) > 1 and not parts[-1].isdigit():
        parts.pop()
    return ".".join(parts)


def _before_weights(model: onnx.ModelProto) -> set[str]:
    """Nodes that no convolution has gone before."""
    late: set[str] = set()
    early = set()
    for node in model.graph.node:
        if node.op_type in _WEIGHTED or late.intersection(node.input):
            late.update(node.output)
        else:
            early.add(node.name)
    return early


def _after_weights(model: onnx.ModelProto) -> set[str]:
    """Nodes that no convolution follows: the last ones themselves, and what is after them."""
    followed: set[str] = set()
    last = set()
    for node in reversed(model.graph.node):
        if followed.intersection(node.output):
            followed.update(node.input)
            continue
        last.add(node.name)
        if node.op_type in _WEIGHTED:
            followed.update(node.input)
    return last


def _squeezes(model: onnx.ModelProto) -> set[str]:
    """Nodes from a pooling over the whole map up to where its result scales the map again."""
    constant = {tensor.name for tensor in model.graph.initializer}
    produced = set(_outputs(model.graph.node))
    squeezed: set[str] = set()
    inside = set()
    for node in model.graph.node:
        inputs = [name for name in node.input if name and name not in constant]
        small = squeezed.intersection(inputs)
        rejoins = node.op_type == "Mul" and any(
            name in produced and name not in squeezed for name in inputs
        )
        if node.op_type in _POOLING or (small and not rejoins):
            squeezed.update(node.output)
        if node.op_type in _POOLING or small:
            inside.add(node.name)
    return inside


def _outputs(nodes: Iterable[onnx.NodeProto]) -> Iterable[str]:
    for node in nodes:
        yield from node.output
