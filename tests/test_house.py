"""The house: who may import whom, how long a file may be, and that every module says what it is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dynarium

PACKAGE = Path(dynarium.__file__).parent
ROOT = PACKAGE.parents[1]
MODULES = sorted(PACKAGE.rglob("*.py"))


def test_a_room_imports_only_rooms_below_it():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_one_idea_and_says_which(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 500
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_annotations_stay_checkable_at_run_time(path):
    assert "from __future__ import annotations" not in path.read_text(encoding="utf-8")
