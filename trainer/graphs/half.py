"""FP16: half the size, and what GPUs compute fastest in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from trainer.graphs.parts import float_nodes

if TYPE_CHECKING:
    from pathlib import Path


def halve(model: Path, out: Path) -> None:
    """Write ``model`` to ``out`` in FP16; input and outputs keep their types.

    What stays in float32 is what does in INT8: the pixels' normalisation, squeeze-and-excite, and
    from the last convolution on the logits, their largest and the sigmoid.
    """
    graph = onnx.load(model)
    # Of the pixels' own cast only the type changes: whole numbers up to 2048 are exact in FP16.
    casts = {node.name for node in graph.graph.node if node.op_type == "Cast"}
    graph = convert_float_to_float16(
        graph,
        keep_io_types=True,
        op_block_list=DEFAULT_OP_BLOCK_LIST,
        node_block_list=sorted(float_nodes(graph) - casts),
    )
    del graph.graph.value_info[:]  # of the types before
    # From one float32 node to the next, values are not to pass through FP16.
    OnnxModel(graph).remove_cascaded_cast_nodes()
    OnnxModel.graph_topological_sort(graph.graph, is_deterministic=True)  # casts were appended
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, out)
