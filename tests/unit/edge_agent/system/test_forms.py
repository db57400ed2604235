"""No pattern is shown to anybody: what is asked for is said in words."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field, ValidationError

from edge_agent.bundle.history import _History
from edge_agent.bundle.manifest import Manifest
from edge_agent.publish.commands import BundleBody
from edge_agent.settings import Settings
from edge_agent.system.forms import IN_WORDS, explained
from trainer.config import RECIPES

MODELS = [Manifest, Settings, BundleBody, _History, *RECIPES.values()]


def patterns(schema: object) -> set[str]:
    if isinstance(schema, dict):
        own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
        return own.union(*map(patterns, schema.values()))
    return set().union(*map(patterns, schema)) if isinstance(schema, list) else set()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_each_form_of_what_is_read_has_words(model):
    assert patterns(model.model_json_schema()) <= set(IN_WORDS)


@pytest.mark.parametrize("pattern", [*IN_WORDS, "^other$"])
def test_the_words_take_the_place_of_the_pattern(pattern):
    class Model(BaseModel):
        text: str = Field(pattern=pattern)

    with pytest.raises(ValidationError) as caught:
        Model(text="~")
    (detail,) = caught.value.errors()
    said = explained(detail)
    assert said == IN_WORDS.get(pattern, "is not of the form that is asked for")
    assert not set("^$[]{}\\") & set(said)
