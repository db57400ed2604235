"""From the PyTorch module to an ONNX file that keeps the bundle's contract."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from copy import deepcopy
from typing import TYPE_CHECKING

import onnx
import onnx.numpy_helper
import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from trainer.networks.model import Inspector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edge_agent.bundle import Preprocess
    from trainer.networks.model import Head

OPSET = 18


def export_onnx(inspector: Inspector, spec: Preprocess) -> onnx.ModelProto:
    """The inspector as one self-contained ONNX model, by `to_onnx`."""
    head = _folded(inspector.head)
    return to_onnx(Inspector(inspector.backbone, head, inspector.top_k).eval(), spec)


def to_onnx(module: nn.Module, spec: Preprocess) -> onnx.ModelProto:
    """A module that keeps the bundle's contract, as one self-contained ONNX model.

    ``image`` uint8 (N, height, width, 3) in; ``score`` (N,) and ``heatmap`` (N, h, w) out.
    Batch normalisation, padding and constants are folded into the convolutions.
    """
    image = torch.zeros(2, spec.height, spec.width, 3, dtype=torch.uint8)
    with _quiet(), torch.inference_mode():
        program = torch.onnx.export(
            module,
            (image,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            external_data=False,
            input_names=["image"],
            output_names=["score", "heatmap"],
            dynamic_shapes={"image": {0: torch.export.Dim("N")}},
        )
    model = program.model_proto
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def with_head(model: onnx.ModelProto, head: Head) -> onnx.ModelProto:
    """The same model with another head in it: a copy, in a blink where an export takes seconds."""
    state = _folded(head).state_dict()
    return with_weights(model, {f"head.{name}": tensor for name, tensor in state.items()})


def with_weights(model: onnx.ModelProto, state: Mapping[str, torch.Tensor]) -> onnx.ModelProto:
    """A copy of a model with other weights, by the names that they have in PyTorch."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    places = {tensor.name: tensor for tensor in changed.graph.initializer}
    for name, tensor in state.items():
        places[name].CopyFrom(onnx.numpy_helper.from_array(tensor.numpy(), name))
    return changed


def _folded(head: Head) -> Head:
    """A copy whose convolutions have taken in the normalisation that follows them."""
    copy = deepcopy(head).eval()
    for sequence in (*copy.project, copy.convs):
        for index in range(len(sequence) - 1):
            if isinstance(sequence[index + 1], nn.BatchNorm2d):
                sequence[index] = fuse_conv_bn_eval(sequence[index], sequence[index + 1])
                sequence[index + 1] = nn.Identity()
    return copy


def _strip(model: onnx.ModelProto) -> None:
    """Take out the notes of the exporter: source lines and paths of the machine it ran on."""
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:]
    model.doc_string = graph.doc_string = ""
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        item.doc_string = ""
        del item.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks on stdout, where results go, and warns of its own innards."""
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        noisy.setLevel(level)
