"""The bundle's variants beside each other: accuracy, size and, where it was measured, time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.report.files import RunFiles

_COLUMNS = {
    "ap": "AP",
    "f1": "F1",
    "threshold": "threshold",
    "escapes": "escapes",
    "overkills": "overkills",
    "flips": "changed",
    "max_difference": "max diff.",
    "latency_ms": "ms",
    "how": "made by",
}


@dataclass(frozen=True)
class Table:
    """Cells as text, and what is to be said below."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    holds: tuple[str, ...]
    """On which providers a variant was found to be as accurate as FP32."""
    faults: tuple[str, ...]
    """Why a variant was not let into the bundle, or on which provider it is not run."""


def variant_table(run: RunFiles) -> Table | None:
    """A row a variant, those included that were not let in; columns that none has are left out."""
    shipped = {one.name: one for one in run.manifest.variants} if run.manifest else {}
    measured: dict[str, Any] = run.metrics.get("variants") or {}
    rows: list[dict[str, str]] = []
    for name in dict.fromkeys([*shipped, *measured]):
        figures = dict(measured.get(name) or {})
        row = {"variant": name}
        if run.manifest:
            row["bundle"] = "yes" if name in shipped else "no"
        if name in shipped:
            accuracy = shipped[name].accuracy
            figures = {**(accuracy.model_dump() if accuracy else {}), **figures}
            figures["size"] = shipped[name].size
        if "size" in figures:
            row["file"] = f"{figures['size'] / 1e6:.1f} MB"
        for key, title in _COLUMNS.items():
            for part, value in _leaves(figures.get(key)):
                row[f"{title} {part}".strip()] = _text(value)
        rows.append(row)
    if not rows:
        return None
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    gates = {name: figures.get("gate") or {} for name, figures in measured.items()}
    holds = tuple(
        f"{name} keeps fp32's accuracy on {', '.join(w for w, fault in gate.items() if not fault)}."
        for name, gate in gates.items()
        if name != "fp32" and not all(gate.values())
    )
    faults = tuple(
        f"Not in the bundle: {name}: {figures['fault']}"
        for name, figures in measured.items()
        if figures.get("fault")
    ) + tuple(
        f"Not run on {where}: {name}: {fault}"
        for name, figures in measured.items()
        for where, fault in gates[name].items()
        if fault and not figures.get("fault")
    )
    cells = tuple(tuple(row.get(column, "") for column in columns) for row in rows)
    return Table(columns, cells, holds, faults)


def _leaves(value: Any, name: str = "") -> list[tuple[str, float | str]]:
    """Figures that are nested, such as a latency by provider, one by one."""
    if isinstance(value, dict):
        return [
            leaf for key, inner in value.items() for leaf in _leaves(inner, f"{name} {key}".strip())
        ]
    return [(name, value)] if isinstance(value, (int, float, str)) else []


def _text(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
