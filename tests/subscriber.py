"""A consumer as a plant would have one: QoS 1, a session that outlives the connection."""

from __future__ import annotations

import json
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable


@dataclass(frozen=True)
class Received:
    topic: str
    payload: bytes
    retained: bool
    at: float
    """time.perf_counter"""
    correlation: bytes | None = None

    def json(self) -> Any:
        return json.loads(self.payload)


class Subscriber:
    """Records everything below a topic, over restarts of the broker, until closed."""

    def __init__(
        self,
        port: int,
        topic: str = "#",
        *,
        client_id: str = "recorder",
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._changed = threading.Condition()
        self._received: list[Received] = []
        self._codes: dict[int, int] = {}
        self._subscribed = threading.Event()
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        if username is not None:
            client.username_pw_set(username, password)
        if tls is not None:
            client.tls_set_context(tls)
        self._client: Client | None = client
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda c, *_: c.subscribe(topic, qos=1)
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 3600
        client.connect("127.0.0.1", port, clean_start=False, properties=session)
        client.loop_start()
        assert self._subscribed.wait(10), "not subscribed"

    def received(self, level: str = "") -> list[Received]:
        """What came so far, in order; on topics that end in ``level``."""
        with self._changed:
            return [r for r in self._received if r.topic.endswith(level)]

    def wait(self, satisfied: Callable[[list[Received]], bool], seconds: float = 30) -> None:
        """Wait until what was received satisfies the condition."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not satisfied(self._received):
                left = deadline - time.monotonic()
                assert left > 0, f"after {seconds} s: {len(self._received)} received"
                self._changed.wait(left)

    def send(
        self,
        topic: str,
        payload: bytes | str = b"",
        *,
        qos: int = 1,
        retain: bool = False,
        seconds: float = 60,
        **properties: Any,
    ) -> int:
        """Publish and wait for the broker's answer; its reason code. Properties of v5 by name."""
        said = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(said, name, value)
        with self._changed:
            packet = self._client.publish(topic, payload, qos, retain, said).mid
            came = self._changed.wait_for(lambda: packet in self._codes or not qos, seconds)
            assert came, f"not acknowledged within {seconds} s"
            return self._codes.pop(packet, 0)

    def ask(self, topic: str, payload: bytes | str = b"", **properties: Any) -> Any:
        """Send a command; what the station answers to it."""
        mark = self.order(topic, payload, **properties)
        self.wait(lambda _: self.answers(mark), 60)
        (answer,) = self.answers(mark)
        return answer

    def order(self, topic: str, payload: bytes | str = b"", **properties: Any) -> bytes:
        """Send a command, once the station is online; the mark that its answer will bear."""
        station = topic.partition("/command")[0]
        self.wait(lambda _: self._online(station), 60)
        mark = secrets.token_bytes(8)
        assert self.send(topic, payload, CorrelationData=mark, **properties) == 0
        return mark

    def answers(self, mark: bytes) -> list[Any]:
        """What was answered so far to the command of this mark."""
        return [r.json() for r in self.received("/reply") if r.correlation == mark]

    def _online(self, station: str) -> bool:
        """Whether its last word is that it hears commands: before that they are nobody's."""
        words = self.received(f"{station}/status")
        return bool(words) and bool(words[-1].json()["online"])

    def close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        client.disconnect()
        client.loop_stop()
        # Its callbacks are ours, and we are what holds it: without this ring it goes at once, and
        # closes its sockets. Left to the garbage collector they may go before it, with a warning.
        client.on_connect = client.on_subscribe = client.on_message = client.on_publish = None

    def _on_message(self, _client: Client, _user: Any, message: Any) -> None:
        with self._changed:
            self._received.append(
                Received(
                    message.topic,
                    message.payload,
                    message.retain,
                    time.perf_counter(),
                    getattr(message.properties, "CorrelationData", None),
                )
            )
            self._changed.notify_all()

    def _on_publish(self, _client: Client, _user: Any, packet: int, code: Any, _: Any) -> None:
        with self._changed:
            self._codes[packet] = code.value
            self._changed.notify_all()
