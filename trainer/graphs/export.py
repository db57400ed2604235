"""From the PyTorch module to an ONNX file that keeps the bundle's contract."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from copy import deepcopy
from itertools import pairwise
from typing import TYPE_CHECKING

import onnx
import onnx.numpy_helper
import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edge_agent.bundle import Preprocess
    from trainer.networks.model import Head

OPSET = 18


def to_onnx(module: nn.Module, spec: Preprocess) -> onnx.ModelProto:
    """A module that keeps the bundle's contract, as one self-contained ONNX model.

    ``image`` uint8 (N, height, width, 3) in; ``score`` (N,) and ``heatmap`` (N, h, w) out.
    Batch normalisation, padding and constants are folded into the convolutions. What PyTorch can
    fold is folded before the exporter sees it: half the time, and the same graph.
    """
    image = torch.zeros(2, spec.height, spec.width, 3, dtype=torch.uint8)
    with _quiet(), torch.inference_mode():
        program = torch.onnx.export(
            _folded(module),
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


class _Clip(nn.Module):
    """ReLU6 as the operator that it becomes in ONNX."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.clamp(x, 0.0, 6.0)


def _folded(module: nn.Module) -> nn.Module:
    """A copy whose convolutions have taken in the normalisation after them; ReLU6 is `_Clip`."""
    copy = deepcopy(module).eval()
    for parent in list(copy.modules()):
        for (name, conv), (after, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                # timm's normalisation has the activation in it
                setattr(parent, after, getattr(norm, "act", nn.Identity()))
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU6):
                setattr(parent, name, _Clip())
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
