"""Numbers that make no sense, behind every option of both programs: refused in one message."""

from __future__ import annotations

from pathlib import Path

import pytest

import edge_agent.cli
import trainer.cli
from edge_agent.types.target import ProviderError, parse_target
from tests.commands import leaves, minimal, number_of

HOPELESS = ("-1", "nan", "inf", "-inf", "1e400", "9" * 20, "9" * 5000)
ODD = ("", " ", "0x10", "1_0", "\u0663", "\u00bd", "1.5", "\x1b[31m", "0001-01-01", "[::1]:99999")
PROGRAMS = {"edge-agent": edge_agent.cli, "trainer": trainer.cli}


def options(numbers: bool):
    for program, module in PROGRAMS.items():
        for way, command in leaves(module._parser()):
            for action in command._actions:
                typed = action.option_strings and action.type not in (None, Path, str)
                if typed and (number_of(action) is not None) is numbers:
                    yield pytest.param(
                        program, way, action.option_strings[0],
                        id=" ".join((program, *way, action.option_strings[0])),
                    )  # fmt: skip


def said(capsys, program, way, option, value) -> tuple[int, str]:
    module = PROGRAMS[program]
    command = dict(leaves(module._parser()))[way]
    line = [*way, *minimal(command), f"{option}={value}"]
    try:
        if program == "trainer":  # what its parser lets through, the settings refuse
            code = module.run(line)
        else:
            module._parser().parse_args(line)
            code = 0
    except SystemExit as end:
        code = end.code
    except ModuleNotFoundError as missing:  # it was let through, and the work needs torch
        if missing.name != "torch":
            raise
        code = 0
    return code, capsys.readouterr().err


@pytest.mark.parametrize(("program", "way", "option"), [*options(numbers=True)])
def test_numbers_that_can_not_be_are_refused(program, way, option, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for value in HOPELESS:
        code, text = said(capsys, program, way, option, value)

        assert code == 2, (value, text)
        assert option in text, value
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("program", "way", "option"), [*options(numbers=True), *options(numbers=False)]
)
def test_odd_values_are_taken_or_refused(program, way, option, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for value in ODD:
        code, text = said(capsys, program, way, option, value)

        assert code in (0, 2), value
        assert all(c == "\n" or c.isprintable() for c in text), value


def mistyped(word: str) -> str:
    """Two letters of it exchanged, such that it is another word."""
    places = [n for n in range(2, len(word) - 1) if word[n] != word[n + 1]]
    n = places[0]
    return word[:n] + word[n + 1] + word[n] + word[n + 2 :]


def refused(capsys, module, line) -> str:
    with pytest.raises(SystemExit) as caught:
        module._parser().parse_args(line)
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_mistyped_command_or_option_is_told_with_what_was_meant(program, capsys):
    module = PROGRAMS[program]
    for way, command in leaves(module._parser()):
        if len(way[-1]) > 3:
            line = [*way[:-1], mistyped(way[-1])]
            assert f"; did you mean {way[-1]}?" in refused(capsys, module, line), line
        for option in command._option_string_actions:
            if len(option) < 6:
                continue
            line = [*way, *minimal(command), mistyped(option)]
            assert f"there is no option {line[-1]}; did you mean --" in refused(
                capsys, module, line
            )


@pytest.mark.parametrize(
    "line",
    [
        ["journal", "tail", "--conf", "x", "-n5"],  # what argparse takes is not mistyped
        ["classify", "--bundle=x", "--", "--bunlde"],
        ["demo", "--pace=1"],
    ],
)
def test_what_is_short_or_behind_two_dashes_is_taken(line):
    edge_agent.cli._parser().parse_args(line)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("GPU", "openvino:GPU"),
        ("npu", "openvino:NPU"),
        ("Opnvino", "openvino:CPU"),
        ("CUDAExecutionProvider", "cuda"),
        ("tensort", "tensorrt"),
        ("aut", "auto"),
    ],
)
def test_a_mistyped_provider(name, meant):
    with pytest.raises(ProviderError, match=rf"; did you mean {meant}\?$"):
        parse_target(name)
