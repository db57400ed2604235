"""``station.toml``: everything wrong is named in one message, everything there is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from edge_agent.settings import Settings, SettingsError, load_settings

EXAMPLE = Path(__file__).parents[3] / "deploy/examples/station.toml"
LEAST = 'bundle = "b"\n[source.folder]\npath = "inbox"\n[storage]\nroot = "state"\n'
EXAMPLES_OF_WHAT_HAS_NO_DEFAULT = {
    "mqtt.host", "mqtt.client_id", "mqtt.username", "mqtt.password_file", "mqtt.tls",
    "mqtt.ca_file", "mqtt.cert_file", "mqtt.key_file", "bundle", "source.folder.path",
    "storage.root", "decision.bundle", "decision.threshold", "decision.review", "trust.keys",
    "retention.ok_days", "retention.defect_days", "retention.max_images",
    "retention.min_free_mb", "retention.journal_days",
    "source.mqtt.topic", "source.mqtt.folder", "source.mqtt.client_id",
}  # fmt: skip


def load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "station.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    return str(caught.value)


# -- what is right -----------------------------------------------------------------------------


def test_the_least_that_a_station_needs(tmp_path):
    settings = load(tmp_path, LEAST)

    assert settings.storage.work_dir == tmp_path / "state/work"
    assert settings.storage.processed_dir == tmp_path / "state/processed"
    assert settings.storage.quarantine_dir == tmp_path / "state/quarantine"
    assert settings.mqtt is None
    assert settings.http is None


def test_relative_paths_are_relative_to_the_file_wherever_the_agent_runs(tmp_path, monkeypatch):
    monkeypatch.chdir("/")

    settings = load(tmp_path, LEAST.replace('"b"', '"models/../b"') + 'work = "/elsewhere/w"\n')

    assert settings.bundle == tmp_path / "models/../b"
    assert settings.source.folder.path == tmp_path / "inbox"
    assert settings.storage.work_dir == Path("/elsewhere/w")


def test_relative_paths_of_an_optional_section_too(tmp_path):
    text = LEAST + '[mqtt]\nhost = "h"\nusername = "u"\npassword_file = "secret"\n'

    settings = load(tmp_path, text)

    assert settings.mqtt is not None
    assert settings.mqtt.password_file == tmp_path / "secret"


def test_a_credential_is_where_systemd_says(tmp_path, monkeypatch):
    text = (
        LEAST + '[mqtt]\nhost = "h"\nusername = "u"\npassword_file = "credential:mqtt-password"\n'
    )
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/somewhere")

    assert load(tmp_path, text).mqtt.password_file == Path("/run/somewhere/mqtt-password")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")  # a command that is run beside the service
    assert load(tmp_path, text).mqtt.password_file == Path(
        "/run/credentials/edge-agent.service/mqtt-password"
    )
    (tmp_path / "station.toml").rename(tmp_path / "left.toml")  # one of several, with its own unit
    assert load_settings(tmp_path / "left.toml").mqtt.password_file == Path(
        "/run/credentials/edge-agent@left.service/mqtt-password"
    )


@pytest.mark.parametrize("name", ["", "..", "../shadow", "a/b", "/etc/shadow"])
def test_a_credential_is_a_name_and_no_path(tmp_path, name):
    text = LEAST + f'[mqtt]\nhost = "h"\nusername = "u"\npassword_file = "credential:{name}"\n'

    assert "mqtt.password_file: is not a path on this machine" in refusal(tmp_path, text)


def test_a_home_directory_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")

    assert load(tmp_path, LEAST.replace('"b"', '"~/b"')).bundle == Path("/home/somebody/b")


def test_a_file_saved_by_windows(tmp_path):
    file = tmp_path / "station.toml"
    file.write_bytes(b"\xef\xbb\xbf" + LEAST.replace("\n", "\r\n").encode())

    assert load_settings(file).storage.root == tmp_path / "state"


def test_patterns_match_in_any_case(tmp_path):
    settings = load(tmp_path, LEAST.replace('"inbox"', '"inbox"\npatterns = ["*.PNG", "Cam?"]'))

    assert settings.source.folder.patterns == ("*.png", "cam?")


# -- what is wrong -----------------------------------------------------------------------------


def test_no_file(tmp_path):
    with pytest.raises(SettingsError, match=r"does not exist: copy deploy/examples/station.toml"):
        load_settings(tmp_path / "none.toml")


def test_a_directory(tmp_path):
    with pytest.raises(SettingsError, match="can't be read: Is a directory"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    "content", [b"bundle = ", b"a = 1\na = 2", b"\xff\xfe", b"a=" + b"[" * 9999]
)
def test_not_toml(tmp_path, content):
    file = tmp_path / "station.toml"
    file.write_bytes(content)

    with pytest.raises(SettingsError, match="is not TOML"):
        load_settings(file)


def test_everything_wrong_is_told_at_once(tmp_path):
    said = refusal(
        tmp_path,
        'bundel = "x"\n[source.folder]\npath = "inbox"\nsettle = -1\n[runtime]\nthreads = "many"\n'
        "[mqtt]\nport = 70000\n",
    )

    assert said.splitlines() == [
        f"{tmp_path}/station.toml can't be used:",
        "  bundle: is missing",
        "  source.folder.settle: Input should be greater than or equal to 0 (it is -1)",
        "  storage: is missing",
        "  runtime.threads: Input should be a valid integer (it is 'many')",
        "  mqtt.host: is missing",
        "  mqtt.port: Input should be less than or equal to 65535 (it is 70000)",
        ("  bundel: unknown key; did you mean bundle? deploy/examples/station.toml lists them all"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[source.folder]\nsettel = 1", "source.folder.settel: unknown key; did you mean settle? "),
        ("[mqtt]\nSettle = 1", "mqtt.Settle: unknown key; deploy/"),
        ("[mqtt]\nsettle = 1", "mqtt.settle: unknown key; did you mean source.folder.settle? "),
        ("[soruce]", "soruce: unknown key; did you mean source? "),
        ("[folder]", "folder: unknown key; did you mean source.folder or source.mqtt.folder? "),
        (
            "[worker]\nxyzzy = 1",
            "worker.xyzzy: unknown key; deploy/examples/station.toml lists them all",
        ),
        ("[runtime]\nprovider = 'opnvino:GPU'", "tensorrt; did you mean openvino:GPU? (it is"),
    ],
)
def test_what_a_mistyped_key_may_mean_is_said(tmp_path, text, said):
    assert f"{said}" in refusal(tmp_path, text)


SECTIONS = [
    "station",
    "source",
    "source.folder",
    "source.mqtt",
    "storage",
    "worker",
    "mqtt",
    "http",
    "log",
]


@pytest.mark.parametrize("section", SECTIONS)
def test_an_unknown_key_in_any_section(tmp_path, section):
    text = LEAST if f"[{section}]" in LEAST else f"{LEAST}[{section}]\n"
    text = text.replace(f"[{section}]\n", f"[{section}]\ntypo = 1\n")
    if section == "source":
        text = LEAST.replace("[source.folder]", "[source]\ntypo = 1\n[source.folder]")

    assert f"  {section}.typo: unknown key" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[runtime]\nthreads = true", "runtime.threads: Input should be a valid integer"),
        ('[worker]\nframe_timeout = "5"', "worker.frame_timeout: Input should be a valid number"),
        ("[worker]\nframe_timeout = 0", "worker.frame_timeout: Input should be greater than 0"),
        ("[worker]\nframe_timeout = nan", "worker.frame_timeout: Input should be a finite number"),
        ("[worker]\nstart_timeout = inf", "worker.start_timeout: Input should be a finite number"),
        ('[worker]\nformats = "PNG"', "worker.formats: Input should be a valid array"),
        ('[worker]\nformats = ["GIF"]', "worker.formats.0: Input should be 'PNG', 'JPEG'"),
        ("[worker]\nformats = []", "worker.formats: "),
        ("[worker]\nmemory_mb = 1", "worker.memory_mb: Input should be greater than or"),
        ("[runtime]\nthreads = 2026-01-01", "runtime.threads: Input should be a valid integer"),
        ('[station]\nname = "a/b"', "station.name: must be 1 to 64 printable characters, without"),
        ('[station]\nline = ""', "station.line: must be 1 to 64 printable characters"),
        ('[station]\nsite = "#"', "station.site: must be 1 to 64 printable characters"),
        ('[station]\nsite = "a\\nb"', "station.site: must be 1 to 64 printable characters"),
        ("[http]\nport = 0", "http.port: Input should be greater than or equal to 1"),
        ('[log]\nlevel = "loud"', "log.level: Input should be 'debug', 'info',"),
        ('[mqtt]\nhost = ""', "mqtt.host: "),
        ('[mqtt]\nhost = "h"\nroot = "a//b"', "mqtt.root: topic levels must not be empty"),
        ('[mqtt]\nhost = "h"\nroot = "a/+"', "mqtt.root: topic levels must not"),
        ('[mqtt]\nhost = "h"\nroot = "$SYS"', "topics that begin with $ are the broker's"),
        ('[mqtt]\nhost = "h"\nca_file = "x"', "certificate files are given, but tls = false"),
        ('[mqtt]\nhost = "h"\ntls = true\nkey_file = "x"', "cert_file and key_file go together"),
        ('[mqtt]\nhost = "h"\npassword_file = "x"', "password_file is given without username"),
        ('[source.mqtt]\ntopic = "a"', "[source.mqtt] needs [mqtt]"),
        ('[source.mqtt]\ntopic = "a"\nclient_id = "c"\n[mqtt]\nhost = "h"\nclient_id = "c"',
         "source.mqtt.client_id and mqtt.client_id are the same"),
        ('[source.mqtt]\ntopic = "inspection/+/+/+/{id}"\n[mqtt]\nhost = "h"',
         "includes inspection/site/line/station/status, this station's own"),
        ('[source.mqtt]\ntopic = "$share/g/#"\n[mqtt]\nhost = "h"', "this station's own"),
        ('[source.mqtt]\ntopic = "a/b+"', "source.mqtt.topic: + and # stand for whole levels"),
        ('[source.mqtt]\ntopic = "a/{part}"', "source.mqtt.topic: {part}: a level may be called"),
        ("[source.mqtt]\nmax_bytes = 1", "source.mqtt.topic: is missing"),
        ('[source.mqtt]\ntopic = "a"\nreceive_maximum = 0', "source.mqtt.receive_maximum: "),
        ('[decision]\nbundle = "3f2a"', "decision.bundle: must be the start of a bundle's digest"),
        ('[decision]\nbundle = "brackets 1.0.0"', "as `edge-agent bundle show` prints it"),
        ("[source]\nexpect_every = -1", "source.expect_every: "),
        ('work = "w"\nprocessed = "w"', "storage.processed and storage.work are both"),
        ('work = "inbox"', "storage.work and source.folder.path are both"),
        ('quarantine = "processed"\nprocessed = "./processed"', "and storage.processed are both"),
        ('quarantine = "state/work/bad"', "storage.quarantine lies inside storage.work"),
        ('work = "."', "lies inside storage.work"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_place(tmp_path, more, said):
    text = LEAST + more + "\n"

    assert said in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"inbox"', '"state"'), "storage.root and source.folder.path are both"),
        (('"inbox"', '"inbox"\nafter = "delete"'), "source.folder.after: Input should be"),
        (('"inbox"', '"inbox"\npatterns = []'), "patterns: no pattern means no image"),
        (('"inbox"', '"inbox"\nscan_every = 0'), "source.folder.scan_every: "),
        (('"inbox"', '"inbox"\ndepth = 9'), "source.folder.depth: Input should be less than"),
        (('"inbox"', '"."\ndepth = 1'), "storage.root lies inside source.folder.path"),
        (('"b"', '""'), "bundle: is not a path on this machine (it is '')"),
        (('"state"', '""'), "storage.root: is not a path on this machine"),
        (('"b"', '"~nobody-of-that-name/b"'), "bundle: is not a path on this machine"),
        (('"b"', '"a\\u0000b"'), "bundle: is not a path on this machine"),
        (('"b"', "7"), "bundle: Input should be a valid string (it is 7)"),
        (("bundle", 'mqtt = "broker"\nbundle'), "mqtt: is a section of its own: write [mqtt]"),
    ],
)  # fmt: skip
def test_a_wrong_value_of_what_must_be_given(tmp_path, change, said):
    assert said in refusal(tmp_path, LEAST.replace(*change))


@pytest.mark.parametrize(
    "line",
    [
        'host = "mqtt://u:hunter2@broker"',
        'host = "u:hunter2@broker"',
        'host = "h"\npassword = "hunter2"',
        'host = "h"\nusername = ["hunter2"]',
        'host = "h"\nusername = "u"\npassword_file = ["hunter2"]',
        'host = "h"\ntls = true\ncert_file = "x"\nkey_file = "\\u0000hunter2"',
        'host = "h"\nusername = "hunter2" "u"',
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path, line):
    said = refusal(tmp_path, LEAST + f"[mqtt]\n{line}\n")

    assert "hunter2" not in said
    assert "mqtt." in said or "is not TOML" in said


def test_a_section_that_is_a_secret_is_not_repeated(tmp_path):
    assert "hunter2" not in refusal(tmp_path, 'mqtt = "mqtt://u:hunter2@broker"\n' + LEAST)


@pytest.mark.parametrize(
    "host", ["broker", "broker.plant.example", "10.0.0.7", "::1", "fe80::1%eth0"]
)
def test_a_broker_by_name_or_address(tmp_path, host):
    assert load(tmp_path, LEAST + f'[mqtt]\nhost = "{host}"\n').mqtt.host == host


def test_a_station_without_a_source_is_told_which_there_are(tmp_path):
    text = LEAST.replace('[source.folder]\npath = "inbox"', "[source]")

    assert "source: no source of images: add [source.folder], [source.mqtt]" in (
        refusal(tmp_path, text)
    )


def test_a_topic_alone_is_a_source(tmp_path):
    text = LEAST.replace('[source.folder]\npath = "inbox"', '[source.mqtt]\ntopic = "c/{id}"')
    settings = load(tmp_path, text + '[mqtt]\nhost = "h"\n')

    assert settings.source.folder is None
    assert settings.source.mqtt.topic == "c/{id}"


def test_directories_are_compared_behind_their_links(tmp_path):
    (tmp_path / "inbox").mkdir()
    (tmp_path / "other").symlink_to("inbox")

    said = refusal(tmp_path, LEAST + 'processed = "other"\n')

    assert "storage.processed and source.folder.path are both" in said


# -- the documentation -------------------------------------------------------------------------


def settings_of(model: type[BaseModel], prefix: str = "") -> dict[str, object]:
    """Every setting there is, by its dotted name, with its default."""
    found: dict[str, object] = {}
    for name, field in model.model_fields.items():
        kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
        section = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if section:
            found |= settings_of(section, f"{prefix}{name}.")
        else:
            found[prefix + name] = field.get_default()
    return found


def value_of(settings: BaseModel, name: str) -> object:
    found: object = settings
    for part in name.split("."):
        found = getattr(found, part)
    return found


def uncommented() -> str:
    return re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", EXAMPLE.read_text())


@pytest.fixture
def everything(tmp_path: Path) -> Settings:
    return load(tmp_path, uncommented())


def test_the_example_as_it_is_can_be_used(tmp_path):
    settings = load(tmp_path, EXAMPLE.read_text())

    assert settings == load(tmp_path, LEAST.replace('"b"', '"bundle"'))


def test_the_example_names_every_setting(tmp_path):
    documented = set()
    section = ""
    for line in uncommented().splitlines():
        if found := re.match(r"\[([a-z.]+)\]", line):
            section = found[1] + "."
        elif found := re.match(r"([a-z_]+) = ", line):
            documented.add(section + found[1])

    assert documented == set(settings_of(Settings))


def test_what_the_example_shows_is_the_default(everything):
    expected = settings_of(Settings) | {
        "storage.work": everything.storage.root / "work",
        "storage.processed": everything.storage.root / "processed",
        "storage.quarantine": everything.storage.root / "quarantine",
        "mqtt.port": 1883,
    }
    for name in set(expected) - EXAMPLES_OF_WHAT_HAS_NO_DEFAULT:
        assert value_of(everything, name) == expected[name], name


def test_every_setting_is_explained(tmp_path):
    """Above each setting, or above the one before, stands a sentence."""
    lines = EXAMPLE.read_text().splitlines()
    for place, line in enumerate(lines):
        if re.match(r"#? ?\[?[a-z_.]+(\]| = )", line) and not line.lstrip("# ").startswith("["):
            block = lines[max(0, place - 4) : place]
            words = [b for b in block if b.startswith("# ") and len(b.split()) > 4]
            assert words or "  #" in line, line


def test_what_lies_in_the_inbox_is_in_nobodys_way_while_folders_are_not_entered(tmp_path):
    assert load(tmp_path, LEAST.replace('"inbox"', '"."')).source.folder.depth == 0
