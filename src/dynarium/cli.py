"""The command: find the sub-command, parse its arguments, call it. ``--help`` imports nothing heavy."""

import importlib
import os
import signal
import sys
from collections.abc import Sequence

from dynarium._version import __version__
from dynarium.errors import RunError, UserError, nearest

COMMANDS = {
    "data list": ("dynarium.commands.data:list_worlds", "the worlds that can be made"),
    "data make": ("dynarium.commands.data:make", "make a dataset of a world"),
    "data info": ("dynarium.commands.data:info", "fields, shapes, statistics, how it was made"),
    "data show": ("dynarium.commands.data:show", "a contact sheet and an animation"),
    "data verify": ("dynarium.commands.data:verify", "find truncated shards, wrong hashes, NaNs"),
    "data import": ("dynarium.commands.data:import_", "turn a foreign file into a dataset"),
    "data export": ("dynarium.commands.data:export", "write a dataset in another layout"),
    "train": ("dynarium.commands.train:train", "train a recipe or a model, or resume a run"),
    "import": ("dynarium.commands.imports:import_", "turn a checkpoint of the original SVG into a run"),
    "evaluate": ("dynarium.commands.evaluate:evaluate", "ask a trained model questions"),
    "reproduce": ("dynarium.commands.reproduce:reproduce", "run a paper's experiment, its numbers beside ours"),
    "report": ("dynarium.commands.report:report", "one self-contained HTML page of a run"),
}
"""Sub-command -> (lazy target, summary). A target is called with the arguments that follow and returns nothing."""


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  dynarium {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            f"dynarium {__version__}: learn dynamics from what can be observed.",
            "",
            "Make a world, watch it, train a model of it, and ask every model the same questions.",
            "",
            *lines,
            "",
            "Each command answers --help.",
        ]
    )


def _split(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Split off the one- or two-word command name."""
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in COMMANDS:
            return name, list(arguments[words:])
    family = [name for name in COMMANDS if name.split()[0] == arguments[0]]
    if family and (len(arguments) == 1 or arguments[1] in ("-h", "--help")):
        print("\n".join(f"dynarium {name}  {COMMANDS[name][1]}" for name in family))
        raise SystemExit(0 if len(arguments) > 1 else 2)
    seen = " ".join(arguments[: 2 if family else 1])
    raise UserError(f"unknown command {seen!r}{nearest(seen, list(COMMANDS))}; known: {', '.join(COMMANDS)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    if arguments is None:  # the real command: end on SIGTERM as on Ctrl-C, so that no worker is left behind
        arguments = sys.argv[1:]
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if arguments[0] in ("--version", "-V"):
        print(__version__)
        return 0
    try:
        name, rest = _split(arguments)
        module, _, attribute = COMMANDS[name][0].partition(":")
        function = getattr(importlib.import_module(module), attribute)
        status = int(function(rest, prog=f"dynarium {name}") or 0)
        sys.stdout.flush()  # so that a reader who left is noticed here, not by the interpreter at its exit
        return status
    except UserError as error:
        print(f"dynarium: error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"dynarium: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe has left, e.g. ``| head``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a forbidden folder: the system's own word, without a traceback
        print(f"dynarium: error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dynarium: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
