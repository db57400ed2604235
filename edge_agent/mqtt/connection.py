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
import ssl
import struct
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from paho.mqtt import MQTTException
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.mqtt.reasons import (
    TAKEN_OVER,
    closed_by_broker,
    refused_connection,
    refused_subscription,
)
from edge_agent.mqtt.strainer import Strainer
from edge_agent.system.secret import check_secret

if TYPE_CHECKING:
    from paho.mqtt.client import ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

    from edge_agent.mqtt.message import Arrived
    from edge_agent.mqtt.options import MqttOptions, TlsOptions
    from edge_agent.system.wake import Wake

_PROTOCOL_ERROR = 130
_KEEPALIVE_TIMEOUT = 141
_REFUSED = 128  # reason codes from here on are failures
_PACKETS = 100  # read in one step: a flood of small ones costs less than the rest of a step does


@dataclass(frozen=True)
class Will:
    """What the broker says, retained, when it loses this client."""

    topic: str
    payload: bytes


@dataclass(frozen=True)
class Listen:
    """What to listen to."""

    topic: str
    """A filter; ``$share/group/...`` to share its messages with other clients."""
    max_payload: int
    """Bytes; of a larger payload only size and hash arrive."""
    receive_maximum: int
    """Messages that the broker may send ahead of their acknowledgement."""
    session_seconds: int = 0
    """How long the broker keeps the session, with what was not acknowledged; 0: no session, and
    what arrives counts as acknowledged."""
    retained: bool = False
    """Whether a retained message is wanted: where the subscription is new to the session."""
    max_packet: int = 0
    """Bytes; larger messages are dropped by the broker, as if they had arrived. 0: none is."""


@dataclass(frozen=True)
class Terms:
    """What a broker allows, as it says when it lets a client in."""

    max_packet: int | None = None
    """Bytes that a message may have, with its topic and properties; None: any."""
    max_qos: int = 2
    shared: bool = True
    """Whether ``$share/group/...`` may be listened to."""


class _Client(Client):
    limit = 0
    strainer: Strainer | None = None

    def _create_socket(self) -> Any:
        # A private method, for want of a public one; `Connection.open` sees whether it was called.
        self.strainer = Strainer(super()._create_socket(), self.limit)  # type: ignore[arg-type]
        return self.strainer


class Connection:
    """MQTT v5, driven by the calls of one thread. Use it once."""

    def __init__(
        self, options: MqttOptions, *, will: Will | None = None, listen: Listen | None = None
    ) -> None:
        self.accepted = False
        """The broker has said yes."""
        self.window = options.max_inflight
        """How many publishes may be without PUBACK."""
        self.closed: str | None = None
        """Why it is over, in words; None while it isn't."""
        self.taken_over = False
        """Another client with the same id has the session now."""
        self.listening = False
        """The broker has accepted the subscription."""
        self.deaf = ""
        """Why nothing will arrive, in words; empty while the broker has not refused it."""
        self.resumed = False
        """The broker has kept the session, and with it what was not acknowledged."""
        self.terms = Terms()
        """As the broker said, once it is ``accepted``."""
        self._options = options
        self._listen = listen
        self._asked_at = 0.0
        self._acks: list[tuple[int, int]] = []
        self._arrived: list[Arrived] = []
        self._lost = f"the connection to {options.broker} was lost: is the broker running?"
        self._no_mqtt = f"what {options.broker} sends is not MQTT version 5: is it a broker?"
        self._client = client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=self._session > 0,
        )
        client.connect_timeout = options.connect_timeout
        # 0: no limit, and no walk over all messages at each PUBACK. The publisher keeps to
        # ``window``, so paho never holds more than that.
        client.max_inflight_messages_set(0)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        if listen is not None:
            client.limit = listen.max_payload
            client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message

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
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        if self._session:
            properties.SessionExpiryInterval = self._session
        if self._listen is not None:
            properties.ReceiveMaximum = self._listen.receive_maximum
        if self._listen is not None and self._listen.max_packet:
            properties.MaximumPacketSize = self._listen.max_packet
        self._client.connect(
            options.host,
            options.port,
            options.keepalive,
            clean_start=not self._session,
            properties=properties,
        )
        link = self._link()
        if link is not None:
            link.answer_at_once()

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        correlation: bytes | None = None,
    ) -> int:
        """Send with QoS 1, at once; return the packet's id, which `acks` will name."""
        properties = None
        if correlation is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        return self._client.publish(topic, payload, 1, retain, properties).mid

    def acknowledge(self, packet: int) -> None:
        """Tell the broker that a message is safe here, where there is a session."""
        self._client.ack(packet, 1)

    def step(self, wake: Wake, timeout: float) -> None:
        """Wait for the network, for ``wake`` or for ``timeout`` seconds, then read and write."""
        link = self._link()
        if link is None:
            self._close(self._lost)
            return
        buffered = link.pending()
        poll = select.poll()
        poll.register(wake.fileno(), select.POLLIN)
        wanted = select.POLLIN | (select.POLLOUT if self._client.want_write() else 0)
        number = link.fileno()
        poll.register(number, wanted)
        events = dict(poll.poll(0 if buffered else math.ceil(timeout * 1000))).get(number, 0)
        if buffered or events & ~select.POLLOUT:
            self._read(link)
        if events & select.POLLOUT:
            self._client.loop_write()
        self._client.loop_misc()
        if self.unanswered and time.monotonic() > self._asked_at + self._options.ack_timeout:
            self._close(
                f"the broker at {self._options.broker} has not answered the subscription for "
                f"{self._options.ack_timeout:.0f} s: is it overloaded?"
            )

    def _read(self, link: Strainer) -> None:
        link.begin_turn()
        for _ in range(_PACKETS):
            before, accepted = link.packets, self.accepted
            try:
                self._client.loop_read()
            except (MQTTException, LookupError, ValueError, struct.error):  # of a broker's packet
                self._close(self._no_mqtt)
            # What follows once the broker has let us in is for who knows that it has.
            if self.closed is not None or link.packets == before or accepted != self.accepted:
                return

    def acks(self) -> list[tuple[int, int]]:
        """Packet id and reason code of every PUBACK since the last call."""
        found, self._acks = self._acks, []
        return found

    def arrived(self) -> list[Arrived]:
        """Every message since the last call, in order."""
        found, self._arrived = self._arrived, []
        return found

    def received(self) -> int:
        """How many bytes have come, of whole messages or not."""
        return self._client.strainer.bytes if self._client.strainer else 0

    def close(self) -> None:
        """Disconnect: politely where the connection stands, so that no last will is sent."""
        if self.closed is None:
            self._close("stopped")
            self._client.disconnect()
        # Its own callbacks refer to it: without this the socket waited for the collector.
        self._client.on_connect = self._client.on_disconnect = self._client.on_publish = None
        self._client.on_subscribe = self._client.on_message = None
        link = self._link()
        if link is not None:
            link.close()

    @property
    def unanswered(self) -> bool:
        """The broker has let the client in, and has not said yet whether it may listen."""
        return self.accepted and self._listen is not None and not (self.listening or self.deaf)

    def give_up(self, reason: str) -> None:
        """Leave a connection that is of no use: the last will is sent."""
        self._close(reason)

    @property
    def _session(self) -> int:
        return self._listen.session_seconds if self._listen else 0

    def _link(self) -> Strainer | None:
        link: object = self._client.socket()
        if link is not None and not isinstance(link, Strainer):
            raise TypeError("this version of paho-mqtt makes its socket in another way")
        return link

    def _close(self, reason: str) -> None:
        if self.closed is None:  # the first reason is the true one
            self.closed = reason

    def _on_connect(
        self,
        _client: Client,
        _user: Any,
        flags: ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if code.value != 0:
            self._close(refused_connection(self._options.broker, code.value))
            return
        self.accepted = True
        self.resumed = flags.session_present
        self.terms = Terms(
            max_packet=getattr(properties, "MaximumPacketSize", None),
            max_qos=getattr(properties, "MaximumQoS", 2),
            shared=getattr(properties, "SharedSubscriptionAvailable", 1) != 0,
        )
        allowed = getattr(properties, "ReceiveMaximum", None)
        if allowed is not None:
            self.window = min(self.window, allowed)
        if self._listen is not None:
            self._asked_at = time.monotonic()
            never, when_new = 2, 1
            handling = when_new if self._listen.retained else never
            how = SubscribeOptions(qos=1, retainHandling=handling)
            self._client.subscribe(self._listen.topic, options=how)

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
        elif self._client.strainer is not None and self._client.strainer.broken:
            what = self._client.strainer.broken
            self._close(f"{broker} has sent {what}, which is not MQTT as it was asked for")
        elif code.value == _PROTOCOL_ERROR:
            self._close(self._no_mqtt)
        elif self.accepted:
            self._close(self._lost)
        else:
            self._close(
                f"{broker} closed the connection without a reason: is it an MQTT broker, does its "
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

    def _on_subscribe(
        self,
        _client: Client,
        _user: Any,
        _packet: int,
        codes: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        code = codes[0].value
        if self._listen is None or code < _REFUSED:
            self.listening = True
        else:
            self.deaf = refused_subscription(self._listen.topic, code)

    def _on_message(self, _client: Client, _user: Any, message: MQTTMessage) -> None:
        link = self._client.strainer
        if link is not None and link.messages:
            arrived = link.messages.popleft()
            if self._listen is not None:
                self._arrived.append(replace(arrived, payload=bytes(message.payload)))


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
