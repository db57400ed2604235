"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edge_agent.system.numbers import whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
"""What `add_parser` is called on; the class has no public name."""
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
        help="of an image or mask: one of more is refused (64000000); see [worker] at the station",
    )


def add_variants(parser: argparse.ArgumentParser) -> None:
    variants = parser.add_argument_group("variants, each only if it keeps FP32's accuracy")
    variants.add_argument("--variants", type=names, help="(fp32,int8,fp16)")
    variants.add_argument(
        "--calibrator",
        choices=["auto", "minmax", "percentile", "entropy"],
        help="how INT8's ranges follow from the images (auto: the first that keeps the accuracy)",
    )
    variants.add_argument(
        "--seven-bit",
        action="store_true",
        default=None,
        help="INT8 for a CPU without VNNI, where 8 bits overflow",
    )


def add_aim(parser: argparse.ArgumentParser) -> None:
    aim = parser.add_argument_group(
        "threshold, chosen on images that the model had not seen, never on a test split"
    )
    aim.add_argument(
        "--rule", help='max-f1, "recall>=0.99", "precision>=0.95" or cost (max-f1); mind the quotes'
    )
    aim.add_argument("--escape-cost", type=float, metavar="C", help="of a missed defect")
    aim.add_argument("--overkill-cost", type=float, metavar="C", help="of a good part thrown away")
    aim.add_argument(
        "--review",
        type=float,
        metavar="SHARE",
        help="make the review band hold this share of the errors, such as 0.9 (no band)",
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
