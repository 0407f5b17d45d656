"""The command line: what it prints, how it refuses, and that help costs nothing."""

import json
import subprocess
import sys

import pytest

import dynarium
from dynarium import cli
from dynarium.errors import UserError

HEAVY = ("torch", "numpy", "scipy", "matplotlib", "accelerate")

PROBE = f"""
import json, sys
from dynarium.cli import main
try:
    status = main(sys.argv[1:])
except SystemExit as stop:
    status = stop.code
heavy = [name for name in {HEAVY!r} if name in sys.modules]
print(json.dumps({{"status": status or 0, "heavy": heavy}}), file=sys.stderr)
"""


def run_fresh(*arguments):
    """Run the command in a fresh interpreter; return its exit status, its output and the heavy modules it imported."""
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, timeout=60)
    answer = json.loads(done.stderr.splitlines()[-1])
    return answer["status"], done.stdout, answer["heavy"]


@pytest.mark.parametrize("name", ["", "data", *cli.COMMANDS])
def test_help_prints_without_importing_anything_heavy(name):
    status, printed, heavy = run_fresh(*name.split(), "--help")
    assert (status, heavy) == (0, [])
    assert "dynarium" in printed


def test_usage_lists_every_command(capsys):
    assert cli.main([]) == 0
    printed = capsys.readouterr().out
    assert all(f"dynarium {name} " in printed for name in cli.COMMANDS)


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == dynarium.__version__


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], "unknown command 'trian' (did you mean 'train'?)"),
        (["data", "mkae"], "unknown command 'data mkae' (did you mean 'data make'?)"),
        (["reprot", "runs/x"], "unknown command 'reprot' (did you mean 'report'?)"),
    ],
)
def test_an_unknown_command_is_refused_in_one_line(arguments, expected, capsys):
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"dynarium: error: {expected}")
    assert printed.err.count("\n") == 1


REQUIRED = {
    "data list": "",
    "data make": "bouncing-ball",
    "data info": "somewhere",
    "data show": "somewhere",
    "data verify": "somewhere",
    "data import": "some.npz --out elsewhere",
    "data export": "somewhere --out elsewhere",
    "import": "model.pth",
    "evaluate": "runs/some",
    "report": "runs/some",
}


@pytest.mark.parametrize(("name", "arguments"), REQUIRED.items())
def test_an_unknown_option_is_refused_in_one_line(name, arguments, capsys):
    assert cli.main([*name.split(), *arguments.split(), "--no-such-option"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("dynarium: error: --no-such-option: unknown option")
    assert printed.count("\n") == 1


@pytest.mark.parametrize("name", ["train", "reproduce"])
def test_an_unknown_option_of_a_recipe_names_the_nearest(name, capsys):
    assert cli.main([name, "kvae-fraccaro2017", "--training.stepz", "3"]) == 2
    expected = "dynarium: error: --training.stepz: unknown option (did you mean '--training.steps'?)\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("name", [*(name for name, arguments in REQUIRED.items() if arguments), "train", "reproduce"])
def test_a_missing_argument_is_refused_in_one_line(name, capsys):
    assert cli.main(name.split()) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("dynarium: error: ")
    assert printed.count("\n") == 1


def test_a_family_without_a_command_lists_its_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["data"])
    assert stop.value.code == 2
    assert "dynarium data make" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("raised", "status", "line"),
    [
        (UserError("--x: bad"), 2, "dynarium: error: --x: bad\n"),
        (OSError(28, "No space left on device", "runs/a"), 1, "dynarium: error: No space left on device: runs/a\n"),
        (KeyboardInterrupt(), 130, "dynarium: interrupted\n"),
    ],
)
def test_failures_become_a_status_and_a_line(raised, status, line, monkeypatch, capsys):
    def fail(arguments, prog):
        raise raised

    monkeypatch.setattr(cli, "_fail_for_the_test", fail, raising=False)
    monkeypatch.setitem(cli.COMMANDS, "train", ("dynarium.cli:_fail_for_the_test", ""))
    assert cli.main(["train"]) == status
    assert capsys.readouterr().err == line


def test_a_reader_who_leaves_gets_no_traceback():
    code = """
import sys
from dynarium import cli
cli.shout = lambda arguments, prog: [print("x" * 100) for _ in range(10_000)] and None
cli.COMMANDS["train"] = ("dynarium.cli:shout", "")
sys.exit(cli.main(["train"]))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 1


def test_python_dash_m():
    done = subprocess.run([sys.executable, "-m", "dynarium", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, dynarium.__version__)
