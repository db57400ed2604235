"""A message to what is to be judged: its name, its identity, its bytes or why there are none."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from edge_agent.sources.inside import TooLargeError, read_inside
from edge_agent.text import printable
from edge_agent.types import Failure, Image, ReplyTo

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.mqtt import Arrived
    from edge_agent.pattern import TopicPattern
    from edge_agent.settings import MqttSourceSettings

_SUFFIXES = (
    (b"\x89PNG", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"RIFF", ".webp"),
    (b"P5", ".pgm"),
    (b"P6", ".ppm"),
)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_LIMIT = 120
_REPLY_LEVELS = 100  # brokers disconnect whoever sends to 129 (EMQX), or 201 (mosquitto)


@dataclass(frozen=True)
class Offer:
    """What a message offers to be judged."""

    identity: str
    """The frame's: the same for every repeat of the message."""
    certain: bool
    """From the camera's own id: whatever has this identity is this image. Otherwise it is told
    from the message's bytes and packet id, which another image may have a long time later."""
    name: str
    """As the camera gave it."""
    file: str
    """A name that is safe in every folder."""
    captured: float | None
    """Seconds since the epoch; None: the camera has not said."""
    content: bytes
    reply: ReplyTo | None
    refused: Failure | None
    """Why it can't be judged, whatever its bytes are."""


class FileMessage(BaseModel):
    """Where the settings name a folder: the name of an image in there."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    file: str
    id: str | None = None
    name: str | None = None
    camera: str | None = None
    captured: str | float | None = None


def read_message(arrived: Arrived, pattern: TopicPattern, settings: MqttSourceSettings) -> Offer:
    """Read one message; whatever is wrong with it becomes the reason of an ``error``."""
    said = {**pattern.read(arrived.topic), **_properties(arrived)}
    content = arrived.payload
    digest = arrived.refused.sha256 if arrived.refused else hashlib.sha256(content).hexdigest()
    refused = _refused(arrived, digest, settings)
    if settings.folder is not None and refused is None:
        content, refused = _follow(arrived, settings.folder, settings.max_bytes, said)
    camera = said.get("id", "")
    key = f"id\0{camera}" if camera else f"packet\0{arrived.packet}\0{digest}"
    identity = hashlib.sha256(f"{arrived.topic}\0{key}".encode()).hexdigest()[:24]
    source = said.get("camera") or arrived.topic.rsplit("/", 1)[-1]
    name = said.get("name") or f"{source}-{camera or identity}"
    return Offer(
        identity=identity,
        certain=bool(camera),
        name=printable(name),
        file=_file_name(name, content),
        captured=read_time(said.get("captured", "")),
        content=content,
        reply=_reply(arrived),
        refused=refused,
    )


def read_time(text: str) -> float | None:
    """Seconds since the epoch of an ISO 8601 time (UTC unless it says so) or of such seconds."""
    try:
        return float(text) if _within(float(text)) else None
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        return moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp()
    except (ValueError, OverflowError):
        return None


def _within(seconds: float) -> bool:
    return 0 <= seconds < 253_402_300_800  # the year 10,000; false for what is no number


def _properties(arrived: Arrived) -> dict[str, str]:
    """The first of each name."""
    return {key: value for key, value in reversed(arrived.user) if value}


def _refused(arrived: Arrived, digest: str, settings: MqttSourceSettings) -> Failure | None:
    """Why it is not judged, whatever it holds."""
    size, why = len(arrived.payload), arrived.malformed
    if arrived.refused is not None:
        size = arrived.refused.bytes
        why = (
            f"a message of {size} bytes is more than the limit of {settings.limit}: it was not kept"
        )
    elif why:
        why = f"the message is not as MQTT wants it: {why}"
    return Failure(why, Image(digest, size)) if why else None


def _follow(
    arrived: Arrived, folder: Path, limit: int, said: dict[str, str]
) -> tuple[bytes, Failure | None]:
    """The file that the message names; what it says beside that goes to ``said``."""
    nothing = Image("", 0)
    try:
        message = FileMessage.model_validate_json(arrived.payload)
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(map(str, detail["loc"]))
        return b"", Failure(
            f"the message names no file: {place or 'JSON'}: {detail['msg']}", nothing
        )
    named = message.model_dump(exclude={"file"}, exclude_none=True)
    said.update({key: str(value) for key, value in named.items() if key not in said})
    said.setdefault("name", PurePosixPath(message.file).name)
    try:
        content, changed = read_inside(folder, message.file, limit)
    except TooLargeError as error:
        reason = f"{message.file} has {error.size} bytes: the limit is {limit}"
        return b"", Failure(printable(reason), Image("", error.size))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return b"", Failure(printable(f"the file {message.file!r} can't be read: {why}"), nothing)
    said.setdefault("captured", str(changed))
    return content, None


def _reply(arrived: Arrived) -> ReplyTo | None:
    topic = arrived.response_topic
    if not topic or set(topic) & set("#+\0"):
        return None  # MQTT 5.0, 3.3.2.3.5: no wildcards; such a topic can't be published to
    if topic.count("/") >= _REPLY_LEVELS:
        return None
    return ReplyTo(topic, arrived.correlation)


def file_names(name: str) -> list[str]:
    """The names of which one is given to an image that a message calls ``name``."""
    plain = _UNSAFE.sub("_", name).lstrip("._-")[:_NAME_LIMIT] or "image"
    if re.search(r"\.[A-Za-z]{3,4}$", plain):
        return [plain]
    return [plain, *dict.fromkeys(plain + suffix for _, suffix in _SUFFIXES)]


def _file_name(name: str, content: bytes) -> str:
    """Plain letters, never hidden, with the suffix that the bytes call for."""
    plain, *others = file_names(name)
    suffix = next((end for start, end in _SUFFIXES if content.startswith(start)), "")
    return plain + suffix if others else plain
