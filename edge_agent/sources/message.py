"""A message to what is to be judged: its name, its identity, its bytes or why there are none."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from edge_agent.sources import encoded
from edge_agent.sources.captured import read_captured
from edge_agent.sources.inside import Named, read_named
from edge_agent.system.text import printable
from edge_agent.types import Failure, Image, ReplyTo, Wanted

if TYPE_CHECKING:
    from edge_agent.mqtt import Arrived
    from edge_agent.mqtt.pattern import TopicPattern
    from edge_agent.settings import MqttSourceSettings

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
    """Seconds since the epoch; None: neither the camera nor a file has said."""
    content: bytes
    reply: ReplyTo | None
    refused: Failure | None
    """Why it can't be judged, whatever its bytes are."""
    camera: str
    """Who sent it, as far as it is known; otherwise the topic."""
    doubt: str = ""
    """What whoever set the camera up should hear of how ``captured`` was read."""
    wanted: Wanted | None = None
    """Set where the message names a file."""
    named: Named | None = None
    """What became of that file."""


def read_message(arrived: Arrived, pattern: TopicPattern, settings: MqttSourceSettings) -> Offer:
    """Read one message; whatever is wrong with it becomes the reason of an ``error``."""
    said = {**pattern.read(arrived.topic), **_properties(arrived)}
    content, file = arrived.payload, ""
    digest = arrived.refused.sha256 if arrived.refused else hashlib.sha256(content).hexdigest()
    refused = _refused(arrived, digest, settings)
    if refused is None:
        try:
            if settings.folder is not None:
                file = _file_of(content, said)
            else:
                content = _image_of(content, settings, said)
        except ValueError as error:
            refused = Failure(printable(str(error)), Image(digest, len(content)))
    own = said.get("id", "")
    key = f"id\0{own}" if own else f"packet\0{arrived.packet}\0{digest}"
    identity = hashlib.sha256(f"{arrived.topic}\0{key}".encode()).hexdigest()[:24]
    source = said.get("camera") or arrived.topic.rsplit("/", 1)[-1]
    name = printable(said.get("name") or f"{source}-{own or identity}")
    captured, doubt = read_captured(said.get("captured", ""))
    wanted = named = None
    if file and settings.folder is not None:
        wanted = Wanted(file, captured)
        named = read_named(settings.folder, file, settings.max_bytes)
        content, refused = named.content, named.refused
    return Offer(
        identity=identity,
        certain=bool(own),
        name=name,
        file=file_name(name, content),
        captured=taken(wanted, named) if wanted and named else captured,
        content=content,
        reply=_reply(arrived),
        refused=refused,
        camera=said.get("camera") or arrived.topic,
        doubt=doubt,
        wanted=wanted,
        named=named,
    )


def taken(wanted: Wanted, named: Named) -> float | None:
    """When an image was taken: as its message says, otherwise when its file was written."""
    if wanted.captured is not None or named.refused is not None:
        return wanted.captured
    return named.signature[1] / 1e9


def _file_of(payload: bytes, said: dict[str, str]) -> str:
    """The file that a message names; what it says beside that goes to ``said``.

    Raises:
        ValueError: it names none, or one of its fields is wrong; the message says which.
    """
    message = encoded.read_object(payload)
    file = message.get("file")
    if file is None:
        raise ValueError('the message names no file: "file" is missing')
    if not isinstance(file, str) or not file:
        found = "empty" if file == "" else encoded.shown(file)
        raise ValueError(f'the message names no file: "file" is {found}, and must be text')
    _add(message, said)
    said.setdefault("name", PurePosixPath(file).name)
    return file


def _image_of(payload: bytes, settings: MqttSourceSettings, said: dict[str, str]) -> bytes:
    """The image that a message holds, as the settings say.

    Raises:
        ValueError: it holds none, or it is of another kind than they say; the message says which.
    """
    limit, kind = settings.max_bytes, settings.encoding
    if kind == "binary":
        what = encoded.what_it_is(payload)
        if what and not encoded.suffix_of(payload):
            raise ValueError(
                f"the message is {what}, which is not expected: set [source.mqtt] encoding = "
                f'"{"json" if what == "JSON" else "base64"}"'
            )
        return payload
    try:
        if kind == "base64":
            return encoded.decode_base64(encoded.as_text(payload).strip(b'"'), limit)
        message = encoded.read_object(payload)
        text = message.get(settings.field)
        if not isinstance(text, str):
            found = encoded.shown(text) if settings.field in message else "missing"
            raise ValueError(  # noqa: TRY004  of what was sent, not of the program
                f'"{settings.field}" in the message is {found}: it must be an image as base64, or '
                "[source.mqtt] field another name"
            )
        _add(message, said)
        return encoded.decode_base64(encoded.as_text(text.encode()), limit)
    except UnicodeError:
        raise ValueError("the message is not the text that it says it is") from None
    except ValueError as error:
        raise ValueError(f'{error} ([source.mqtt] encoding = "{kind}")') from None


def _add(message: dict[str, Any], said: dict[str, str]) -> None:
    """What a JSON message says of its image, unless a property or the topic has said it."""
    for field in ("id", "camera", "name"):
        if text := encoded.text_field(message, field):
            said.setdefault(field, text)
    try:
        captured = encoded.text_field(message, "captured")
    except ValueError:  # a time that is not understood costs no image
        captured = encoded.shown(message["captured"])
    if captured:
        said.setdefault("captured", captured)


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
        why = f"the message is not valid MQTT: {why}"
    return Failure(why, Image(digest, size)) if why else None


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
    return [plain, *dict.fromkeys(plain + suffix for _, suffix in encoded.SUFFIXES)]


def file_name(name: str, content: bytes) -> str:
    """Plain letters, never hidden, with the suffix that the bytes call for."""
    plain, *others = file_names(name)
    return plain + encoded.suffix_of(content) if others else plain
