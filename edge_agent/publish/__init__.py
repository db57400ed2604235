"""Verdicts on their way out: MQTT topics and payloads (pure), and the publisher."""

from edge_agent.mqtt import MqttOptions, TlsOptions
from edge_agent.publish.announcements import Announcements
from edge_agent.publish.client import Publisher
from edge_agent.publish.commands import Answer, BundleBody, Command, CommandBody, Nothing
from edge_agent.publish.payloads import birth_payload, offline_payload, verdict_payload
from edge_agent.publish.schemas import schemas
from edge_agent.publish.state import PublisherState
from edge_agent.publish.telemetry import Telemetry
from edge_agent.publish.topics import Station, Topics, topics_of

__all__ = [
    "Announcements",
    "Answer",
    "BundleBody",
    "Command",
    "CommandBody",
    "MqttOptions",
    "Nothing",
    "Publisher",
    "PublisherState",
    "Station",
    "Telemetry",
    "TlsOptions",
    "Topics",
    "birth_payload",
    "offline_payload",
    "schemas",
    "topics_of",
    "verdict_payload",
]
