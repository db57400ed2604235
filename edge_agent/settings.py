"""``station.toml`` as frozen models, checked whole at start.

Relative paths are relative to the file, and ``credential:NAME`` is a credential that systemd hands
to the service. Unknown keys are errors: a typo must not be a default.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from edge_agent.mqtt.pattern import TopicPattern
from edge_agent.system.forms import explained
from edge_agent.system.text import did_you_mean
from edge_agent.types.target import AUTO, ProviderError, parse_target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Callable


def _level(level: str) -> str:
    if not 1 <= len(level) <= 64 or not level.isprintable() or any(c in level for c in "+#/"):
        raise ValueError("must be 1 to 64 printable characters, without / + #")
    return level


Level = Annotated[str, AfterValidator(_level)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0.0, le=86_400.0)]
Instead = Literal["error", "review", "ok"]
Format = Literal["PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM"]


_WORDS = 1 << 16
"""Bytes that a message's JSON may have beside an image."""
CREDENTIALS = Path("/run/credentials")
"""Where systemd puts a unit's, while it runs."""
_CREDENTIAL = re.compile(r"credential:([A-Za-z0-9][A-Za-z0-9._-]*)")
_UNTOLD = tuple(("mqtt", key) for key in ("host", "username", "password_file", "key_file"))
_DIGEST = re.compile(r"[0-9a-f]{12,64}")
_HOST = re.compile(r"[\w.:%-]+")  # a name, or an address with its zone; no URL


class SettingsError(Exception):
    """The settings can't be used; the message names each key and what to do."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _real_path(cls, value: Any) -> Any:
        if isinstance(value, Path) and (not value.is_absolute() or "\0" in str(value)):
            raise ValueError("is not a path on this machine")
        return value


class StationSettings(_Section):
    """Who this is: the levels of its MQTT topics."""

    site: Level = "site"
    line: Level = "line"
    name: Level = "station"


class FolderSettings(_Section):
    """The camera-drop folder."""

    path: Path
    depth: int = Field(default=0, ge=0, le=8)
    after: Literal["move", "keep"] = "move"
    settle: Seconds = 0.5
    scan_every: Annotated[float, Field(ge=0.05, le=3600.0)] = 1.0
    patterns: tuple[str, ...] = (
        "*.png",
        "*.jpg",
        "*.jpeg",
        "*.bmp",
        "*.tif",
        "*.tiff",
        "*.webp",
        "*.pgm",
        "*.ppm",
        "*.pnm",
    )

    @field_validator("patterns")
    @classmethod
    def _lower(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        if not patterns:
            raise ValueError('no pattern means no image: leave it out, or give ["*"]')
        return tuple(pattern.lower() for pattern in patterns)


class MqttSourceSettings(_Section):
    """A topic that images arrive on, at the broker of ``[mqtt]``."""

    topic: str
    folder: Path | None = None
    encoding: Literal["binary", "base64", "json"] = "binary"
    field: str = Field(default="image", min_length=1)
    client_id: str | None = Field(default=None, min_length=1, max_length=128)
    receive_maximum: int = Field(default=20, ge=1, le=65_535)
    max_bytes: int = Field(default=128 << 20, ge=1)
    session_expiry: int = Field(default=7 * 86_400, ge=1, le=(1 << 32) - 1)

    @field_validator("topic")
    @classmethod
    def _topic(cls, topic: str) -> str:
        TopicPattern(topic)
        return topic

    @model_validator(mode="after")
    def _one_way(self) -> MqttSourceSettings:
        if self.folder is not None and self.encoding != "binary":
            raise ValueError(
                "encoding is for images inside messages, but with folder a message names a file: "
                "remove one of the two"
            )
        return self

    @property
    def limit(self) -> int:
        """Bytes that a message may have: an image's, as it is encoded, or the name of one's."""
        if self.folder is not None:
            return _WORDS
        if self.encoding == "binary":
            return self.max_bytes
        # Base64 has 4 characters for 3 bytes, and MIME's lines end in 2 more after each 76.
        return self.max_bytes * 4 // 3 * 78 // 76 + _WORDS


class SourceSettings(_Section):
    """Where images come from: a folder, a topic, or both."""

    expect_every: Seconds = 0.0
    """Without a judged image for so long the station is failing; 0: it may be quiet for ever."""
    folder: FolderSettings | None = None
    mqtt: MqttSourceSettings | None = None

    @model_validator(mode="after")
    def _any(self) -> SourceSettings:
        if self.folder is None and self.mqtt is None:
            raise ValueError("no source of images: add [source.folder], [source.mqtt] or both")
        return self


class StorageSettings(_Section):
    """Where the station keeps what is its own."""

    root: Path
    work: Path | None = None
    processed: Path | None = None
    quarantine: Path | None = None

    @property
    def work_dir(self) -> Path:
        return self.work or self.root / "work"

    @property
    def processed_dir(self) -> Path:
        return self.processed or self.root / "processed"

    @property
    def quarantine_dir(self) -> Path:
        return self.quarantine or self.root / "quarantine"

    @property
    def journal(self) -> Path:
        return self.root / "journal.db"

    @property
    def cache(self) -> Path:
        """What can be made again: compiled models, the table of measured candidates."""
        return self.root / "cache"

    @property
    def bundles(self) -> Path:
        """Which version of each bundle ran here last."""
        return self.root / "bundles.json"

    @property
    def mounts(self) -> Path:
        """On which filesystem each folder lay."""
        return self.root / "mounts.json"

    @property
    def session(self) -> Path:
        """Which session the broker keeps for ``[source.mqtt]``."""
        return self.root / "session.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"


class DecisionSettings(_Section):
    """Instead of what the bundle says, where this station must be stricter or laxer."""

    bundle: str | None = None
    """The start of the digest of the bundle that ``threshold`` and ``review`` were chosen for."""
    threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    review: tuple[float, float] | None = None
    implausible: Instead = "error"

    @field_validator("bundle")
    @classmethod
    def _digest(cls, bundle: str | None) -> str | None:
        if bundle is not None and not _DIGEST.fullmatch(bundle):
            raise ValueError(
                "must be the start of a bundle's digest, at least 12 digits, as `edge-agent "
                "bundle show` prints it"
            )
        return bundle

    @field_validator("review")
    @classmethod
    def _band(cls, review: tuple[float, float] | None) -> tuple[float, float] | None:
        if review is not None and not 0.0 <= review[0] <= review[1] <= 1.0:
            raise ValueError("must be two scores from 0 to 1, the lower one first")
        return review


class TrustSettings(_Section):
    """Whose bundles run here."""

    keys: dict[str, str] = {}
    require_signature: bool = False
    allow_downgrade: bool = False

    @field_validator("keys")
    @classmethod
    def _keys(cls, keys: dict[str, str]) -> dict[str, str]:
        for name, key in keys.items():
            try:
                raw = base64.b64decode(key.removeprefix("ed25519:"), validate=True)
            except ValueError:
                raw = b""
            if not key.startswith("ed25519:") or len(raw) != 32:
                raise ValueError(
                    f"{name} is not a public key: give what `edge-agent bundle keygen` printed"
                )
        return keys

    @model_validator(mode="after")
    def _someone(self) -> TrustSettings:
        if self.require_signature and not self.keys:
            raise ValueError(
                "require_signature is set, but keys is empty, so no signature would be valid"
            )
        return self


Days = Annotated[float, Field(gt=0.0, le=36_500.0)]


class RetentionSettings(_Section):
    """How long the station keeps what it has judged; None: for ever."""

    ok_days: Days | None = None
    defect_days: Days | None = None
    max_images: int | None = Field(default=None, ge=1)
    min_free_mb: int | None = Field(default=None, ge=1)
    journal_days: Days | None = None
    replay_days: Days = 7.0

    @model_validator(mode="after")
    def _defects_longest(self) -> RetentionSettings:
        if self.defect_days and (self.ok_days is None or self.ok_days > self.defect_days):
            raise ValueError("defect_days is shorter than ok_days: defects are kept longest")
        return self

    @property
    def ok_images_go(self) -> bool:
        """Whether images that were judged ok are ever removed."""
        return any((self.ok_days, self.max_images, self.min_free_mb))

    @property
    def other_images_go(self) -> bool:
        """Whether the others are."""
        return any((self.defect_days, self.max_images, self.min_free_mb))


class RuntimeSettings(_Section):
    """Which model runs on what; ``auto`` and 0 are found out by measuring."""

    provider: str = "auto"
    variant: str = "auto"
    workers: int = Field(default=0, ge=0, le=64)
    threads: int = Field(default=0, ge=0, le=256)
    fallback: bool = False
    precision: Literal["accuracy", "performance"] = "accuracy"
    gpu_memory_mb: int = Field(default=0, ge=0)
    probe_timeout: Annotated[float, Field(gt=0.0, le=3600.0)] = 120.0

    @field_validator("provider")
    @classmethod
    def _known(cls, provider: str) -> str:
        if provider != AUTO:
            try:
                parse_target(provider)
            except ProviderError as error:
                raise ValueError(str(error)) from None
        return provider


class WorkerSettings(_Section):
    """The processes that decode and infer, and what they may use."""

    frame_timeout: Annotated[float, Field(gt=0.0, le=3600.0)] = 30.0
    start_timeout: Annotated[float, Field(gt=0.0, le=3600.0)] = 120.0
    max_attempts: int = Field(default=3, ge=1, le=100)
    retry_truncated: Seconds = 5.0
    memory_mb: int = Field(default=2048, ge=256)
    formats: tuple[Format, ...] = Field(
        default=("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM"), min_length=1
    )
    max_pixels: int = Field(default=64_000_000, ge=1)
    max_bytes: int = Field(default=128 << 20, ge=1)


class MqttSettings(_Section):
    """The broker that verdicts go to."""

    host: str
    port: Port | None = None
    root: str = "inspection"
    client_id: str | None = Field(default=None, min_length=1, max_length=128)
    keepalive: int = Field(default=30, ge=5, le=3600)
    telemetry_every: Seconds = 10.0
    commands: bool = True
    username: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @field_validator("host")
    @classmethod
    def _alone(cls, host: str) -> str:
        # A URL may hold a password, and the host is told wherever the broker is spoken of.
        if not _HOST.fullmatch(host):
            raise ValueError(
                "must be the broker's name or address only: port, tls and username have their own "
                "keys"
            )
        return host

    @field_validator("root")
    @classmethod
    def _root(cls, root: str) -> str:
        if root.startswith("$"):
            raise ValueError("topics that begin with $ are the broker's own")
        if not root.isprintable() or any(c in root for c in "+#") or "" in root.split("/"):
            raise ValueError("topic levels must not be empty or contain + or #")
        return root

    @model_validator(mode="after")
    def _consistent(self) -> MqttSettings:
        files = (self.ca_file, self.cert_file, self.key_file)
        if any(files) and not self.tls:
            raise ValueError("certificate files are given, but tls = false: set tls = true")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file is given without username")
        return self


class HttpSettings(_Section):
    """``/healthz``, ``/readyz`` and ``/metrics``, read-only."""

    host: str = "127.0.0.1"
    port: Port = 8471


class LogSettings(_Section):
    """How the agent speaks on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Settings(_Section):
    """The whole of ``station.toml``."""

    bundle: Path
    station: StationSettings = StationSettings()
    source: SourceSettings
    storage: StorageSettings
    decision: DecisionSettings = DecisionSettings()
    trust: TrustSettings = TrustSettings()
    retention: RetentionSettings = RetentionSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    worker: WorkerSettings = WorkerSettings()
    mqtt: MqttSettings | None = None
    http: HttpSettings | None = None
    log: LogSettings = LogSettings()

    @property
    def image_folders(self) -> dict[str, Path]:
        """Where images come from and go to, by the settings' names."""
        source, storage = self.source, self.storage
        found = {
            "source.folder.path": source.folder.path if source.folder else None,
            "source.mqtt.folder": source.mqtt.folder if source.mqtt else None,
            "storage.work": storage.work_dir,
            "storage.processed": storage.processed_dir,
            "storage.quarantine": storage.quarantine_dir,
        }
        return {name: path for name, path in found.items() if path is not None}

    @model_validator(mode="after")
    def _listens_to_others(self) -> Settings:
        source, broker, own = self.source.mqtt, self.mqtt, self.station
        if source is None:
            return self
        if broker is None:
            raise ValueError("[source.mqtt] needs [mqtt]: it says how to reach the broker")
        if source.client_id is not None and source.client_id == broker.client_id:
            raise ValueError(
                "source.mqtt.client_id and mqtt.client_id are the same: the broker would accept "
                "only one of the two connections. Remove the first one"
            )
        for level in ("status", "verdict", "defect", "telemetry", "reply"):
            topic = f"{broker.root}/{own.site}/{own.line}/{own.name}/{level}"
            if TopicPattern(source.topic).matches(topic):
                raise ValueError(
                    f"source.mqtt.topic includes {topic}, this station's own: it would judge its "
                    "own messages. Give the cameras their own topic: cameras/{camera}/{id}"
                )
        return self

    @model_validator(mode="after")
    def _apart(self) -> Settings:
        storage = self.storage
        inbox = {"source.folder.path": self.source.folder.path} if self.source.folder else {}
        places = {
            **inbox,
            "storage.root": storage.root,
            "storage.work": storage.work_dir,
            "storage.processed": storage.processed_dir,
            "storage.quarantine": storage.quarantine_dir,
            "bundle": self.bundle,
        }
        taken: dict[str, str] = {}
        for name, path in places.items():
            real = os.path.realpath(path)
            if real in taken:
                raise ValueError(f"{name} and {taken[real]} are both {path}: each needs its own")
            taken[real] = name
        self._not_among_images(taken)
        work = Path(os.path.realpath(storage.work_dir))
        for real, name in taken.items():
            if work in Path(real).parents:  # whatever lies there is taken for an image
                raise ValueError(f"{name} lies inside storage.work, {work}: move it out")
        return self

    def _not_among_images(self, taken: dict[str, str]) -> None:
        """What is the station's own must not lie where it looks for images."""
        folder = self.source.folder
        if folder is None or not folder.depth:
            return
        inbox = Path(os.path.realpath(folder.path))
        for real, name in taken.items():
            if inbox in Path(real).parents:
                raise ValueError(
                    f"{name} lies inside source.folder.path, {inbox}, whose folders are looked "
                    "into: move it out, or set depth = 0"
                )


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
