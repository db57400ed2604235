"""The doctor and a real mosquitto, that lets in, refuses, denies and has expired."""

from __future__ import annotations

import subprocess

import pytest

from edge_agent.cli import run
from edge_agent.doctor.broker import look_at_broker
from edge_agent.settings import load_settings
from tests.authority import OPENSSL, Authority

pytestmark = pytest.mark.broker

BASE = "inspection/site/line/station"
SECURED = """
allow_anonymous false
password_file {directory}/passwords
acl_file {directory}/acl
"""


@pytest.fixture
def station(tmp_path):
    """``station(port, more)``: its station.toml."""

    def make(port, more=""):
        home = tmp_path / "station"
        (home / "inbox").mkdir(parents=True, exist_ok=True)
        (home / "password").write_text("secret of the plant\n")
        (home / "password").chmod(0o600)
        (home / "station.toml").write_text(
            'bundle = "bundle"\n[source.folder]\npath = "inbox"\n[storage]\nroot = "state"\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\n{more}\n'
        )
        return home / "station.toml"

    return make


LOGIN = 'username = "camera"\npassword_file = "password"'


def secured(make_broker, acl, password="secret of the plant"):
    broker = make_broker()
    broker.settings = SECURED.format(directory=broker.directory)
    passwords = broker.directory / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "camera", password], check=True)
    (broker.directory / "acl").write_text(f"user camera\n{acl}\n")
    (broker.directory / "acl").chmod(0o600)
    return broker.start()


def look(file):
    return look_at_broker(load_settings(file), 10.0)


def test_a_message_goes_there_and_back(broker, subscribe, station):
    consumer = subscribe(broker.port, "inspection/#")

    found = look(station(broker.port))

    assert [one.level for one in found] == ["ok"] * len(found)
    assert found[-1].what.endswith("verdicts are delivered")
    consumer.wait(lambda received: len(received) == 1)
    (seen,) = consumer.received()
    assert (seen.topic, seen.retained) == (f"{BASE}/doctor", False)


def test_the_running_agent_keeps_its_connection(broker, subscribe, station):
    agent = subscribe(broker.port, "#", client_id="edge-agent-site-line-station")

    look(station(broker.port))

    agent.wait(lambda received: len(received) == 1)
    assert broker.log().count("as edge-agent-site-line-station (") == 1


def test_a_login(make_broker, station):
    broker = secured(make_broker, f"topic readwrite {BASE}/#")

    found = look(station(broker.port, LOGIN))

    assert [one.level for one in found] == ["ok"] * len(found)
    assert "user 'camera' is accepted" in [one.what for one in found]


def test_a_wrong_password(make_broker, station, capsys):
    broker = secured(make_broker, f"topic readwrite {BASE}/#", password="another")
    file = station(broker.port, LOGIN)

    end = look(file)[-1]

    assert end.level == "error"
    assert end.what.startswith(f"the broker at 127.0.0.1:{broker.port} refuses ")
    assert "user name" in end.what
    assert end.mend.startswith("fix username and password_file")
    assert run(["doctor", "--config", str(file)]) == 2
    said = capsys.readouterr()
    assert end.what in said.out
    assert "secret of the plant" not in said.out + said.err


def test_nobody_is_let_in_without_a_name(make_broker, station):
    broker = secured(make_broker, f"topic readwrite {BASE}/#")

    assert look(station(broker.port))[-1].level == "error"


def test_a_denial_by_the_access_list(make_broker, station):
    broker = secured(make_broker, "topic readwrite other/#")

    end = look(station(broker.port, LOGIN))[-1]

    assert end.level == "error"
    assert end.what.startswith(f"the broker refuses messages on {BASE}/doctor: this station is not")
    assert f"let user 'camera' write to {BASE}/#" in end.mend


def test_one_that_may_only_write(make_broker, station):
    broker = secured(make_broker, f"topic write {BASE}/#")
    file = station(broker.port, LOGIN)

    end = look_at_broker(load_settings(file), 2.0)[-1]

    assert end.level == "warning"
    assert "was acknowledged, but not received back" in end.what


def test_a_broker_without_retained_messages(make_broker, station):
    broker = make_broker("allow_anonymous true\nretain_available false\n").start()

    found = look(station(broker.port))

    assert [one.what for one in found if one.level == "error"] == [
        "the broker does not allow retained messages"
    ]


@pytest.mark.skipif(OPENSSL is None, reason="the openssl command is not installed")
@pytest.mark.parametrize("days", [200, -1])
def test_tls(make_broker, station, tmp_path, days):
    authority = Authority(tmp_path / "ca").create()
    issued = authority.issue("broker", days=days)
    broker = make_broker(
        f"cafile {authority.cert}\ncertfile {issued.cert}\nkeyfile {issued.key}\n"
        "allow_anonymous true\n"
    ).start()

    found = look(station(broker.port, f'tls = true\nca_file = "{authority.cert}"'))

    if days > 0:
        assert [one.level for one in found] == ["ok"] * len(found)
        assert any("valid for 200 more days" in one.what for one in found)
        assert found[-1].what.endswith("verdicts are delivered")
    else:
        assert found[-1].level == "error"
        assert "is not trusted: certificate has expired" in found[-1].what


@pytest.mark.skipif(OPENSSL is None, reason="the openssl command is not installed")
def test_a_broker_that_wants_a_certificate(make_broker, station, tmp_path):
    authority = Authority(tmp_path / "ca").create()
    issued = authority.issue("broker")
    broker = make_broker(
        f"cafile {authority.cert}\ncertfile {issued.cert}\nkeyfile {issued.key}\n"
        "require_certificate true\nallow_anonymous true\n"
    ).start()
    own = authority.issue("station")
    tls = f'tls = true\nca_file = "{authority.cert}"\n'

    without = look(station(broker.port, tls))
    given = look(station(broker.port, f'{tls}cert_file = "{own.cert}"\nkey_file = "{own.key}"'))

    assert without[-1].level == "error"
    assert without[-1].mend.endswith("if it wants a client certificate, set cert_file and key_file")
    assert any(f"this station's certificate {own.cert} is valid" in one.what for one in given)
    assert [one.level for one in given] == ["ok"] * len(given)


def test_no_tls_where_it_is_wanted(broker, station):
    end = look(station(broker.port, "tls = true"))[-1]

    assert end.level == "error"
    assert end.mend.startswith("if that port has no TLS, set tls = false")


@pytest.mark.skipif(OPENSSL is None, reason="the openssl command is not installed")
def test_tls_where_plain_text_is_spoken(make_broker, station, tmp_path):
    authority = Authority(tmp_path / "ca").create()
    issued = authority.issue("broker")
    broker = make_broker(
        f"certfile {issued.cert}\nkeyfile {issued.key}\nallow_anonymous true\n"
    ).start()

    end = look(station(broker.port))[-1]

    assert end.level == "error"
    assert end.mend.endswith("if its port wants TLS, set tls = true")
