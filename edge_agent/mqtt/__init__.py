"""A connection to the broker, driven by the thread that made it; no stage of its own."""

from edge_agent.mqtt.backoff import Backoff
from edge_agent.mqtt.connection import Connection, tls_context
from edge_agent.mqtt.options import MqttOptions, TlsOptions
from edge_agent.mqtt.wake import Wake

__all__ = ["Backoff", "Connection", "MqttOptions", "TlsOptions", "Wake", "tls_context"]
