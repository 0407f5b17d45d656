"""The directory of a run: everything that a training leaves behind, and who may read it."""

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynarium._version import __version__
from dynarium.errors import UserError
from dynarium.types import Result


class RunDirectory:
    """The files of a run: ``config.yaml``, ``metrics.jsonl``, ``checkpoints/``, ``environment.json``, ``results/``..."""

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self.metrics = self.directory / "metrics.jsonl"
        self.checkpoints = self.directory / "checkpoints"
        self.results = self.directory / "results"

    @classmethod
    def create(cls, runs: Path, name: str) -> "RunDirectory":
        """Create ``runs/<time>-<name>``; a number is added where that exists already."""
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
        for suffix in ("", *(f"-{i}" for i in range(2, 1000))):
            directory = Path(runs) / f"{stem}{suffix}"
            try:
                directory.mkdir(parents=True)
            except FileExistsError:
                continue
            return cls(directory)
        raise UserError(f"{runs}/{stem}: exists already")

    def append(self, record: dict[str, Any]) -> None:
        """Add a line to ``metrics.jsonl``."""
        with self.metrics.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the lines of ``metrics.jsonl``; a last line that a crash cut short is left out."""
        if not self.metrics.exists():
            return []
        records = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def forget_after(self, step: int) -> None:
        """Drop the lines of steps after ``step``: a resumed run writes them again."""
        kept = [record for record in self.read_metrics() if record["step"] <= step]
        partial = self.metrics.with_suffix(".partial")
        partial.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        partial.replace(self.metrics)

    def write_environment(self, **more: Any) -> None:
        """Write ``environment.json``: commit, versions, hardware and what else is given.

        Of a run that is taken up again the first environment stays, and the new one is added under ``resumed``.
        """
        command = [Path(sys.argv[0]).name, *sys.argv[1:]]
        values = {**here(), "command": command, **more}
        first = self.read_environment()
        if first:
            values = first | {"resumed": [*first.get("resumed", []), values]}
        _write_json(self.directory / "environment.json", values)

    def read_environment(self) -> dict[str, Any]:
        """Return ``environment.json``; empty where there is none."""
        file = self.directory / "environment.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def write_result(
        self, result: Result, *, dataset: str, split: str, checkpoint: str, name: str | None = None
    ) -> Path:
        """Write the rows of a task and its protocol as JSON, its examples as NPZ, and return the JSON file."""
        self.results.mkdir(exist_ok=True)
        name = name or result.task
        arrays = {key: _compact(value) for key, value in result.examples.items()}
        partial = self.results / f".{name}.partial.npz"
        np.savez_compressed(partial, **arrays)  # pyright: ignore[reportArgumentType]
        partial.replace(self.results / f"{name}.npz")
        file = self.results / f"{name}.json"
        record = {
            "task": result.task,
            "run": self.directory.name,
            "dataset": dataset,
            "split": split,
            "checkpoint": checkpoint,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **({"protocol": dict(result.protocol)} if result.protocol else {}),
            "rows": [asdict(row) for row in result.rows],
        }
        _write_json(file, record)
        return file


def _compact(value: torch.Tensor) -> np.ndarray:
    """Return frames in [0, 1] as ``uint8`` and other floating point as ``float32``."""
    if value.is_floating_point():
        value = value.float()
        return (value.clamp(0, 1) * 255).round().byte().numpy() if value.ndim == 5 else value.numpy()
    return value.numpy()


def _write_json(path: Path, values: Any) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def here() -> dict[str, Any]:
    """Return what made a result: commit, versions and hardware."""
    return {"commit": _commit(), "versions": _versions(), "hardware": _hardware()}


def _commit() -> str | None:
    """Return the commit of the source tree that dynarium was imported from, marked if it has changes."""
    here = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


def _versions() -> dict[str, str]:
    versions = {"dynarium": __version__, "python": platform.python_version()}
    for package in ("torch", "numpy", "accelerate"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # a source tree on the path
            continue
    return versions


def _hardware() -> dict[str, Any]:
    hardware: dict[str, Any] = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        hardware["cpu"] = models[0] if models else platform.processor()
    if torch.cuda.is_available():
        hardware["gpu"] = torch.cuda.get_device_name()
    return hardware
