"""The way to the broker, step by step: files, name, port, TLS, login, a message that comes back.

Then the topic that images come from. The first step that fails ends it: what lies behind it can't
be known.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import ssl
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_agent.doctor.ask import ask_program, within
from edge_agent.doctor.exchange import Exchanged, exchange
from edge_agent.doctor.finding import Finding
from edge_agent.doctor.source import look_at_source
from edge_agent.mqtt.connection import tls_context
from edge_agent.mqtt.reasons import SUCCESS, refused_publish, unreachable
from edge_agent.parts import mqtt_options
from edge_agent.publish import Station, topics_of
from edge_agent.settings import CREDENTIALS, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.publish import MqttOptions, TlsOptions
    from edge_agent.settings import Settings

TOPIC = "broker"
_LIMIT = 5.0  # seconds for each step
_SOON = 30  # days
_DAY = 86_400.0


def look_at_broker(settings: Settings, limit: float = _LIMIT) -> list[Finding]:
    """Every step up to the first that fails."""
    if settings.mqtt is None:
        what = "no [mqtt] section: verdicts stay in the journal and are not published"
        return [Finding(TOPIC, "ok", what)]
    one = settings.station
    station = Station(one.site, one.line, one.name)
    secret = settings.mqtt.password_file
    if secret is not None and CREDENTIALS in secret.parents and not secret.parent.is_dir():
        what = f"not tested: {secret} exists only while the service runs, and it is stopped"
        return [Finding(TOPIC, "warning", what, "start the service, then run doctor again")]
    try:
        options = mqtt_options(settings.mqtt, station)
    except SettingsError as error:
        mend = "make it readable for the user of the service only"
        return [Finding(TOPIC, "error", str(error), mend)]
    # Its own client id: with the station's it would throw the running agent out.
    probe = f"{options.client_id}-doctor-{secrets.token_hex(4)}"
    options = replace(options, client_id=probe, connect_timeout=limit)
    base = topics_of(station, settings.mqtt.root).status.rpartition("/")[0]
    found = look_at_secrecy(options)
    found += look_at_network(options, limit)
    if not any(finding.level == "error" for finding in found):
        went = exchange(options, f"{base}/doctor", limit)
        found += look_at_exchange(options, base, went)
        if settings.source.mqtt is not None and not went.closed:
            found += look_at_source(settings.source.mqtt, options, limit)
    return found


def look_at_secrecy(options: MqttOptions) -> list[Finding]:
    """Whether others on the network could read the password."""
    if options.password is None or options.tls is not None or _on_this_machine(options.host):
        return []
    what = f"the password goes to {options.broker} in plain text"
    mend = "set tls = true, and ca_file if the broker's authority is your own"
    return [Finding(TOPIC, "warning", what, mend)]


def look_at_network(options: MqttOptions, limit: float) -> list[Finding]:
    """Name, port and, where it is set, TLS."""
    host, port = options.host, options.port
    try:
        answers = within(limit, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        addresses = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    except (OSError, UnicodeError) as error:
        if isinstance(error, TimeoutError):
            what = f"the name server does not answer the query for {host}"
        elif isinstance(error, UnicodeError):
            what = f"{host!r} is not a valid host name"
        else:
            what = unreachable(options.broker, error)
        mend = f"getent hosts {host} must show its address: fix mqtt.host, /etc/hosts or the DNS"
        return [Finding(TOPIC, "error", what, mend)]
    named = [Finding(TOPIC, "ok", f"{host} is {', '.join(addresses)}")]
    found = [] if addresses == [host] else named
    try:
        # As paho does it: each address in turn, each with the whole limit.
        link = within(2 * limit, lambda: socket.create_connection((host, port), limit))
    except OSError as error:
        mend = (
            "start the broker, or fix mqtt.host and mqtt.port; a broker that listens only on its "
            "own machine (mosquitto's default) needs a `listener` line"
        )
        return [*found, Finding(TOPIC, "error", unreachable(options.broker, error), mend)]
    with link:
        found.append(Finding(TOPIC, "ok", f"port {port} is open"))
        if options.tls is not None:
            found += look_at_tls(options, options.tls, link)
    return found


def look_at_tls(options: MqttOptions, tls: TlsOptions, link: socket.socket) -> list[Finding]:
    """The broker's certificate as the agent sees it: trusted, for this name, and for how long."""
    try:
        context = tls_context(tls)
    except OSError as error:
        if isinstance(error, ssl.SSLError):
            what = f"the TLS files can't be used: {error.reason or error}"
        else:
            what = unreachable(options.broker, error)
        mend = "ca_file, cert_file and key_file must be PEM, readable, and key and certificate one"
        return [Finding(TOPIC, "error", what, mend)]
    try:
        with context.wrap_socket(link, server_hostname=options.host) as secured:
            certificate = secured.getpeercert() or {}
            version = secured.version()
    except OSError as error:
        show = f"openssl s_client -connect {options.broker} -showcerts"
        mend = f"renew the certificate, or set ca_file to its authority; to see both: {show}"
        if not isinstance(error, ssl.SSLCertVerificationError):
            mend = f"if that port has no TLS, set tls = false, or fix mqtt.port; to see: {show}"
        return [Finding(TOPIC, "error", unreachable(options.broker, error), mend)]
    found = [Finding(TOPIC, "ok", f"{version}, the broker's certificate is trusted")]
    end = certificate.get("notAfter")
    if isinstance(end, str):
        found.append(judge_expiry("the broker's certificate", end, time.time()))
    if tls.cert:
        found += _own_certificate(tls.cert)
    authorities = context.get_ca_certs() if tls.ca else []
    ends = [end for one in authorities if isinstance(end := one.get("notAfter"), str)]
    whose = f"the authority in {tls.ca}"
    return [*found, *(judge_expiry(whose, end, time.time()) for end in ends)]


def _own_certificate(file: Path) -> list[Finding]:
    """Its end, by the openssl command where there is one: Python's ssl does not tell it."""
    answer = ask_program(["openssl", "x509", "-enddate", "-noout", "-in", str(file)], 3.0)
    _, _, end = answer.said.partition("notAfter=")
    if answer.trouble or not end:
        return []
    return [judge_expiry(f"this station's certificate {file}", end, time.time())]


def judge_expiry(whose: str, end: str, now: float) -> Finding:
    """Warns a month before; ``end`` as ssl writes it: ``Nov 24 08:00:00 2027 GMT``."""
    days = (ssl.cert_time_to_seconds(end) - now) / _DAY
    if days < 0:
        return Finding(TOPIC, "error", f"{whose} has expired: {end}", "renew it")
    what = f"{whose} is valid for {days:.0f} more days, until {end}"
    if days < _SOON:
        mend = "renew it before then: no verdict is published after that"
        return Finding(TOPIC, "warning", what, mend)
    return Finding(TOPIC, "ok", what)


def look_at_exchange(options: MqttOptions, base: str, went: Exchanged) -> list[Finding]:
    """What the broker said to the login, and to a message of our own."""
    topic = f"{base}/doctor"
    user = "an anonymous client" if options.username is None else f"user {options.username!r}"
    if went.closed:
        mend = "the broker's log says why it accepts no client"
        if went.login:
            mend = "fix username and password_file, or the user at the broker; its log says more"
        elif options.tls is None:
            mend = f"{mend}; if its port wants TLS, set tls = true"
        elif options.tls.cert is None:
            mend = f"{mend}; if it wants a client certificate, set cert_file and key_file"
        return [Finding(TOPIC, "error", went.closed, mend)]
    found = [Finding(TOPIC, "ok", f"{user} is accepted")]
    if not went.retain:
        mend = "allow retained messages: the station's status needs them"
        found.append(Finding(TOPIC, "error", "the broker does not allow retained messages", mend))
    allow = f"let {user} write to {base}/# (mosquitto: `topic write {base}/#` in its acl_file)"
    if went.published is None:
        what = f"the broker has not acknowledged a message on {topic}"
        return [*found, Finding(TOPIC, "error", what, "look at the broker's log and its load")]
    if went.published not in SUCCESS:
        what = refused_publish(topic, went.published)
        return [*found, Finding(TOPIC, "error", what, allow)]
    found.append(Finding(TOPIC, "ok", f"a message on {topic} is acknowledged"))
    if went.returned is None:
        what = f"the message on {topic} was acknowledged, but not received back"
        mend = (
            "if this user may only write, nothing: verdicts are delivered. To test the way back, "
            f"allow reading {base}/# too"
        )
        return [*found, Finding(TOPIC, "warning", what, mend)]
    what = f"and received back after {went.returned * 1000:.0f} ms: verdicts are delivered"
    return [*found, Finding(TOPIC, "ok", what)]


def _on_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
