"""Every step to a broker that can fail before MQTT is spoken; the rest needs a real one."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager

import pytest

from edge_agent.doctor.broker import judge_expiry, look_at_broker
from edge_agent.doctor.exchange import exchange
from edge_agent.publish import MqttOptions
from tests.authority import OPENSSL, Authority
from tests.broker import free_port

needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="the openssl command is not installed")


def mqtt(port, more="", host="127.0.0.1"):
    return f'[mqtt]\nhost = "{host}"\nport = {port}\n{more}'


def last(settings, limit=10.0):
    """The finding at which it ended, and that all before were fine."""
    *before, end = look_at_broker(settings, limit)
    assert {one.level for one in before} <= {"ok"}
    return end


def test_no_broker_is_set(make_settings):
    assert last(make_settings()).level == "ok"


def test_an_absent_broker(make_settings):
    port = free_port()

    end = last(make_settings(mqtt(port)))

    assert end.level == "error"
    assert end.what == f"nothing listens at 127.0.0.1:{port}: is the broker running?"
    assert "listener" in end.mend


def test_a_name_that_there_is_not(make_settings, monkeypatch):
    def nowhere(*_arguments, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)

    end = last(make_settings(mqtt(1883, host="broker.invalid")))

    assert end.what == "the name in broker.invalid:1883 can't be resolved: check it, and the DNS"
    assert end.mend.startswith("getent hosts broker.invalid")


def test_a_name_server_that_hangs(make_settings, monkeypatch):
    forever = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_o: forever.wait())

    end = last(make_settings(mqtt(1883, host="broker.plant")), 0.1)
    forever.set()

    assert end.what == "the name server does not answer the query for broker.plant"


def test_a_name_that_can_be_none(make_settings):
    end = last(make_settings(mqtt(1883, host="a" * 64 + ".plant")))

    assert end.level == "error"
    assert "is not a valid host name" in end.what


@contextmanager
def listener(serve):
    """A server that gives each connection to ``serve``."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()
        server.settimeout(0.05)
        kept = []

        def work():
            while not ended.is_set():
                try:
                    link = server.accept()[0]
                except TimeoutError:
                    continue
                kept.append(link)
                serve(link)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join()
            for link in kept:
                link.close()


def test_a_server_that_says_nothing(make_settings):
    with listener(lambda link: None) as port:
        end = last(make_settings(mqtt(port)), 0.3)

    assert end.level == "error"
    assert end.what == f"127.0.0.1:{port} does not answer: is it an MQTT broker?"


def test_a_server_that_hangs_up(make_settings):
    with listener(lambda link: link.close()) as port:
        end = last(make_settings(mqtt(port)))

    assert end.level == "error"
    assert "closed the connection without a reason" in end.what


def test_the_exchange_names_an_absent_broker():
    port = free_port()

    assert exchange(MqttOptions("x", port=port, host="127.0.0.1"), "t", 5).closed == (
        f"nothing listens at 127.0.0.1:{port}: is the broker running?"
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki") / "ca").create()


@contextmanager
def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)

    def shake(link):
        link.settimeout(10)
        try:
            context.wrap_socket(link, server_side=True).close()
        except OSError:
            link.close()

    with listener(shake) as port:
        yield port


@needs_openssl
def test_an_expired_certificate(make_settings, authority):
    with tls(authority.issue("expired", days=-1)) as port:
        end = last(make_settings(mqtt(port, f'tls = true\nca_file = "{authority.cert}"')))

    assert end.level == "error"
    assert f"the broker at 127.0.0.1:{port} is not trusted: certificate has expired" in end.what
    assert f"openssl s_client -connect 127.0.0.1:{port}" in end.mend
    assert end.mend.startswith("renew the certificate")


@needs_openssl
def test_a_certificate_of_another_authority(make_settings, authority, tmp_path):
    other = Authority(tmp_path / "other").create()
    with tls(authority.issue("stranger")) as port:
        end = last(make_settings(mqtt(port, f'tls = true\nca_file = "{other.cert}"')))

    assert end.level == "error"
    assert "is not trusted: " in end.what


@needs_openssl
def test_a_certificate_that_ends_soon(make_settings, authority):
    with tls(authority.issue("soon", days=10.5)) as port:
        settings = make_settings(mqtt(port, f'tls = true\nca_file = "{authority.cert}"'))
        found = look_at_broker(settings, 10.0)

    (soon,) = (one for one in found if one.level == "warning")
    assert soon.what.startswith("the broker's certificate is valid for 10 more days, until ")


@needs_openssl
def test_tls_files_that_are_none(make_settings, authority, tmp_path):
    (tmp_path / "words").write_text("words")
    with listener(lambda link: None) as port:
        missing = last(make_settings(mqtt(port, 'tls = true\nca_file = "none.crt"')))
        wrong = last(make_settings(mqtt(port, 'tls = true\nca_file = "words"')))

    assert missing.what == f"{tmp_path}/none.crt can't be used: No such file or directory"
    assert wrong.what.startswith("the TLS files can't be used: ")
    assert missing.level == wrong.level == "error"


def test_expiry():
    end = "Nov 24 08:00:00 2026 GMT"
    when = ssl.cert_time_to_seconds(end)

    assert judge_expiry("x", end, when + 1).level == "error"
    assert judge_expiry("x", end, when - 29 * 86400).level == "warning"
    assert judge_expiry("x", end, when - 31 * 86400).level == "ok"


def test_a_password_that_others_can_read(make_settings, tmp_path):
    (tmp_path / "password").write_text("top secret\n")
    (tmp_path / "password").chmod(0o644)
    settings = make_settings(mqtt(free_port(), 'username = "u"\npassword_file = "password"'))

    (found,) = look_at_broker(settings)

    assert found.level == "error"
    assert found.what.endswith(
        f"everyone on this machine can read or change it: chmod o= {tmp_path}/password"
    )
    (tmp_path / "password").chmod(0o640)
    assert "everyone" not in repr(look_at_broker(settings))


def test_a_password_in_plain_text_over_the_network(make_settings, tmp_path, monkeypatch):
    (tmp_path / "password").write_text("top secret\n")
    (tmp_path / "password").chmod(0o600)
    forever = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_o: forever.wait())
    more = 'username = "u"\npassword_file = "password"'

    found = look_at_broker(make_settings(mqtt(1883, more, host="10.9.8.7")), 0.05)
    forever.set()

    assert found[0].what == "the password goes to 10.9.8.7:1883 in plain text"
    assert "top secret" not in repr(found)


def test_a_password_file_that_is_not_there(make_settings, tmp_path):
    more = 'username = "u"\npassword_file = "password"'

    end = last(make_settings(mqtt(1883, more)))

    assert end.level == "error"
    assert f"mqtt.password_file {tmp_path}/password can't be used" in end.what


def test_a_credential_of_a_service_that_does_not_run_is_no_fault_of_its_own(make_settings):
    """It was an error that told to change the rights of a file that systemd makes at a start."""
    more = 'username = "u"\npassword_file = "credential:not-of-any-unit-here"'

    (found,) = look_at_broker(make_settings(mqtt(1883, more)))

    assert found.level == "warning"
    assert "exists only while the service runs, and it is stopped" in found.what
    assert found.mend == "start the service, then run doctor again"
