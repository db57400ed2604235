"""The manifest's published schema is the model's."""

from __future__ import annotations

import json
from pathlib import Path

from edge_agent.bundle.manifest import Manifest, manifest_schema
from tests.bundles import make_manifest, make_model

SCHEMA = Path(__file__).parents[4] / "docs/schemas/bundle-manifest.schema.json"


def test_the_published_schema_is_the_one_generated():
    assert SCHEMA.read_text() == manifest_schema(), (
        "write edge_agent.bundle.manifest.manifest_schema() to docs/schemas again"
    )


def test_the_schema_allows_no_unknown_field_anywhere():
    schema = json.loads(SCHEMA.read_text())

    for part in [schema, *schema["$defs"].values()]:
        assert part["additionalProperties"] is False, part["title"]


def test_a_written_manifest_has_every_field_that_the_schema_asks_for():
    schema = json.loads(SCHEMA.read_text())
    written = json.loads(make_manifest(make_model())[0].model_dump_json())

    assert set(schema["required"]) == set(Manifest.model_fields) == set(written)
