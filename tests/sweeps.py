"""What `make test` runs with some values, and `make faults` with all."""

from __future__ import annotations

import pytest


def swept(*values: object) -> list[object]:
    """Values of a parameter that `make faults` alone has."""
    return [pytest.param(value, marks=pytest.mark.faults) for value in values]
