"""One connection to the broker, from TCP to its loss.

paho keeps messages in flight over a reconnect and sends them again by itself. Here every
connection has a client of its own, and what was not acknowledged is read from the outbox again:
one place decides what is repeated, in order. paho's documented calls for foreign event loops
(``loop_read``, ``loop_write``, ``loop_misc``) let the publisher's one thread do everything, so
that nothing needs a lock and a message is on the wire without a change of threads.
"""

from __future__ import annotations

import math
import select
import socket
import ssl
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.mqtt.reasons import TAKEN_OVER, closed_by_broker, refused_connection
from edge_agent.secret import check_secret

if TYPE_CHECKING:
    from paho.mqtt.client import ConnectFlags, DisconnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from edge_agent.mqtt.options import MqttOptions, TlsOptions
    from edge_agent.mqtt.wake import Wake

_PROTOCOL_ERROR = 130
_KEEPALIVE_TIMEOUT = 141


class Connection:
    """MQTT v5, driven by the calls of one thread. Use it once."""

    def __init__(self, options: MqttOptions, *, will_topic: str, will: bytes) -> None:
        self.accepted = False
        """The broker has said yes."""
        self.window = options.max_inflight
        """How many publishes may be without PUBACK."""
        self.closed: str | None = None
        """Why it is over, in words; None while it isn't."""
        self.taken_over = False
        """Another client with the same id has the session now."""
        self._options = options
        self._acks: list[tuple[int, int]] = []
        self._lost = f"the connection to {options.broker} was lost: is the broker running?"
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = options.connect_timeout
        # 0: no limit, and no walk over all messages at each PUBACK. The publisher keeps to
        # ``window``, so paho never holds more than that.
        client.max_inflight_messages_set(0)
        client.will_set(will_topic, will, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish

    def open(self) -> None:
        """Connect (TCP, TLS) and ask to be accepted; blocks up to ``connect_timeout`` each.

        Raises:
            OSError: not reachable, certificate not trusted, a file of TLS or the password's not to
                be used.
        """
        options = self._options
        if options.username is not None:
            password = options.password() if options.password else None
            self._client.username_pw_set(options.username, password)
        if options.tls is not None:
            self._client.tls_set_context(tls_context(options.tls))
        self._client.connect(options.host, options.port, options.keepalive, clean_start=True)
        found = self._client.socket()
        if isinstance(found, socket.socket):
            # The second of two small writes must not wait for the first one's TCP ACK.
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Send with QoS 1, at once; return the packet's id, which `acks` will name."""
        return self._client.publish(topic, payload, qos=1, retain=retain).mid

    def step(self, wake: Wake, timeout: float) -> None:
        """Wait for the network, for ``wake`` or for ``timeout`` seconds, then read and write."""
        found = self._client.socket()
        if not isinstance(found, socket.socket):
            self._close(self._lost)
            return
        buffered = isinstance(found, ssl.SSLSocket) and found.pending() > 0
        poll = select.poll()
        poll.register(wake.fileno(), select.POLLIN)
        wanted = select.POLLIN | (select.POLLOUT if self._client.want_write() else 0)
        number = found.fileno()
        poll.register(number, wanted)
        events = dict(poll.poll(0 if buffered else math.ceil(timeout * 1000))).get(number, 0)
        if buffered or events & ~select.POLLOUT:
            self._client.loop_read()
        if events & select.POLLOUT:
            self._client.loop_write()
        self._client.loop_misc()

    def acks(self) -> list[tuple[int, int]]:
        """Packet id and reason code of every PUBACK since the last call."""
        found, self._acks = self._acks, []
        return found

    def close(self) -> None:
        """Disconnect: politely where the connection stands, so that no last will is sent."""
        if self.closed is None:
            self._close("stopped")
            self._client.disconnect()
        # Its own callbacks refer to it: without this the socket waited for the collector.
        self._client.on_connect = self._client.on_disconnect = self._client.on_publish = None
        found = self._client.socket()
        if isinstance(found, socket.socket):
            found.close()

    def give_up(self, reason: str) -> None:
        """Leave a connection that is of no use: the last will is sent."""
        self._close(reason)

    def _close(self, reason: str) -> None:
        if self.closed is None:  # the first reason is the true one
            self.closed = reason

    def _on_connect(
        self,
        _client: Client,
        _user: Any,
        _flags: ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if code.value != 0:
            self._close(refused_connection(self._options.broker, code.value))
            return
        self.accepted = True
        allowed = getattr(properties, "ReceiveMaximum", None)
        if allowed is not None:
            self.window = min(self.window, allowed)

    def _on_disconnect(
        self,
        _client: Client,
        _user: Any,
        flags: DisconnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        broker = self._options.broker
        if flags.is_disconnect_packet_from_server:
            self.taken_over = code.value == TAKEN_OVER
            self._close(closed_by_broker(broker, code.value))
        elif code.value == _KEEPALIVE_TIMEOUT:
            self._close(f"the broker at {broker} no longer answers: check it and the network")
        elif code.value == _PROTOCOL_ERROR:
            self._close(f"what {broker} sends is not MQTT version 5: is it a broker?")
        elif self.accepted:
            self._close(self._lost)
        else:
            self._close(
                f"{broker} closed the connection without a word: is it an MQTT broker, does its "
                "port want TLS, or a client certificate?"
            )

    def _on_publish(
        self,
        _client: Client,
        _user: Any,
        packet: int,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._acks.append((packet, code.value))


def tls_context(tls: TlsOptions) -> ssl.SSLContext:
    """What a connection to the broker trusts, and the certificate that it shows.

    Raises:
        OSError: a file can't be read, or doesn't hold what it should (`ssl.SSLError`); or everyone
            can read the key.
    """
    for file in (tls.ca, tls.cert, tls.key):
        if file is not None:
            file.open("rb").close()  # an error that names the file, which ssl's does not
    if tls.key is not None:
        check_secret(tls.key)
    context = ssl.create_default_context(cafile=None if tls.ca is None else str(tls.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context
