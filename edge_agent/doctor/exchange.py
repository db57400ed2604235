"""One message to the broker and back, with a client of its own."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.mqtt.connection import tls_context
from edge_agent.mqtt.reasons import closed_by_broker, refused_connection, unreachable

if TYPE_CHECKING:
    from paho.mqtt.client import ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from edge_agent.publish import MqttOptions

_REFUSED = 128  # reason codes from here on
_LOGIN = (134, 135, 140)  # bad user name or password, not authorised, bad method


@dataclass(frozen=True)
class Exchanged:
    """How far it got."""

    closed: str
    """Why the client was not let in, in words; empty when it was."""
    login: bool = False
    """Whether that was for want of rights."""
    retain: bool = True
    """Whether the broker takes retained messages."""
    published: int | None = None
    """Reason code of the PUBACK; None: there was none in time."""
    returned: float | None = None
    """Seconds from publish to the message's return; None: it did not return in time."""


def exchange(options: MqttOptions, topic: str, limit: float) -> Exchanged:
    """Log in, subscribe to ``topic``, publish there with QoS 1 and wait for it to come back.

    Args:
        options: with a client id that no one else uses.
        topic: that nobody listens to but the doctor.
        limit: seconds for each of the steps.
    """
    return _Exchange(options, topic, limit).run()


class _Exchange:
    """Its callbacks run in paho's thread; each sets one of the events."""

    def __init__(self, options: MqttOptions, topic: str, limit: float) -> None:
        self._options, self._topic, self._limit = options, topic, limit
        self._content = f"doctor {secrets.token_hex(16)}".encode()
        self._answered = threading.Event()
        self._subscribed = threading.Event()
        self._acknowledged = threading.Event()
        self._returned = threading.Event()
        self._closed = ""
        self._login = False
        self._retain = True
        self._listens = False
        self._code: int | None = None
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = options.connect_timeout
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message

    def run(self) -> Exchanged:
        options, client = self._options, self._client
        try:
            if options.username is not None:
                password = options.password() if options.password else None
                client.username_pw_set(options.username, password)
            if options.tls is not None:
                client.tls_set_context(tls_context(options.tls))
            client.connect(options.host, options.port, options.keepalive, clean_start=True)
        except OSError as error:
            return Exchanged(unreachable(options.broker, error))
        client.loop_start()
        try:
            if not self._answered.wait(self._limit):
                return Exchanged(f"{options.broker} does not answer: is it an MQTT broker?")
            if self._closed:
                return Exchanged(self._closed, login=self._login)
            return self._send()
        finally:
            client.disconnect()
            client.loop_stop()

    def _send(self) -> Exchanged:
        self._client.subscribe(self._topic, qos=1)
        self._subscribed.wait(self._limit)
        began = time.monotonic()
        self._client.publish(self._topic, self._content, qos=1)
        returned: float | None = None
        if self._acknowledged.wait(self._limit) and self._listens and (self._code or 0) < _REFUSED:
            self._returned.wait(self._limit / 2)
            returned = time.monotonic() - began if self._returned.is_set() else None
        # What closes the connection meanwhile explains the answer that is missing.
        why = self._closed if self._code is None else ""
        return Exchanged(why, retain=self._retain, published=self._code, returned=returned)

    def _on_connect(
        self,
        _client: Client,
        _user: Any,
        _flags: ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if code.value != 0:
            self._closed = refused_connection(self._options.broker, code.value)
            self._login = code.value in _LOGIN
        self._retain = getattr(properties, "RetainAvailable", 1) != 0
        self._answered.set()

    def _on_disconnect(
        self,
        _client: Client,
        _user: Any,
        flags: DisconnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        broker = self._options.broker
        if not self._closed and flags.is_disconnect_packet_from_server:
            self._closed = closed_by_broker(broker, code.value)
        elif not self._closed:
            self._closed = (
                f"{broker} closed the connection without a reason: is it an MQTT broker of version "
                "5, does its port want TLS, or a client certificate?"
            )
        for event in (self._answered, self._subscribed, self._acknowledged, self._returned):
            event.set()  # nothing more will come

    def _on_subscribe(
        self,
        _client: Client,
        _user: Any,
        _packet: int,
        codes: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._listens = bool(codes) and codes[0].value < _REFUSED
        self._subscribed.set()

    def _on_publish(
        self,
        _client: Client,
        _user: Any,
        _packet: int,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._code = code.value
        self._acknowledged.set()

    def _on_message(self, _client: Client, _user: Any, message: MQTTMessage) -> None:
        if message.payload == self._content:
            self._returned.set()
