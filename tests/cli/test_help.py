"""What the commands say of themselves, and of an option that is misspelled."""

from __future__ import annotations

import click
import pytest

from epgraph.cli import run
from epgraph.cli.application import COMMANDS


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.name))
def test_the_summary_of_a_command_is_not_cut(command: click.Command) -> None:
    assert not command.get_short_help_str(limit=65).endswith("...")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "net.yaml", "--schedule", "colouring"], "unknown name 'colouring'; did you mean 'coloring'?"),
        (["compare", "runs", "--metric", "test_eror"], "unknown name 'test_eror'; did you mean 'test_error'?"),
        (["train", "net.yaml", "--epochs", "zero"], "'zero' is not a valid integer ≥ 1"),
        (["train", "net.yaml", "--epochs", "0"], "0 is not in the range x>=1"),
        (["train", "net.yaml", "--workers", "65"], "65 is not in the range 0<=x<=64"),
    ],
)
def test_a_misspelled_value_of_an_option_has_a_hint(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["check", "expand", "render", "explore", "compile", "tune"])
def test_what_takes_a_run_in_place_of_a_network_says_so_in_one_sentence(name: str) -> None:
    (command,) = (command for command in COMMANDS if command.name == name)
    text = " ".join(command.get_help(click.Context(command)).split())
    assert "[OPTIONS] FILE " in text
    assert text.count(". FILE is a network file or a run folder. ") == 1


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.name))
def test_the_help_says_a_range_once(command: click.Command) -> None:
    assert "x>=" not in (text := command.get_help(click.Context(command)))
    assert "<=x" not in text
