"""What commands print of figures, variants and decisions."""

from __future__ import annotations

from typing import Any


def headline(metrics: dict[str, Any]) -> list[str]:
    """What a station would do first: FP32, if that is another variant, is what it was made from."""
    runs, fp32 = metrics["runs"], line_of(metrics["pooled"])
    if runs == "fp32":
        return [f"out of fold   {fp32}"]
    own = line_of(metrics["variants"][runs])
    return [
        f"out of fold   {own}  with {runs}, the fastest on this machine",
        f"in fp32       {fp32}",
    ]


def line_of(figures: dict[str, float]) -> str:
    return (
        f"AP {figures['ap']:.4f}  F1 {figures['f1']:.4f}  threshold {figures['threshold']:.3f}  "
        f"escapes {figures['escapes']} of {figures['defects']}  overkills {figures['overkills']} "
        f"of {figures['images'] - figures['defects']}"
    )


def variant_lines(variants: dict[str, dict[str, Any]]) -> list[str]:
    """What got into the bundle and what didn't; a variant that is slower than FP32 is called so."""
    lines = []
    fastest = {}
    for name, found in variants.items():
        if found["fault"]:
            lines.append(f"{name:<13} LEFT OUT ({found['how']}): {found['fault']}")
            continue
        times = found["latency_ms"] or {}
        fastest[name] = min(times.values(), default=None)
        measured = ", ".join(f"{ms:.1f} ms on {where}" for where, ms in times.items())
        line = f"{name:<13} AP {found['ap']:.4f}  {found['size'] / 1e6:.1f} MB  {measured}"
        if name != "fp32" and fastest[name] and fastest["fp32"]:
            ratio = fastest["fp32"] / fastest[name]
            line += f": {ratio:.2f} times as fast as fp32" if ratio > 1 else ": slower than fp32"
        lines.append(line)
        lines += gate_lines(name, found["gate"])
        lines += [
            f"{name:<13} not tested on {where}: {why}" for where, why in found["untried"].items()
        ]
    return lines


def gate_lines(name: str, gate: dict[str, str]) -> list[str]:
    """On which providers a variant may be used, and on which not; nothing to be said of FP32."""
    if name == "fp32" or not gate:
        return []
    held = ", ".join(provider for provider, fault in gate.items() if not fault)
    lines = [f"{name:<13} keeps FP32's accuracy on {held}"]
    return lines + [f"{name:<13} NOT ON {where}: {why}" for where, why in gate.items() if why]


def review_of(calibration: dict[str, Any]) -> str:
    (low, high), figures = calibration["review"], calibration["figures"]
    return (
        f"{low:.4f} to {high:.4f}: {figures['review_images']:.1%} of the images, "
        f"{figures['review_errors']:.1%} of the errors"
    )


def over_budget(metrics: dict[str, Any]) -> str:
    """What is to be said where the variants that were admitted are slower than what was tried."""
    times = [
        ms for found in metrics["variants"].values() for ms in (found["latency_ms"] or {}).values()
    ]
    budget = metrics["budget"]["ms"]
    if not times or min(times) <= 1.25 * budget:  # medians now, of a machine that may be busy
        return ""
    return (
        f"the fastest variant takes {min(times):.1f} ms, more than the budget of {budget:g} ms: "
        "INT8 was left out, or kept blocks in float32. Use a smaller --budget-ms"
    )


def warnings_of(metrics: dict[str, Any]) -> list[str]:
    """What of the images is no picture of the part, and which such pictures can't be told."""
    found = [
        f"a {blank} picture would be judged like one of the part, because there are such among the "
        "training images: remove them, and train again"
        for blank in metrics["judged_blanks"]
    ]
    odd, first = metrics.get("test_implausible", (0, ""))
    return found + ([implausible(odd, metrics["test"]["images"], first)] if odd else [])


def implausible(count: int, images: int, first: str) -> str:
    return (
        f"{count} of {images} images don't look like the training images; a station calls them "
        f"error, whatever their score: {first}"
    )
