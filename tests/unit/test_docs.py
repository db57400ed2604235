"""Command lines, settings and links in the documentation, without running anything."""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

import pytest

import edge_agent.cli
import trainer.cli
from edge_agent.settings import load_settings
from tests.docs import REPO, Block, blocks, pages, prose

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PARSERS = {"edge-agent": edge_agent.cli._parser(), "trainer": trainer.cli._parser()}
ALL = [block for page in pages() for block in blocks(page)]


def commands(block: Block) -> Iterator[list[str]]:
    """The command lines of ours in a block, as a shell would pass them."""
    for line in block.text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # part of something longer
            continue
        if words[:1] == ["sudo"]:
            words = words[3:] if words[1] == "-u" else words[1:]
        if words[:1] == ["torchrun"]:
            words = words[words.index("-m") + 1 :]
        if words and words[0].rpartition("/")[2] in PARSERS:
            ends = [words.index(mark) for mark in ("|", ">", "&&") if mark in words]
            words = words[: min(ends, default=len(words))]
            yield [words[0].rpartition("/")[2], *words[1:]]


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the program's own parser has against a command line."""
    try:
        PARSERS[words[0]].parse_args(words[1:])
    except SystemExit as end:  # with 0 after --help and --version
        return capsys.readouterr().err.splitlines()[-1] if end.code else ""
    return ""


def test_every_command_in_a_block_is_one(capsys):
    found = [(block, words) for block in ALL for words in commands(block)]
    wrong = [f"{block}: {why}" for block, words in found if (why := refusal(words, capsys))]

    assert wrong == []
    assert len(found) >= 20


def test_every_command_in_a_sentence_is_one(capsys):
    wrong, count = [], 0
    for page in pages():
        for span in re.findall(r"`([^`]+)`", prose(page.read_text())):
            words = span.split()
            if len(words) < 2 or words[0] not in PARSERS or words[1].startswith("@"):
                continue  # edge-agent@.service
            words = shlex.split(span)
            count += 1
            why = refusal(words, capsys)
            if why and not re.search("arguments are required|is required$", why):
                wrong.append(f"{page.name}: {span}: {why}")

    assert wrong == []
    assert count >= 20


def test_every_setting_is_one(tmp_path):
    """Each block is put into the example, as whoever reads it does, and that is loaded."""
    example = tomllib.loads((REPO / "deploy/examples/station.toml").read_text())
    example["mqtt"] = {"host": "127.0.0.1"}
    found = [b for b in ALL if b.language == "toml"]
    for block in found:
        whole = merged(example, tomllib.loads(block.text))
        file = tmp_path / "station.toml"
        file.write_text("\n".join(as_toml(whole)))
        try:
            load_settings(file)
        except Exception as error:
            raise AssertionError(f"{block}: {error}") from error
    assert len(found) >= 4


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {**one, **other}
    for key in one.keys() & other.keys():
        if isinstance(one[key], dict):
            both[key] = merged(one[key], other[key])
    return both


def as_toml(table: dict[str, Any], name: str = "") -> Iterator[str]:
    """Enough of TOML for settings: what is plain first, then the sections."""
    if name:
        yield f"[{name}]"
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"{key} = {plain(value)}"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from as_toml(value, f"{name}.{key}" if name else key)


def plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(plain, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(REPO).as_posix())
def test_every_link_leads_somewhere(page):
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or not there.is_relative_to(REPO):
            wrong.append(target)
        elif anchor and anchor not in anchors(there):
            wrong.append(f"{target}: no such heading")
    assert wrong == []


def anchors(page: Path) -> set[str]:
    """What headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", prose(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
