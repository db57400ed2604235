"""All topics, whatever one of them does."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import psutil
import pytest

from edge_agent import reload
from edge_agent.cli import run
from edge_agent.doctor import model
from edge_agent.doctor.examine import Topic, examine, look_at_all
from edge_agent.doctor.finding import Finding
from edge_agent.doctor.show import show_sum, show_topic
from edge_agent.engine.worker.protocol import Ready
from tests.bundles import EXPECTS, make_bundle

pytestmark = pytest.mark.slow

FINE = Finding("fine", "ok", "it is fine")


def fine():
    return [FINE]


def test_one_that_hangs_holds_up_none():
    forever = threading.Event()
    began = time.monotonic()

    def hang():
        forever.wait()
        return [FINE]

    topics = [Topic("hung", hang, "pull the plug"), Topic("fine", fine, "")]
    first, second = look_at_all(topics, 0.2)
    forever.set()

    assert first == [Finding("hung", "error", "no answer within 0 s", "pull the plug")]
    assert second == [FINE]
    assert time.monotonic() - began < 30


def test_what_a_hung_one_has_started_ends_with_it():
    started = []
    running = threading.Event()

    def hang():
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
            started.append(child)
            running.set()
        return [FINE]

    topics = [
        Topic("hung", hang, ""),
        Topic("fine", lambda: [FINE] if running.wait(30) else [], ""),
    ]
    list(look_at_all(topics, 1.0))

    assert running.wait(30)
    assert started[0].wait(30) == -9


def test_one_that_fails_silences_none():
    def fail():
        raise KeyError("x")

    first, second = look_at_all([Topic("bad", fail, ""), Topic("fine", fine, "")], 30)

    assert first[0].level == "error"
    assert first[0].what == "the check failed: KeyError: 'x'"
    assert second == [FINE]


def test_nothing_is_left_running(make_settings, tmp_path):
    settings = make_settings(bundle=make_bundle(tmp_path / "bundle").path)
    before = set(psutil.Process().children(recursive=True))

    found = [one for topic in examine(tmp_path / "station.toml", 120) for one in topic]

    assert settings.bundle == tmp_path / "bundle"
    assert not [one for one in found if one.level == "error"], found
    assert list(dict.fromkeys(one.topic for one in found)) == [
        *("settings", "python", "devices", "providers", "bundle", "folders", "retention"),
        *("inotify", "station", "broker", "clock", "systemd"),
    ]
    golden = [one.what for one in found if one.topic == "bundle"][-1]
    assert golden == "fp32 on cpu CPU: 2 golden images within 0.00000"
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.parametrize(
    ("expects", "settings", "said"),
    [
        (None, "", "it has no record of its training images"),
        (
            EXPECTS,
            '[decision]\nimplausible = "ok"',
            "[decision] lets pictures that it was not made for be judged by score",
        ),
        (EXPECTS, "", ""),
    ],
)
def test_whether_a_black_frame_may_be_ok(
    make_settings, tmp_path, monkeypatch, expects, settings, said
):
    bundle = make_bundle(tmp_path / "bundle", expects=expects)
    monkeypatch.setattr(reload, "verify_apart", lambda *_: bundle)
    monkeypatch.setattr(model, "prove_apart", lambda *_: Ready("fp32", "cpu", "CPU", 0.0, 0))

    found = model.look_at_bundle(make_settings(settings, bundle=bundle.path))

    warnings = [one for one in found if one.level == "warning"]
    assert [one.level for one in found if one not in warnings] == ["ok"] * 3
    assert len(warnings) == bool(said)
    assert all(said in one.what and "black frame" in one.what and one.mend for one in warnings)


def test_a_bundle_that_is_damaged(make_settings, tmp_path):
    bundle = make_bundle(tmp_path / "bundle").path
    make_settings(bundle=bundle)
    (bundle / "golden/ok.png").write_bytes(b"other")

    found = [one for topic in examine(tmp_path / "station.toml", 120) for one in topic]

    (wrong,) = (one for one in found if one.level == "error")
    assert wrong.topic == "bundle"
    assert "golden/ok.png was changed or damaged" in wrong.what


def test_a_provider_that_can_not_be_had(make_settings, tmp_path):
    bundle = make_bundle(tmp_path / "bundle").path
    for more, level in (("", "error"), ("fallback = true", "warning")):
        make_settings(f'[runtime]\nprovider = "tensorrt:7"\n{more}', bundle=bundle)

        found = [one for topic in examine(tmp_path / "station.toml", 120) for one in topic]

        (said,) = (
            one
            for one in found
            if "runtime.provider = 'tensorrt:7'" in one.what and one.topic == "providers"
        )
        assert said.level == level


def test_the_command_without_a_station(capsys):
    code = run(["doctor", "--json"])

    found = json.loads(capsys.readouterr().out)
    assert code == (2 if any(one["level"] == "error" for one in found) else 0)
    assert {tuple(one) for one in found} == {("topic", "level", "what", "mend")}
    assert {one["topic"] for one in found} == {
        *("python", "devices", "providers", "inotify", "clock", "systemd"),
    }


def test_wrong_settings_are_one_finding_among_others(tmp_path, capsys):
    (tmp_path / "station.toml").write_text('bundel = "x"')

    assert run(["doctor", "--config", str(tmp_path / "station.toml")]) == 2

    said = capsys.readouterr()
    assert said.err == ""
    assert "bundel: unknown key" in said.out
    assert "\npython\n  ok       Python " in said.out
    assert "\x1b" not in said.out
    assert said.out.splitlines()[-1].startswith("1 error, ")


@pytest.mark.parametrize("colour", [True, False])
def test_how_it_is_shown(colour):
    findings = [FINE, Finding("fine", "error", "two\nlines \x1b[2J", "mend it")]

    said = show_topic(findings, colour=colour)

    if not colour:
        assert said.splitlines() == [
            "fine",
            "  ok       it is fine",
            "  error    two",
            "           lines \\x1b[2J",
            "           -> mend it",
        ]
    assert ("\x1b[32mok     \x1b[0m" in said) is colour
    assert "\x1b[2J" not in said
    assert show_sum([FINE], colour=False) == "no problems"
    assert show_sum(findings, colour=False) == "1 error, 0 warnings"
