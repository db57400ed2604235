"""The JSON Schema of everything that is said and heard."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from edge_agent.publish.commands import BundleBody, Nothing, ReplayBody, ReplyMessage
from edge_agent.publish.payloads import StatusMessage, VerdictMessage
from edge_agent.publish.telemetry import TelemetryMessage

if TYPE_CHECKING:
    from pydantic import BaseModel


def schemas() -> dict[str, str]:
    """The JSON Schema of each message, by file name, as published in ``docs/schemas``."""
    said: dict[str, type[BaseModel]] = {
        "verdict": VerdictMessage,
        "status": StatusMessage,
        "telemetry": TelemetryMessage,
        "reply": ReplyMessage,
    }
    heard: dict[str, type[BaseModel]] = {
        "command-replay": ReplayBody,
        "command-bundle": BundleBody,
        "command-nothing": Nothing,
    }
    made = {name: _schema(model, "serialization") for name, model in said.items()}
    made |= {name: _schema(model, "validation") for name, model in heard.items()}
    return {
        f"{name}.schema.json": json.dumps(schema, indent=2) + "\n" for name, schema in made.items()
    }


def _schema(model: type[BaseModel], mode: Literal["serialization", "validation"]) -> dict[str, Any]:
    schema = model.model_json_schema(mode=mode)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
