"""The script that this product began as, to measure against; ``python -m tests.bench.eager``.

PyTorch eager, EfficientNet-B0 at 224 x 224, one image after the other. Random weights: time does
not depend on them. Reads paths of images from stdin, prints images per second.
"""

from __future__ import annotations

import sys
import time

import torch
from PIL import Image
from torchvision import transforms
from torchvision.models import efficientnet_b0


def main() -> None:
    """Judge all, the first ten to warm up."""
    model = efficientnet_b0(num_classes=2).eval()
    transform = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    paths = sys.stdin.read().split("\n")

    def judge(path: str) -> float:
        with torch.no_grad():
            image = transform(Image.open(path).convert("RGB"))
            return float(model(image[None]).softmax(1)[0, 1])

    for path in paths[:10]:
        judge(path)
    started = time.perf_counter()
    for path in paths:
        judge(path)
    print(len(paths) / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
