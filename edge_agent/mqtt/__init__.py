"""A connection to the broker, driven by the thread that made it; no stage of its own."""

from edge_agent.mqtt.backoff import Backoff
from edge_agent.mqtt.connection import Connection, Listen, Terms, Will, tls_context
from edge_agent.mqtt.message import Arrived, Refused
from edge_agent.mqtt.options import MqttOptions, TlsOptions
from edge_agent.mqtt.strainer import Strainer

__all__ = [
    "Arrived",
    "Backoff",
    "Connection",
    "Listen",
    "MqttOptions",
    "Refused",
    "Strainer",
    "Terms",
    "TlsOptions",
    "Will",
    "tls_context",
]
