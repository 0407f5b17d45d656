"""Parsing of a command's arguments."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
import tyro

from dynarium.commands.parse import parse
from dynarium.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Do something."""

    name: Annotated[str | None, tyro.conf.Positional] = None
    """What to do it with."""
    seeds: tuple[int, ...] = (0,)
    """Seeds."""
    then: Literal["stop", "go"] = "stop"
    """What next."""
    dry_run: bool = False
    """Only say what would be done."""


@dataclass(frozen=True, kw_only=True)
class Needy:
    """Do something with a name."""

    name: Annotated[str, tyro.conf.Positional]
    """What to do it with."""


def test_known_arguments():
    options = parse(Options, ["x", "--seeds", "1", "2", "--dry-run"], "p")
    assert options == Options(name="x", seeds=(1, 2), dry_run=True)
    assert parse(Options, ["--dry_run", "--seeds=3"], "p") == Options(seeds=(3,), dry_run=True)
    assert parse(Options, [], "p") == Options()


def test_unknown_options_are_handed_back_with_their_words():
    words = ["x", "--a.b", "1", "2", "--seeds", "3", "--c=4", "--d", "-1e-3", "--then", "go"]
    options, unknown = parse(Options, words, "p", allow_unknown=True)
    assert options == Options(name="x", seeds=(3,), then="go")
    assert unknown == ["--a.b", "1", "2", "--c=4", "--d", "-1e-3"]


def test_the_value_of_an_unknown_option_is_no_positional():
    options, unknown = parse(Options, ["--a.b", "1", "--dry-run"], "p", allow_unknown=True)
    assert options == Options(dry_run=True)
    assert unknown == ["--a.b", "1"]


@pytest.mark.parametrize(
    ("options", "words", "part"),
    [
        (Options, ["--seed", "1"], "--seed: unknown option (did you mean '--seeds'?)"),
        (Options, ["--seeds", "x"], "--seeds"),
        (Options, ["--then", "sleep"], "'sleep'"),
        (Options, ["--then"], "--then"),
        (Options, ["x", "stray"], "stray"),
        (Options, ["-q"], "-q"),
        (Needy, [], "missing NAME: What to do it with."),
    ],
)
def test_a_mistake_is_one_line_that_names_the_argument(options, words, part, capsys):
    with pytest.raises(UserError) as caught:
        parse(options, words, "p")
    message = str(caught.value)
    assert part in message
    assert not set("\n│╭╰─") & set(message)
    assert "--help" not in message and "---" not in message
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("allow_unknown", [False, True])
def test_help_prints_and_exits_with_0(allow_unknown, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(Options, ["--help"], "dynarium something", allow_unknown)
    assert not stop.value.code
    assert "dynarium something" in (printed := capsys.readouterr().out) and "--dry-run" in printed
