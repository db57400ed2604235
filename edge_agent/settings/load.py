"""Read ``station.toml``, and name every key that is wrong."""

from __future__ import annotations

import json
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import (
    BaseModel,
    ValidationError,
)

from edge_agent.settings.whole import Settings
from edge_agent.system.forms import explained
from edge_agent.system.text import did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Callable


CREDENTIALS = Path("/run/credentials")
"""Where systemd puts a unit's, while it runs."""
_CREDENTIAL = re.compile(r"credential:([A-Za-z0-9][A-Za-z0-9._-]*)")
_UNTOLD = tuple(("mqtt", key) for key in ("host", "username", "password_file", "key_file"))


class SettingsError(Exception):
    """The settings can't be used; the message names each key and what to do."""


def load_settings(file: Path) -> Settings:
    """Read ``station.toml``.

    Raises:
        SettingsError: with every wrong key in one message.
    """
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SettingsError(
            f"{file} does not exist: copy deploy/examples/station.toml and change its paths"
        ) from None
    except OSError as error:
        raise SettingsError(f"{file} can't be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise SettingsError(f"{file} is not TOML: {error}") from None
    place = partial(_path, base=file.resolve().parent, credentials=_credentials(file))
    try:
        # Over JSON, because strict then means what TOML's author means: true is no number, "5" is
        # none, but a string may be a path and a list a tuple.
        absolute = json.dumps(_absolute(raw, Settings, place), default=str)
        settings = Settings.model_validate_json(absolute, strict=True)
    except ValidationError as error:
        lines = [f"  {_place(detail)}: {_message(detail)}" for detail in error.errors()]
        raise SettingsError("\n".join([f"{file} can't be used:", *lines])) from None
    except ValueError as error:  # a number whose hexadecimal digits were fewer than the limit
        raise SettingsError(f"{file} can't be used: {error}") from None
    return settings


def _credentials(file: Path) -> Path:
    """The credentials of the unit that reads this file: each of several stations has its own.

    A command that is run beside the service is not told; then it is the unit that ships.
    """
    unit = "edge-agent" if file.stem == "station" else f"edge-agent@{file.stem}"
    return Path(os.environ.get("CREDENTIALS_DIRECTORY", CREDENTIALS / f"{unit}.service"))


def _absolute(
    raw: dict[str, Any], model: type[BaseModel], place: Callable[[str], str]
) -> dict[str, Any]:
    """Make the values of Path fields absolute, section by section."""
    result = dict(raw)
    for name, field in model.model_fields.items():
        value = result.get(name)
        kinds = _kinds(field.annotation)
        if isinstance(value, str) and Path in kinds:
            result[name] = place(value)
        elif isinstance(value, dict):
            for kind in kinds:
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    result[name] = _absolute(value, kind, place)
    return result


def _path(value: str, base: Path, credentials: Path) -> str:
    """Absolute, where it can be: the models refuse it otherwise, with its place."""
    if credential := _CREDENTIAL.fullmatch(value):
        return str(credentials / credential[1])
    if value.startswith("credential:"):
        return value
    try:
        return str(base / Path(value).expanduser()) if value else value
    except RuntimeError:  # the home of nobody
        return value


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *getattr(annotation, "__args__", ()))


def _place(detail: Any) -> str:
    return ".".join(str(part) for part in detail["loc"]) or "station.toml"


def _meant(place: tuple[str, ...]) -> str:
    """Which key of the same section is nearly called so, or which of another one just so."""
    *section, key = place
    names = _keys(Settings)
    inside = ".".join(section)
    beside = [name.rpartition(".")[2] for name in names if name.rpartition(".")[0] == inside]
    if near := did_you_mean(key, beside):
        return near
    others = [name for name in names if name.rpartition(".")[2] == key]
    return f"; did you mean {' or '.join(others)}?" if others else ""


def _keys(model: type[BaseModel], section: str = "") -> list[str]:
    """All that there are, with the sections before them."""
    found = []
    for name, field in model.model_fields.items():
        found.append(section + name)
        for kind in _kinds(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found += _keys(kind, f"{section}{name}.")
    return found


def _message(detail: Any) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        meant = _meant(detail["loc"]) or ";"
        return f"unknown key{meant} deploy/examples/station.toml lists them all"
    if kind == "missing":
        return "is missing"
    if kind == "model_type":
        return f"is a section of its own: write [{_place(detail)}]"
    message = explained(detail)
    given = detail.get("input")
    # What was put where a broker's or a secret's place belongs may be the secret itself.
    untold = isinstance(given, dict) or detail["loc"] in _UNTOLD
    return message if untold else f"{message} (it is {given!r})"
