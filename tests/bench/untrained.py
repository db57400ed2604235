"""A bundle that knows nothing, to see what runs it best: ``python -m tests.bench.untrained OUT``.

EfficientNet-B0 with random weights and the dense recipe's head at 224 x 224, FP32 and INT8: time
does not depend on the weights. Its squeeze-and-excite blocks are what INT8 may be slow with.
``edge-agent tune --bundle OUT`` then shows what is taken.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from edge_agent.bundle import Golden, Preprocess, Variant, write_bundle
from edge_agent.bundle.preprocess import decode_for, fit
from tests.bundles import make_image, make_manifest
from trainer.data import open_dataset
from trainer.data.frames import fitted
from trainer.data.synth import make_surfaces
from trainer.graphs.evaluate import open_graph
from trainer.graphs.export import to_onnx
from trainer.graphs.quantize import Quantization, quantize
from trainer.networks.backbones import blank_backbone
from trainer.networks.model import Head, Inspector

SPEC = Preprocess(width=224, height=224)


def main(out: Path) -> None:
    """Write it."""
    torch.manual_seed(0)
    backbone = blank_backbone("efficientnet_b0", (8, 16, 32))
    inspector = Inspector(backbone, Head(backbone.channels, 32), 16).eval()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_surfaces(folder / "images", 8, 4, seed=0)
        samples = open_dataset(folder / "images").samples
        files = {name: folder / f"{name}.onnx" for name in ("fp32", "int8")}
        files["fp32"].write_bytes(to_onnx(inspector, SPEC).SerializeToString())
        quantize(files["fp32"], files["int8"], fitted(samples, SPEC), Quantization())
        models = {f"model.{name}.onnx": file.read_bytes() for name, file in files.items()}
        png = make_image(defect=True, size=(224, 224))
        frame = fit(decode_for(SPEC, png), SPEC).tensor[None]
        scores = {name: float(open_graph(file)(frame).score[0]) for name, file in files.items()}
    variants = tuple(
        Variant(
            name=name,
            precision=name,
            file=f"model.{name}.onnx",
            sha256=hashlib.sha256(models[f"model.{name}.onnx"]).hexdigest(),
            size=len(models[f"model.{name}.onnx"]),
        )
        for name in ("fp32", "int8")
    )
    digest = hashlib.sha256(png).hexdigest()
    golden = Golden(file="golden/one.png", sha256=digest, scores=scores, tolerance=0.05)
    manifest, _ = make_manifest(
        b"-", name="untrained-b0", preprocess=SPEC, variants=variants, golden=(golden,)
    )
    write_bundle(out, manifest, {**models, "golden/one.png": png})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
