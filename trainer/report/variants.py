"""The bundle's variants beside each other: accuracy, size and, where it was measured, time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.report.files import RunFiles

_NAMES = {"ap": "AP", "f1": "F1", "escapes": "escapes", "overkills": "overkills"}


@dataclass(frozen=True)
class Table:
    """Cells as text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def variant_table(run: RunFiles) -> Table | None:
    """A row a variant; columns that no variant has are left out."""
    shipped = {one.name: one for one in run.manifest.variants} if run.manifest else {}
    measured: dict[str, Any] = run.metrics.get("variants") or {}
    names = [*shipped, *(name for name in measured if name not in shipped)]
    if not names:
        return None
    rows: list[dict[str, str]] = []
    for name in names:
        row = {"variant": name}
        if name in shipped:
            row["in the bundle"] = "yes"
            row["file"] = f"{shipped[name].size / 1e6:.1f} MB"
        else:
            row["in the bundle"] = "no"
        accuracy = shipped[name].accuracy if name in shipped else None
        figures = {**(accuracy.model_dump() if accuracy else {}), **_plain(measured.get(name))}
        for key, title in _NAMES.items():
            if key in figures:
                row[title] = _text(figures.pop(key))
        for key, value in figures.items():
            if key not in _COMMON and isinstance(value, (int, float, str)):
                row[key.replace("_", " ")] = _text(value)
        rows.append(row)
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    return Table(columns, tuple(tuple(row.get(column, "") for column in columns) for row in rows))


# Of every variant alike, or said by the columns that are shown.
_COMMON = {"auroc", "precision", "recall", "accuracy", "threshold", "images", "defects"}


def _plain(figures: object, prefix: str = "") -> dict[str, Any]:
    """Nested figures, such as latency by provider, as one level."""
    if not isinstance(figures, dict):
        return {}
    flat: dict[str, Any] = {}
    for key, value in figures.items():
        name = f"{prefix} {key}".strip()
        flat.update(_plain(value, name) if isinstance(value, dict) else {name: value})
    return flat


def _text(value: float | str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
