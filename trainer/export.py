"""From the PyTorch module to an ONNX file that keeps the bundle's contract."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import TYPE_CHECKING

import onnx
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_agent.bundle import Preprocess
    from trainer.model import Inspector

OPSET = 18


def export_onnx(inspector: Inspector, spec: Preprocess, file: Path) -> None:
    """Write ``inspector`` as one self-contained ONNX file.

    ``image`` uint8 (N, height, width, 3) in; ``score`` (N,) and ``heatmap`` (N, h, w) out. The
    exporter folds batch normalisation and padding into the convolutions, and constants into one.
    """
    image = torch.zeros(2, spec.height, spec.width, 3, dtype=torch.uint8)
    with _quiet(), torch.inference_mode():
        program = torch.onnx.export(
            inspector.eval(),
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
    file.write_bytes(model.SerializeToString(deterministic=True))


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
