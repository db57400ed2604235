"""The publisher against servers that are no good brokers: it says so, and goes on trying."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from contextlib import closing

import pytest

from edge_agent.mqtt import Connection
from edge_agent.publish import MqttOptions, Publisher, Station, TlsOptions, topics_of
from edge_agent.publish.announcements import Announcements
from edge_agent.types import Message
from tests.rawbroker import RawBroker

pytestmark = pytest.mark.slow

TOPICS = topics_of(Station("s", "l", "n"))
ACCEPTED = b"\x20\x03\x00\x00\x00"


class OneRow:
    """An outbox in memory: no journal is needed here."""

    def __init__(self):
        self.done = False

    def pending(self, after, limit, *, again):
        return [] if self.done or after or again else [Message(1, "id", False, b"payload")]

    def acknowledge(self, sequences):
        self.done = True

    def unacknowledged(self):
        return 0 if self.done else 1

    def close(self):
        pass


class Server:
    """Accepts connections one after the other, and has ``talk`` speak to each."""

    def __init__(self, talk):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._talk = talk
        self._open = []
        self.connections = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._talk(connection, self.connections)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._open:
            connection.close()


@pytest.fixture
def publish():
    """Start a publisher on a server or port; everything ends with the test."""
    ends = []

    def start(
        talk_or_port,
        outbox=None,
        birth=lambda: b"birth",
        telemetry_every=0.0,
        commands=None,
        **options,
    ):
        port = talk_or_port
        if callable(talk_or_port):
            server = Server(talk_or_port)
            ends.append(server.close)
            port = server.port
        options = {"host": "127.0.0.1", "reconnect_min": 0.05, "reconnect_max": 0.2, **options}
        publisher = Publisher(
            MqttOptions(client_id="c", port=port, **options),
            TOPICS,
            lambda: outbox or OneRow(),
            LookupError,
            commands=commands,
        )
        publisher.start(
            Announcements(birth, b"will", b"farewell", lambda: b"well", telemetry_every)
        )
        ends.append(lambda: publisher.stop(1))
        return publisher

    yield start
    for end in reversed(ends):
        end()


def said(publisher, words, seconds=20):
    deadline = time.monotonic() + seconds
    while words not in publisher.state().reason:
        assert time.monotonic() < deadline, publisher.state()
        time.sleep(0.005)


def reply(*answers):
    """Answer the n-th connection's CONNECT with the n-th bytes; the last ones for ever."""

    def talk(connection, number):
        connection.recv(4096)
        connection.sendall(answers[min(number, len(answers)) - 1])

    return talk


def test_a_broker_without_version_5(publish):
    said(publish(reply(b"\x20\x02\x00\x01")), "does not speak MQTT version 5")


def test_a_bad_password_as_version_5_says_it(publish):
    said(publish(reply(b"\x20\x03\x00\x86\x00")), "refuses the user name or password")


def test_a_server_that_says_nothing(publish):
    publisher = publish(lambda _connection, _number: None, keepalive=1)
    said(publisher, "no longer answers")


def test_a_server_that_hangs_up(publish):
    said(publish(lambda connection, _number: connection.close()), "is it an MQTT broker")


def test_a_session_taken_over(publish):
    publisher = publish(reply(ACCEPTED + b"\xe0\x02\x8e\x00"))
    said(publisher, "another client with the same client id")


def test_garbage_is_survived(publish, caplog):
    outbox = OneRow()

    def talk(connection, number):
        connection.recv(4096)
        if number == 1:
            connection.sendall(ACCEPTED + b"\x40\x04\x00\x01\xc7\x00")  # an unknown reason code
        elif number == 2:
            connection.sendall(b"\xff" * 64)
        else:
            connection.sendall(ACCEPTED)
            connection.sendall(b"\x40\x02\x00\x01" + b"\x40\x02\x00\x02")

    publisher = publish(talk, outbox)
    deadline = time.monotonic() + 20
    while not outbox.done:
        assert time.monotonic() < deadline, publisher.state()
        time.sleep(0.005)
    assert "is not MQTT version 5" in caplog.text


def test_a_failure_that_nobody_foresaw_is_logged_and_got_over(publish, caplog):
    births = iter([lambda: 1 / 0])

    def birth():
        return next(births, lambda: b"birth")()

    outbox = OneRow()
    acks = ACCEPTED + b"\x40\x02\x00\x01"

    def talk(connection, number):
        connection.recv(4096)
        connection.sendall(acks)
        if number > 1:
            connection.recv(4096)
            connection.sendall(b"\x40\x02\x00\x02")

    publisher = publish(talk, outbox, birth=birth)
    deadline = time.monotonic() + 20
    while not outbox.done:
        assert time.monotonic() < deadline, publisher.state()
        time.sleep(0.005)
    assert "ZeroDivisionError" in caplog.text


def test_a_broker_that_acknowledges_nothing_is_left(publish):
    publisher = publish(reply(ACCEPTED), ack_timeout=0.3)
    said(publisher, "has acknowledged nothing")


def test_a_broker_that_does_not_say_whether_commands_are_heard_is_left(publish):
    """It is not said to be online, and not for ever."""
    with closing(RawBroker()) as raw:
        raw.suback = lambda _number: b""
        publisher = publish(raw.port, commands={}, ack_timeout=0.3)
        said(publisher, "has not answered the subscription for 0 s")
        assert not any(topic.endswith(b"/status") for topic, _ in raw.published)
        assert any(topic.endswith(b"/verdict") for topic, _ in raw.published)


def test_no_more_is_in_flight_than_the_broker_allows(publish):
    taken = []

    def talk(connection, _number):
        connection.recv(4096)
        connection.sendall(b"\x20\x06\x00\x00\x03\x21\x00\x01")  # Receive Maximum 1
        connection.settimeout(0.2)
        for packet in (1, 2):
            received = connection.recv(4096)
            with pytest.raises(TimeoutError):  # nothing comes before it is acknowledged
                connection.recv(1)
            taken.append(received[0] & 0xF0 == 0x30 and len(received) == received[1] + 2)
            connection.sendall(b"\x40\x02\x00" + bytes([packet]))

    outbox = OneRow()
    publisher = publish(talk, outbox)
    deadline = time.monotonic() + 20
    while not outbox.done:
        assert time.monotonic() < deadline, publisher.state()
        time.sleep(0.005)
    assert taken == [True, True]


def test_what_the_station_says_of_itself_is_no_more_than_the_broker_allows(publish):
    """HiveMQ, say, ends the connection of whoever sends more than it has room for."""
    early = []
    told = threading.Event()

    def talk(connection, _number):
        connection.recv(4096)
        connection.sendall(b"\x20\x06\x00\x00\x03\x21\x00\x01")  # Receive Maximum 1
        for packet in (1, 2, 3, 4):
            connection.settimeout(20)
            connection.recv(4096)
            connection.settimeout(0.2)  # in which telemetry is due twenty times
            try:
                early.append(connection.recv(4096))
            except TimeoutError:
                connection.sendall(b"\x40\x02\x00" + bytes([packet]))
        told.set()

    publish(talk, OneRow(), telemetry_every=0.01)

    assert told.wait(60)
    assert early == []


@pytest.mark.parametrize("answer", [b"", ACCEPTED + b"\x40\x03\x00\x02\x87"])
def test_a_broker_that_falls_silent_is_waited_for_and_not_asked_again_and_again(
    publish, monkeypatch, answer
):
    """Whether it has said nothing at all, or has refused a verdict and then nothing more."""
    turns = 0
    step = Connection.step

    def counted(*arguments):
        nonlocal turns
        turns += 1
        step(*arguments)

    monkeypatch.setattr(Connection, "step", counted)
    publisher = publish(reply(answer), telemetry_every=0.0 if answer else 0.01)
    if answer:
        said(publisher, "is not allowed to publish")
    before = turns
    time.sleep(2)  # is it quiet? a loop that turns would turn ten thousands of times

    assert turns - before < 100


def test_an_unknown_name(publish):
    said(publish(1883, host="broker.invalid"), "can't be resolved", seconds=60)


def test_a_ca_file_that_is_missing_is_named(publish, tmp_path):
    publisher = publish(1883, tls=TlsOptions(ca=tmp_path / "ca.pem"))
    said(publisher, "ca.pem can't be used: No such file")


def test_the_password_is_in_no_printed_form():
    assert "secret" not in repr(MqttOptions(client_id="c", password=lambda: "secret"))


# paho leaves a socket whose handshake failed to be closed by its last reference.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.broker
def test_tls_is_checked(make_broker, publish, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    for name in ("right", "wrong"):
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                "subjectAltName=DNS:localhost", "-keyout", str(tmp_path / f"{name}.key"),
                "-out", str(tmp_path / f"{name}.pem"),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
    broker = make_broker(
        f"allow_anonymous true\ncertfile {tmp_path / 'right.pem'}\n"
        f"keyfile {tmp_path / 'right.key'}\n"
    ).start()
    outbox = OneRow()
    right = TlsOptions(ca=tmp_path / "right.pem")

    def reason_of(words, **options):
        publisher = publish(broker.port, outbox, **options)
        said(publisher, words)
        publisher.stop(1)

    reason_of("is not trusted", host="localhost", tls=TlsOptions(ca=tmp_path / "wrong.pem"))
    reason_of("is not trusted", host="localhost", tls=TlsOptions())
    reason_of("is not trusted", host="127.0.0.1", tls=right)
    reason_of("want TLS", host="localhost")
    assert not outbox.done
    publish(broker.port, outbox, host="localhost", tls=right)
    deadline = time.monotonic() + 20
    while not outbox.done:
        assert time.monotonic() < deadline
        time.sleep(0.005)
