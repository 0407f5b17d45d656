"""``dynarium evaluate``: a recipe's questions are found by their kind, and none overwrites another."""

import json
import os
from pathlib import Path

import pytest
import yaml

from dynarium.cli import main
from dynarium.commands.evaluate import _run_first

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
    before = (results / "probe.json").read_bytes()
    assert main(["evaluate", run, "--task", "probe", "--split", "val"]) == 0
    assert json.loads((results / "probe-val.json").read_text())["split"] == "val"
    assert (results / "probe.json").read_bytes() == before
    assert main(["evaluate", run, "--task", "probe", "--split", "test"]) == 0
    assert len(list(results.glob("probe*.json"))) == 2
    assert main(["evaluate", run, "--task", "probe", "--probe.split", "val"]) == 0
    assert json.loads((results / "probe.json").read_text())["split"] == "test"
    assert len(list(results.glob("probe*.json"))) == 2


@pytest.mark.parametrize("recipe", ["kvae-demo", "skvae-demo"])
def test_what_is_hidden_changes_no_digit(recipe, capsys):
    """The hidden frames themselves, noise or NaN in their place: every number of a trained run stays the same."""
    learning = ["--training.steps", "20", *QUICK[2:], "--training.precision", "float32"]
    learning += ["--training.validate-every", "20", "--training.checkpoint-every", "20"]
    assert main(["train", recipe, *SMALL, *learning]) == 0
    run = f"runs/{os.listdir('runs')[0]}"
    asked = ["--task", "impute", "--sequences", "12", "--impute.random-p", "0.3", "0.7", "--impute.block-steps", "6"]
    asked += ["--impute.all-frames-rates", "0.5"]
    rows = {}
    for hidden in ("kept", "noise", "nan"):
        assert main(["evaluate", run, *asked, "--impute.hidden", hidden]) == 0
        file = Path(run, "results", "impute.json" if hidden == "kept" else f"impute-{hidden}.json")
        rows[hidden] = json.loads(file.read_text())["rows"]
    assert rows["noise"] == rows["kept"]
    assert rows["nan"] == rows["kept"]
    conditions = {tuple(row["condition"].values()) for row in rows["kept"]}
    assert conditions == {("random", 0.3), ("random", 0.7), ("block", 6), ("all", 0.5)}
    smooth = [row["value"] for row in rows["kept"] if row["method"] == "smooth"]
    assert len(set(smooth)) > len(smooth) / 2, "the answers depend on what is asked"


def test_a_questions_options_on_the_command_line(capsys):
    tasks = [{"class": FORECAST, "samples": 0}, {"class": FORECAST, "samples": 0, "context": 3}]
    tasks.append({"class": "dynarium.tasks.impute:Impute", "block_steps": [2], "all_frames_rates": []})
    Path("tasks.yaml").write_text(yaml.safe_dump({"tasks": tasks}))
    assert main(["train", "kvae", "--config", "tasks.yaml", *SMALL, *QUICK]) == 0
    run = f"runs/{os.listdir('runs')[0]}"
    assert main(["evaluate", run, "--sequences", "4", "--forecast.horizon", "2", "--impute.random-p", "0.5"]) == 0
    forecast, impute = (json.loads(Path(run, "results", f"{n}.json").read_text()) for n in ("forecast", "impute"))
    assert {row["condition"].get("horizon", 2) for row in forecast["rows"]} == {2}
    assert {row["condition"].get("p", row["condition"].get("steps")) for row in impute["rows"]} == {0.5, 2}
    for words, message in (
        (["--impute.hiden", "noise"], "--impute.hiden: unknown option (did you mean '--impute.hidden'?)"),
        (["--impute.hidden", "some"], "--impute.hidden"),
        (["--probe.train", "3"], "--probe.train: unknown option"),
        (["--sequence", "4"], "--sequence: unknown option (did you mean '--sequences'?)"),
        (["--forecast.horizon", "2", "--batch-size", "4"], "--batch-size: unknown option"),
    ):
        capsys.readouterr()
        assert main(["evaluate", run, *words]) == 2
        printed = capsys.readouterr().err
        assert message in printed and printed.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--task identify RUN --data mine.mat", "RUN --task identify --data mine.mat"),
        ("--split val --task probe identify RUN", "RUN --split val --task probe identify"),
        ("RUN --task identify fast", None),
        ("--data mine.mat RUN --task identify fast", None),
        ("--data=mine.mat RUN --task identify fast", None),
        ("--task identify fast --sequences 3 RUN", None),
        ("--task fast", None),
        ("--task identify --identify.noise 0 0.1", None),
    ],
)
def test_the_run_may_follow_the_names_of_tasks(words, expected):
    assert _run_first(words.split()) == (expected or words).split()
