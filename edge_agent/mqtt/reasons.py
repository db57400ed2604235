"""What keeps messages from the broker, in words that an operator can act on. Pure."""

from __future__ import annotations

import socket
import ssl

SUCCESS = frozenset({0, 16})  # 16: taken, and nobody listens at the moment
TAKEN_OVER = 142

_PUBACK = {
    128: "without saying why",
    131: "for reasons of its own",
    135: "this station is not allowed to publish there: fix the broker's access list",
    144: "it does not accept the topic's name: check root, site, line and station",
    151: "a quota is used up: look at the broker's limits",
    153: "it does not accept the payload's format",
}
_SUBACK = {
    135: "this station is not allowed to subscribe there: fix the broker's access list",
    143: "it does not accept the topic's name",
    158: "it does not know shared subscriptions: use a topic without $share",
    162: "it does not know topics with wildcards",
}
_CONNACK = {
    128: "refuses the connection without saying why",
    129: "found the connection request malformed",
    130: "found a protocol error in the connection request",
    131: "refuses the connection for reasons of its own",
    132: "does not speak MQTT version 5: use one that does",
    133: "does not accept the client id: choose another client_id",
    134: "refuses the user name or password",
    135: "refuses this client: check user name, password and the broker's access list",
    136: "is not available at the moment",
    137: "is busy",
    138: "has banned this client",
    140: "wants another way of authentication",
    144: "does not accept the last will's topic: check root, site, line and station",
    149: "found the connection request too large",
    151: "has used up a quota: look at its limits",
    153: "does not accept the last will's payload",
    154: "does not allow retained messages: allow them for the status topic",
    155: "does not support QoS 1: use one that does",
    156: "wants another broker to be used",
    157: "has moved",
    159: "limits how often clients may connect",
}
_DISCONNECT = {
    0: "closed the connection",
    129: "found a packet malformed",
    130: "found a protocol error",
    135: "no longer allows this client",
    137: "is busy",
    139: "is shutting down",
    141: "heard nothing from this station for too long",
    142: "has another client with the same client id: give each station its own client_id",
    147: "got more messages at once than it allows: lower max_inflight",
    149: "found a message larger than it allows: raise the broker's limit",
    150: "found the message rate too high: raise the broker's limit",
    151: "has used up a quota: look at its limits",
    152: "closed the connection on its administrator's order",
    160: "limits how long clients may stay connected",
}


def refused_publish(topic: str, code: int) -> str:
    """A PUBACK that was no success."""
    why = _PUBACK.get(code, f"reason code {code}")
    return f"the broker refuses messages on {topic}: {why}"


def refused_subscription(topic: str, code: int) -> str:
    """A SUBACK that was no success."""
    why = _SUBACK.get(code) or _PUBACK.get(code, f"reason code {code}")
    return f"the broker refuses to send messages on {topic}: {why}"


def refused_connection(broker: str, code: int) -> str:
    """A CONNACK that was no success."""
    return f"the broker at {broker} {_CONNACK.get(code, f'refuses with reason code {code}')}"


def closed_by_broker(broker: str, code: int) -> str:
    """A DISCONNECT that the broker sent."""
    return f"the broker at {broker} {_DISCONNECT.get(code, f'left with reason code {code}')}"


def dropped_in_a_row(broker: str, times: int) -> str:
    """Accepted and dropped, again and again: how some brokers treat two clients with one id.

    mosquitto 2.0.11 closes the older connection without the DISCONNECT that would say so.
    """
    return (
        f"{broker} has accepted and dropped this station {times} times in a row: probably another "
        "client has the same client id; the broker's log says more"
    )


def unreachable(broker: str, error: Exception) -> str:
    """An exception while connecting."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of the broker at {broker} is not trusted: "
            f"{error.verify_message}; check the CA file and the broker's name"
        )
    if isinstance(error, ssl.SSLError):
        detail = getattr(error, "reason", None) or error
        return f"no TLS with {broker}: {detail}; is it a port with TLS?"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {broker}: is the broker running?"
    if isinstance(error, socket.gaierror):
        return f"the name in {broker} can't be resolved: check it, and the DNS"
    if isinstance(error, PermissionError) and error.filename is None:
        return (
            f"this machine blocks connections to {broker}: a firewall, or the service's unit (a "
            "public address needs IPAddressAllow=)"
        )
    if isinstance(error, TimeoutError):
        return f"no answer from {broker}: check the address, the network and firewalls"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} can't be used: {error.strerror}"
    detail = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"no connection to {broker}: {detail}"
