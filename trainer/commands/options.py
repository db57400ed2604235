"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edge_agent.system.numbers import whole

if TYPE_CHECKING:
    from collections.abc import Sequence
AIM = ("rule", "escape_cost", "overkill_cost", "review")
"""Settings that say what the threshold is to bring."""
VARIANTS = ("variants", "calibrator", "seven_bit")
"""Settings that say which variants are made, and how."""
_WIDEST = 8192
_pixels = whole(1, _WIDEST)
_area = whole(1, 10**10)


def add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-pixels",
        type=_area,
        metavar="N",
        help="reject images and masks with more pixels (default: 64000000); as in [worker]",
    )


def add_variants(parser: argparse.ArgumentParser) -> None:
    variants = parser.add_argument_group(
        "variants of the model (each is kept only if it is as accurate as FP32)"
    )
    variants.add_argument(
        "--variants", type=names, help="variants to make (default: fp32,int8,fp16)"
    )
    variants.add_argument(
        "--calibrator",
        choices=["auto", "minmax", "percentile", "entropy"],
        help="how INT8 ranges are calibrated (default: auto, the first that keeps the accuracy)",
    )
    variants.add_argument(
        "--seven-bit",
        action="store_true",
        default=None,
        help="7-bit INT8 weights, for a CPU without VNNI (8 bits overflow there)",
    )


def add_aim(parser: argparse.ArgumentParser) -> None:
    aim = parser.add_argument_group(
        "threshold (chosen on images that the model has not seen, never on a test split)"
    )
    aim.add_argument(
        "--rule",
        help='max-f1, "recall>=0.99", "precision>=0.95" or cost (default: max-f1); keep the quotes',
    )
    aim.add_argument("--escape-cost", type=float, metavar="C", help="cost of a missed defect")
    aim.add_argument(
        "--overkill-cost", type=float, metavar="C", help="cost of a rejected good part"
    )
    aim.add_argument(
        "--review",
        type=float,
        metavar="SHARE",
        help="send this share of the errors to review, such as 0.9 (default: no review band)",
    )


def given(arguments: argparse.Namespace, names: Sequence[str]) -> dict[str, object]:
    values = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def size_of(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        return _pixels(width), _pixels(height)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not WxH, such as 256x704, each at most {_WIDEST}"
        ) from None


def names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(_pixels(part.strip()) for part in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a list such as 8,16") from None
