"""What is published: exactly the schema's shape, and never a failure."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.publish import (
    Station,
    birth_payload,
    offline_payload,
    schemas,
    verdict_payload,
)
from edge_agent.publish.payloads import StatusMessage, VerdictMessage
from edge_agent.publish.telemetry import Telemetry, telemetry_payload
from edge_agent.types import Image, Latency, Region, Verdict
from tests.inspections import MODEL, inspection
from tests.readings import READING, WELL

IDLE = replace(
    READING, health=replace(WELL, last_inspection_age=None), recent={}, drift=(), disks=()
)
STATION = Station("plant 1", "line-7", "camera_2")
SCHEMAS = Path(__file__).parents[4] / "docs" / "schemas"


def test_the_whole_message():
    payload = verdict_payload(STATION, 17, inspection(3, Verdict.DEFECT, score=0.12345678))
    assert payload.decode() == (
        '{"id":"00000003-4e07408562be","sequence":17,'
        '"station":{"site":"plant 1","line":"line-7","station":"camera_2"},'
        '"verdict":"defect","score":0.123457,"threshold":0.5,"reason":"",'
        '"image":{"name":"part 3.png",'
        '"sha256":"4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce",'
        '"width":500,"height":1250,"bytes":1003,'
        '"stored":"processed/part 3.png"},'
        '"captured":"2026-09-21T14:13:23.250Z","received":"2026-09-21T14:13:23.500Z",'
        '"completed":"2026-09-21T14:13:23.750Z",'
        '"model":{"name":"demo","version":"1.2.0","variant":"fp32",'
        f'"digest":"{MODEL.digest}"}},'
        '"runtime":{"provider":"CPUExecutionProvider","device":"CPU"},'
        '"latency_ms":{"wait":1.5,"decode":2.25,"preprocess":3.125,"infer":3.0,"total":7.0},'
        '"memory":{"worker_rss":210000000,"agent_rss":40000000,"gpu_memory":null},'
        '"regions":[{"x":10,"y":20,"width":30,"height":40,"peak":0.875}]}'
    )


def test_an_error_has_a_reason_and_no_score():
    message = json.loads(verdict_payload(STATION, 1, inspection(3, Verdict.ERROR)))
    assert (message["verdict"], message["score"]) == ("error", None)
    assert message["reason"] == "the file is empty"


def _refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


anything = st.floats(allow_nan=True, allow_infinity=True)


@given(
    number=anything,
    time=anything.filter(lambda x: not math.isnan(x)),
    text=st.text(st.characters(exclude_categories=())),
    peak=anything,
)
def test_no_inspection_is_unpublishable(number, time, text, peak):
    made = inspection(
        1,
        Verdict.REVIEW,
        score=number,
        threshold=number,
        reason=text,
        name=text,
        captured=time,
        latency=Latency(number, number, number, number, number),
        image=Image("", 0),
        regions=(Region(-1, -2, 0, 0, peak),),
    )
    payload = verdict_payload(STATION, 1, made)
    json.loads(payload, parse_constant=_refuse)
    VerdictMessage.model_validate_json(payload)


def test_status():
    birth = birth_payload(
        STATION, MODEL, version="0.1.0", started=1.5, degraded=True, drift=["brightness"]
    )
    assert json.loads(birth) == {
        "online": True,
        "station": {"site": "plant 1", "line": "line-7", "station": "camera_2"},
        "version": "0.1.0",
        "started": "1970-01-01T00:00:01.500Z",
        "reason": "",
        "model": {
            "name": "demo",
            "version": "1.2.0",
            "variant": "fp32",
            "digest": MODEL.digest,
        },
        "runtime": {"provider": "CPUExecutionProvider", "device": "CPU"},
        "degraded": True,
        "paused": False,
        "drift": ["brightness"],
        "failing": False,
    }
    assert json.loads(birth_payload(STATION, MODEL, version="1", started=0, failing=True))[
        "failing"
    ]
    will = json.loads(offline_payload(STATION, "connection lost", version="0.1.0", started=1.5))
    assert (will["online"], will["reason"], will["model"]) == (False, "connection lost", None)
    StatusMessage.model_validate(will)


def test_telemetry():
    said = json.loads(telemetry_payload(STATION, READING, at=1.5, rate=0.25))
    assert said["time"] == "1970-01-01T00:00:01.500Z"
    assert said["verdicts"] == WELL.verdicts
    assert (said["rate"], said["last_inspection_age"]) == (0.25, 0.5)
    assert (said["waiting"], said["in_work"], said["outbox"]) == (0, 1, 0)
    assert said["latency_ms"] == [{"stage": "infer", "p50": 30.0, "p95": 300.0, "p99": 300.0}]
    assert said["disks"][0] == {"place": "state", "free": 7 << 30, "size": 10 << 30}
    assert said["drift"][0] == {
        "figure": "brightness", "frames": 250, "psi": 4.25, "distance": 0.375,
        "higher": True, "drifting": True,
    }  # fmt: skip


def test_the_rate_is_since_the_message_before():
    times = iter([0.0, 10.0, 14.0])
    counts = iter([30, 50])

    def read():
        return replace(READING, health=replace(WELL, inspections=next(counts)))

    telemetry = Telemetry(STATION, read, wall=lambda: 1.5, clock=lambda: next(times))
    assert [json.loads(telemetry.payload())["rate"] for _ in range(2)] == [3.0, 5.0]


def test_the_published_schemas_are_the_ones_generated():
    found = {name: (SCHEMAS / name).read_text() for name in schemas()}
    assert found == schemas(), "write edge_agent.publish.schemas() to docs/schemas again"


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("verdict", verdict_payload(STATION, 2, inspection(1, Verdict.DEFECT))),
        ("verdict", verdict_payload(STATION, 2, inspection(1, Verdict.ERROR))),
        ("status", birth_payload(STATION, MODEL, version="1", started=0)),
        ("status", offline_payload(STATION, "stopped", version="1", started=0)),
        ("telemetry", telemetry_payload(STATION, READING, at=1.5, rate=0.25)),
        ("telemetry", telemetry_payload(STATION, IDLE, at=1.5, rate=0.0)),
    ],
)
def test_payloads_have_the_schemas_shape(name, payload):
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    _hold(json.loads(payload), schema, schema["$defs"])


def test_a_pause_is_in_the_status():
    birth = birth_payload(STATION, MODEL, version="0.1.0", started=1.5, paused=True)
    assert json.loads(birth)["paused"] is True


def _hold(value, schema, defs):
    """The part of JSON Schema that ours use: every field present, each of a stated type."""
    if "$ref" in schema:
        schema = defs[schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        options = [o for o in schema["anyOf"] if (o.get("type") == "null") == (value is None)]
        assert options, f"{value!r} is none of {schema}"
        _hold(value, options[0], defs)
        return
    kinds = {
        "object": dict, "array": list, "string": str, "boolean": bool,
        "integer": int, "number": (int, float), "null": type(None),
    }  # fmt: skip
    assert isinstance(value, kinds[schema["type"]]), f"{value!r} is not {schema['type']}"
    assert value in schema.get("enum", [value])
    if schema["type"] == "object":
        fields = schema["properties"]
        # What was added later has a default: a message from before, that is replayed, lacks it.
        assert list(value) == list(fields)
        assert schema["required"] == [key for key in fields if "default" not in fields[key]]
        for key, part in value.items():
            _hold(part, schema["properties"][key], defs)
    if schema["type"] == "array":
        for part in value:
            _hold(part, schema["items"], defs)
