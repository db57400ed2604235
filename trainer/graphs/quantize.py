"""INT8: the graph with its convolutions in 8 bits, ranges taken from training images.

Static quantization in the QDQ form (QuantizeLinear and DequantizeLinear around what is computed
in 8 bits), by ONNX Runtime's own tools: a graph that every provider knows how to fuse.
Activations are uint8 with a zero point, weights int8 by output channel.
"""

from __future__ import annotations

import io
import logging
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from trainer.graphs.parts import blocks, float_nodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from trainer.config import Calibrator

OPERATORS = ("Conv", "Gemm", "MatMul", "Add", "Mul", "Sigmoid", "Clip", "Relu", "Resize")
_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
IMAGES = {"minmax": 40, "percentile": 8, "entropy": 8}
"""From how many images the ranges are taken. Histograms need every activation of them at once:
0.3 GB an image at 704 x 256."""
_PERCENTILE = 99.999


@dataclass(frozen=True)
class Quantization:
    """How a graph is quantized."""

    calibrator: Calibrator = "minmax"
    """How the range of a value follows from the training images: all of it, all but a millionth
    at each end, or what loses the least information (Kullback-Leibler)."""
    seven_bit: bool = False
    """Weights of 7 bits: without VNNI, a CPU adds products of 8 bits in 16 and saturates."""
    in_float: tuple[str, ...] = ()
    """Blocks, by name, that stay in float32."""


class _Frames(CalibrationDataReader):
    def __init__(self, frames: Iterable[NDArray[np.uint8]]) -> None:
        self._frames = iter(frames)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        frame = next(self._frames, None)
        return None if frame is None else {"image": frame[None]}


def quantize(
    model: Path, out: Path, frames: Iterable[NDArray[np.uint8]], settings: Quantization
) -> None:
    """Write ``model`` to ``out`` in INT8.

    Args:
        model: the FP32 graph.
        out: an ONNX file.
        frames: fitted training images (height, width, 3), uint8: as many as ``IMAGES`` says.
        settings: how.
    """
    graph = onnx.load(model)
    kept = float_nodes(graph)
    for block, names in blocks(graph).items():
        if block in settings.in_float:
            kept.update(names)
    extra: dict[str, Any] = {}
    if settings.calibrator == "percentile":
        extra["CalibPercentile"] = _PERCENTILE
    with _quiet(), TemporaryDirectory(prefix="quantize-") as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        # Shapes are inferred and constants folded; the symbolic way is for transformers.
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            out,
            _Frames(frames),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_exclude=sorted(kept),
            per_channel=True,
            reduce_range=settings.seven_bit,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=_METHODS[settings.calibrator],
            extra_options=extra,
        )


def choose_images(
    labels: NDArray[np.bool_], images: NDArray[np.int64], count: int, seed: int
) -> NDArray[np.int64]:
    """Pick ``count`` of ``images`` to take ranges from: half defects, where there are so many.

    Defects are rare, and it is their activations that must not be cut off.
    """
    rng = np.random.default_rng(seed)
    defects = rng.permutation(images[labels[images]])
    oks = rng.permutation(images[~labels[images]])
    some = defects[: max(count // 2, count - len(oks))]
    return np.concatenate([some, oks[: count - len(some)]])


@contextmanager
def _quiet() -> Iterator[None]:
    """The tools print and warn of what they do; a warning there says nothing that we don't know."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
