"""The topic that images come from: whether the broker would send them, and on what terms.

Nothing of the station's is taken. A subscription gets copies, and does so in a group of its own
where the station's is shared: who joined that group would be dealt images which then no station
judges. No image comes here either: the broker is told that no packet may be larger than a small
one. The subscription ends with the connection, since it has no session.
"""

from __future__ import annotations

import secrets
import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge_agent.doctor.finding import Finding
from edge_agent.mqtt import Connection, Listen, Terms
from edge_agent.mqtt.pattern import TopicPattern
from edge_agent.mqtt.reasons import unreachable
from edge_agent.system.wake import Wake

if TYPE_CHECKING:
    from edge_agent.mqtt import MqttOptions
    from edge_agent.settings import MqttSourceSettings

TOPIC = "broker"
_SMALL = 1024  # bytes: enough for every answer to a connection and a subscription
_AWAY = 3600  # seconds that a station may well be away, for an update or a cable
_DEALT = 100  # images that one of several stations may keep to itself


@dataclass(frozen=True)
class Heard:
    """What the broker said to a subscription."""

    terms: Terms
    accepted: bool = False
    listening: bool = False
    refused: str = ""
    """Why not, in words."""
    closed: str = ""
    """Why the connection ended before there was an answer, in words."""


def look_at_source(source: MqttSourceSettings, options: MqttOptions, limit: float) -> list[Finding]:
    """Terms and subscription; ``options`` has a client id that no one else uses."""
    topic = TopicPattern(source.topic).filter
    options = replace(options, client_id=f"{options.client_id}-source")
    return look_at_settings(source) + look_at_answer(source, listen(options, apart(topic), limit))


def apart(topic: str) -> str:
    """The filter, in a group of its own where it is shared."""
    if not topic.startswith("$share/"):
        return topic
    return f"$share/doctor-{secrets.token_hex(4)}/{topic.split('/', 2)[2]}"


def listen(options: MqttOptions, topic: str, limit: float) -> Heard:
    """Subscribe, for as long as it takes to be answered."""
    until = time.monotonic() + limit
    connection = Connection(options, listen=Listen(topic, 0, 1, max_packet=_SMALL))
    with closing(Wake()) as wake, closing(connection):
        try:
            connection.open()
            while not (connection.closed or connection.listening or connection.deaf):
                left = until - time.monotonic()
                if left <= 0:
                    break
                connection.step(wake, left)
        except OSError as error:
            return Heard(Terms(), closed=unreachable(options.broker, error))
        return Heard(
            connection.terms,
            connection.accepted,
            connection.listening,
            connection.deaf,
            connection.closed or "",
        )


def look_at_settings(source: MqttSourceSettings) -> list[Finding]:
    """What can be told without a broker."""
    found = []
    if source.session_expiry < _AWAY:
        what = (
            f"source.mqtt.session_expiry: after {source.session_expiry} s without this station the "
            "broker drops the images that it holds for it"
        )
        mend = "set it to the longest time that the station may be off; the default is 7 days"
        found.append(Finding(TOPIC, "warning", what, mend))
    shared = source.topic.startswith("$share/")
    if shared and source.receive_maximum > _DEALT:
        what = (
            f"source.mqtt.receive_maximum: of a shared topic, {source.receive_maximum} images may "
            "wait for this station alone, also while it is away"
        )
        mend = "lower it: 20 keep any station busy, and the others get the rest"
        found.append(Finding(TOPIC, "warning", what, mend))
    return found


def look_at_answer(source: MqttSourceSettings, heard: Heard) -> list[Finding]:
    """What the broker said."""
    terms, topic = heard.terms, TopicPattern(source.topic).filter
    if not heard.accepted:
        what = heard.closed or f"the broker does not answer the subscription to {topic}"
        return [Finding(TOPIC, "error", what, "look at the broker's log and its load")]
    found = []
    if terms.max_qos == 0:
        what = "the broker supports QoS 0 only: an image lost in transit is lost"
        found.append(Finding(TOPIC, "error", what, "use a broker with QoS 1"))
    if terms.max_packet is not None and terms.max_packet < source.limit:
        what = (
            f"the broker accepts messages of up to {terms.max_packet} bytes, this station up to "
            f"{source.limit}: larger ones never arrive"
        )
        mend = "raise the broker's limit (mosquitto: max_packet_size), or lower max_bytes to it"
        found.append(Finding(TOPIC, "warning", what, mend))
    if not terms.shared and topic.startswith("$share/"):
        what = f"the broker does not support shared subscriptions, and source.mqtt.topic is {topic}"
        mend = "use a topic without $share: one station for each topic; or another broker"
        return [*found, Finding(TOPIC, "error", what, mend)]
    if not heard.listening:
        what = heard.refused or heard.closed or f"the broker does not say whether it sends {topic}"
        mend = "let this station's user read it: the broker's access list, and its log"
        return [*found, Finding(TOPIC, "error", what, mend)]
    # mosquitto accepts every subscription, and asks its access list for each message.
    what = (
        f"images on {topic} can be subscribed to; some brokers (mosquitto) check the access list "
        "only when an image arrives"
    )
    return [*found, Finding(TOPIC, "ok", what)]
