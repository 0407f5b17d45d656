"""Reading a run directory: what is there is read, what is missing or broken is said, nothing is demanded but a run."""

import json
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dynarium.errors import UserError

FILES = ("config.yaml", "metrics.jsonl", "environment.json", "results")
"""A directory that has none of these is no run."""


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """What ``results/<task>.json`` says, and where its examples lie."""

    task: str
    about: dict[str, Any]
    rows: list[dict[str, Any]]
    arrays: Path

    @cached_property
    def examples(self) -> dict[str, np.ndarray]:
        """The example arrays by name; empty where the file is missing or cannot be read."""
        try:
            with np.load(self.arrays, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return {}

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the examples ``<prefix>/<name>`` by name."""
        return {k.removeprefix(f"{prefix}/"): v for k, v in self.examples.items() if k.startswith(f"{prefix}/")}


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run directory as read; ``missing`` says in words what was not there or could not be read."""

    directory: Path
    config: dict[str, Any] = field(default_factory=dict)
    config_text: str = ""
    metrics: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    tasks: list[TaskRecord] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the recipe, or else of the directory."""
        return str(self.config.get("name") or self.directory.resolve().name)

    @property
    def seed(self) -> Any:
        """Seed of the training."""
        training = self.config.get("training")
        return training.get("seed") if isinstance(training, dict) else None

    def series(self, scalar: str, split: str) -> tuple[list[float], list[float]]:
        """Return the steps and values of a logged scalar in one split."""
        lines = [m for m in self.metrics if m.get("split", "train") == split and _is_number(m.get(scalar))]
        lines = [m for m in lines if _is_number(m.get("step"))]
        return [float(m["step"]) for m in lines], [float(m[scalar]) for m in lines]

    @property
    def scalars(self) -> list[str]:
        """Names of the logged scalars, in order of appearance."""
        names = (name for line in self.metrics for name, value in line.items() if _is_number(value))
        return [n for n in dict.fromkeys(names) if n not in ("step", "epoch", "seconds", "split")]


def read_run(directory: Path) -> RunRecord:
    """Read a run directory.

    Raises:
        UserError: The directory does not exist or is no run.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"run: expected a run directory, got {str(directory)!r}, which is no directory")
    if not any((directory / name).exists() for name in FILES):
        raise UserError(
            f"run: expected a run directory (with config.yaml), got {str(directory)!r}, which has no {FILES[0]}"
        )
    missing: list[str] = []
    config_text = _text(directory / "config.yaml", missing)
    try:
        config = yaml.safe_load(config_text) if config_text else {}
    except yaml.YAMLError:
        config = {}
        missing.append("config.yaml cannot be read as YAML")
    environment = _json(directory / "environment.json", missing)
    return RunRecord(
        directory=directory,
        config=config if isinstance(config, dict) else {},
        config_text=config_text,
        metrics=_lines(_text(directory / "metrics.jsonl", missing)),
        environment=environment if isinstance(environment, dict) else {},
        tasks=_tasks(directory / "results", missing),
        missing=missing,
    )


def _tasks(directory: Path, missing: list[str]) -> list[TaskRecord]:
    tasks = []
    for file in sorted(directory.glob("*.json"), key=lambda f: (f.stem != "impute", f.stem)):
        content = _json(file, missing)
        if not isinstance(content, dict):
            continue
        rows = [row for row in content.get("rows") or [] if isinstance(row, dict)]
        about = {k: v for k, v in content.items() if k != "rows"}
        name = str(content.get("task") or file.stem)
        tasks.append(TaskRecord(task=name, about=about, rows=rows, arrays=file.with_suffix(".npz")))
    if not tasks:
        missing.append("no results (dynarium evaluate makes them)")
    return tasks


def _text(path: Path, missing: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        missing.append(f"no {path.name}")
        return ""


def _json(path: Path, missing: list[str]) -> Any:
    text = _text(path, missing)
    try:
        return json.loads(text) if text else None
    except json.JSONDecodeError:
        missing.append(f"{path.name} cannot be read as JSON")
        return None


def _lines(text: str) -> list[dict[str, Any]]:
    """Read one object a line; a line cut short by a kill is left out."""
    found = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
