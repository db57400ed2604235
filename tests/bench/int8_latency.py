"""Is INT8 faster than FP32 on this machine? ``python -m tests.bench.int8_latency [RUNS]``.

EfficientNet-Lite0 with its ImageNet weights and EfficientNet-B0 with random ones (its own have to
be downloaded; time does not depend on them), each whole and with the dense recipe's head, at
224 x 224, one thread, one image at a time. All graphs of a network take turns in one process.
The last lines name the fastest of each, which is what `edge-agent tune` would take.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from edge_agent.bundle import Preprocess
from trainer.data import open_dataset
from trainer.data.frames import fitted
from trainer.data.synth import make_surfaces
from trainer.graphs.export import to_onnx
from trainer.graphs.half import halve
from trainer.graphs.latency import time_graphs
from trainer.graphs.quantize import Quantization, quantize
from trainer.networks.backbones import blank_backbone, build_backbone
from trainer.networks.model import Head, Inspector

SPEC = Preprocess(width=224, height=224)
STRIDES = (8, 16, 32)
NETWORKS = {"efficientnet_lite0": build_backbone, "efficientnet_b0": blank_backbone}


def main(runs: int) -> None:
    """Print the table."""
    fastest = []
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_surfaces(folder / "images", 8, 4, seed=0)
        samples = open_dataset(folder / "images").samples
        for network, build in NETWORKS.items():
            backbone = build(network, STRIDES)
            inspector = Inspector(backbone, Head(backbone.channels, 32), 16).eval()
            files = {name: folder / f"{network}.{name}.onnx" for name in ("fp32", "int8", "fp16")}
            files["fp32"].write_bytes(to_onnx(inspector, SPEC).SerializeToString())
            quantize(files["fp32"], files["int8"], fitted(samples, SPEC), Quantization())
            halve(files["fp32"], files["fp16"])
            times = time_graphs(files, SPEC, runs=runs)
            for name, by_provider in times.items():
                for provider, ms in by_provider.items():
                    ratio = times["fp32"][provider] / ms
                    size = files[name].stat().st_size / 1e6
                    print(
                        f"{network:<20} {name:<5} {provider:<13} {ms:7.2f} ms  "
                        f"{ratio:4.2f} x fp32  {size:5.1f} MB"
                    )
            every = {(n, p): ms for n, of in times.items() for p, ms in of.items()}
            best = min(every, key=every.__getitem__)
            fp32 = min(times["fp32"].values())
            fastest.append(
                f"{network}: fastest is {best[0]} on {best[1]}, "
                f"{fp32 / every[best]:.2f} times as fast as the fastest fp32"
            )
    print("\n".join(fastest))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
