"""``dynarium evaluate``: a recipe's questions are found by their kind, and none overwrites another."""

import json
import os
from pathlib import Path

import yaml

from dynarium.cli import main

SMALL = [
    "--data.train",
    "48",
    "--data.val",
    "16",
    "--data.test",
    "24",
    "--data.workers",
    "1",
    "--training.batch-size",
    "16",
]
QUICK = ["--training.steps", "2", "--training.validate-every", "1", "--training.checkpoint-every", "1"]
FORECAST, PROBE = "dynarium.tasks.forecast:Forecast", "dynarium.tasks.probe:Probe"


def test_several_questions_of_one_kind(capsys):
    tasks = [
        {"class": FORECAST, "samples": 0},
        {"class": FORECAST, "samples": 0, "shots": 2, "per_task": True},
        {"class": PROBE, "probes": ["linear"]},
    ]
    Path("tasks.yaml").write_text(yaml.safe_dump({"tasks": tasks}))
    assert main(["train", "kvae", "--data", "gravity-3", "--config", "tasks.yaml", *SMALL, *QUICK]) == 0
    run = f"runs/{os.listdir('runs')[0]}"
    assert main(["evaluate", run, "--task", "forecast", "probe"]) == 0
    printed = capsys.readouterr().out
    results = Path(run, "results")
    names = ["forecast-2-shot.json", "forecast.json", "probe.json"]
    assert sorted(file.name for file in results.glob("*.json")) == names
    for name in names:
        assert str(results / name) in printed
    whole, few, probed = (
        json.loads((results / f"{n}.json").read_text())["rows"] for n in ("forecast", "forecast-2-shot", "probe")
    )
    assert {row["n"] for row in whole} == {24}
    assert {row["n"] for row in few if "task" not in row["condition"]} == {24 - 3 * 2}
    assert {row["condition"].get("task") for row in few} == {None, 0, 1, 2}
    assert {"mean", "pixels-linear", "pixels"} == {row["method"] for row in probed if row["baseline"]}
    assert "higher is better" in printed.split("valid prediction time")[1].split("written")[0]
