"""What a worker of a test is told."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from edge_agent.engine.worker.protocol import WorkerOptions

_PLAIN: dict[str, Any] = {
    "bundle": "",
    "digest": "",
    "variant": "fp32",
    "provider": "cpu",
    "threads": 1,
    "precision": "accuracy",
    "cache": "",
    "gpu_memory_mb": 0,
    "memory_mb": 2048,
    "formats": ("PNG",),
    "max_pixels": 64_000_000,
    "max_bytes": 128 << 20,
}


def plain_options(**changes: Any) -> WorkerOptions:
    """One thread on the CPU, the settings' own limits, PNG alone."""
    values = {**_PLAIN, **changes}
    return WorkerOptions(**{field.name: values[field.name] for field in fields(WorkerOptions)})
