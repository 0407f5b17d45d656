"""Every recipe, two steps long, through the real command; resume, reproduce, own data."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import dynarium as dy
from dynarium import config
from dynarium.cli import main
from dynarium.data import EpisodeConfig
from dynarium.models.slds import SLDSConfig
from dynarium.recipes import PAPERS, RECIPES, experiment_of, find_run, load_run
from dynarium.recipes import experiment as recipes_experiment
from dynarium.systems.multitask import MultiTask

TINY = (
    "--data.train",
    "64",
    "--data.val",
    "32",
    "--data.test",
    "16",
    "--data.workers",
    "1",
    "--training.batch-size",
    "16",
)
SEVERAL_TASKS = ("--data.train", "1056", "--data.val", "1056", "--data.test", "320", "--data.workers", "1")
"""Enough sequences of each task for an episode of a recipe's own size."""
QUICK = ("--training.steps", "2", "--training.validate-every", "1", "--training.checkpoint-every", "1")
QUICK += ("--training.precision", "float32")

BY_EM = ("--data.steps", "160", "--model.em.iterations", "2", "--model.em.restarts", "1")
"""What makes the preparation of a model short."""

PLANNED = ("--plan.horizon", "2", "--plan.replan", "1", "--plan.steps", "2", "--plan.probed", "0", "--plan.shown", "0")
"""What makes planning short."""


LINEAR = ("--probe.probes", "linear")
"""What makes probing many tasks short; ``slvm-gravity16`` has both probes."""


def read(file):
    return yaml.safe_load(Path(file).read_text())  # JSON is YAML


def newest(folder="runs"):
    return sorted(os.listdir(folder))[-1]


def test_tiers_are_sizes_of_a_recipe():
    paper, small = experiment_of("kvae-fraccaro2017"), experiment_of("kvae-fraccaro2017", tier="cpu")
    assert experiment_of("kvae-fraccaro2017", tier="paper") == paper
    assert small.name == "kvae-fraccaro2017-cpu"
    assert small.training.steps < paper.training.steps
    assert small.world == paper.world and small.data == paper.data


def video_data(recipe):
    """Return what says where the digits or the films of a recipe are, of which it has none of its own; make them first."""
    random = np.random.default_rng(0)
    if recipe.endswith("smmnist"):
        glyphs = {f"x_{part}": random.integers(0, 256, (9, 28, 28), dtype=np.uint8) for part in ("train", "test")}
        np.savez("digits.npz", **glyphs, y_train=np.arange(9), y_test=np.arange(9))
        return "--world.glyphs", str(Path("digits.npz").resolve())
    if "-push" in recipe:
        return ()
    n, t, c = 8, 22 if recipe.endswith("kth") else 14, 1 if recipe.endswith("kth") else 3
    films = {"video": random.integers(0, 256, (n, t, c, 64, 64), dtype=np.uint8), "action": random.random((n, t, 4))}
    dy.write_arrays("films", {split: films for split in ("train", "val", "test")})
    return "--data", "films"


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_smoke(recipe, capsys):
    experiment = experiment_of(recipe)
    sized = SEVERAL_TASKS if isinstance(experiment.world, MultiTask) else TINY
    trivial = {"blank", "hold-last"}
    asked_for = []
    if isinstance(experiment.model, SLDSConfig):
        sized, trivial = (*TINY, *BY_EM), {"majority", "hold-last"}
        if any(task.name == "select-modes" for task in experiment.tasks):
            trivial, asked_for = {"gaussian"}, ["--select-modes.modes", "1", "2"]
    if (
        sized is SEVERAL_TASKS
        and recipe != "slvm-gravity16"
        and any(t.name.startswith("probe") for t in experiment.tasks)
    ):
        asked_for = LINEAR
    if recipe.startswith("dots-"):
        trivial, asked_for = {"constant", "hold-first", "straight-line"}, PLANNED
    if recipe.startswith("rooms-"):
        trivial, asked_for = {"constant", "straight-line"}, PLANNED
    if recipe.startswith("identify-"):
        trivial, sized = {"last-value", "arx"}, (*TINY, "--tier", "smoke")
    if filmed := recipe.startswith(("svg-", "srvp-", "flow-video-")):
        experiment = experiment_of(recipe, tier="smoke")
        trivial, sized = {"black", "copy-last", "mean-image"}, ("--tier", "smoke", *video_data(recipe))
    assert main(["train", recipe, *sized, *QUICK]) == 0
    run = f"runs/{newest()}"
    assert capsys.readouterr().out.strip() == f"run: {run}"
    assert main(["evaluate", run, "--sequences", "48" if sized is SEVERAL_TASKS else "6", *asked_for]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in trivial)
    assert main(["report", run]) == 0
    for file in ("config.yaml", "metrics.jsonl", "environment.json", "report.html"):
        assert os.path.getsize(f"{run}/{file}") > 100, file
    rows = [row for task in experiment.tasks for row in read(f"{run}/results/{task.name}.json")["rows"]]
    assert {row["method"] for row in rows if row["baseline"]} >= trivial
    assert {row["method"] for row in rows if not row["baseline"]}
    assert all(np.isfinite(row["value"]) for row in rows if row["n"])
    # The published rows name settings that the recipe's tasks really ask.
    asked = {(r["metric"], json.dumps(r["condition"], sort_keys=True)) for r in rows}
    for paper in PAPERS[recipe] if recipe in PAPERS and not filmed else ():  # of films see test_svg.py
        assert (paper.metric, json.dumps(paper.condition, sort_keys=True)) in asked


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("kvae", {"impute", "generate", "forecast"}),
        ("slvm", {"generate", "forecast"}),
        ("slds", {"forecast-observations"}),
        ("jepa-vicreg", {"probe-rollout", "geometry"}),
        ("lstm-identifier", {"identify"}),
        ("one-step-transformer", {"identify"}),
        ("srvp", {"forecast-video"}),
        ("flow-video", {"forecast-video"}),
    ],
)
def test_a_model_by_its_name_is_asked_what_it_can_answer(model, asked):
    experiment = experiment_of(model)
    assert {task.name for task in experiment.tasks} == asked
    assert experiment.data.window == (15 if "forecast-video" in asked else None), "films are seen in short windows"


def test_what_a_model_was_refused_stops_no_report(capsys):
    films = {"video": np.zeros((16, 12, 1, 28, 28), np.uint8), "action": np.ones((16, 12, 2))}
    dy.write_arrays("plain", {split: films for split in ("train", "val", "test")})
    words = ["train", "jepa-vicreg", "--data", "plain", "--training.steps", "1", "--training.batch-size", "8"]
    assert main([*words, "--then", "evaluate", "report"]) == 2
    printed = capsys.readouterr()
    assert "needs" in printed.err and "report: runs/" in printed.out


def test_config_yaml_alone_recreates_the_run(tmp_path):
    assert main(["train", "kvae-demo", *TINY, *QUICK]) == 0
    first = f"runs/{newest()}"
    assert main(["train", "--config", f"{first}/config.yaml", "--out", "again"]) == 0
    second = f"again/{newest('again')}"
    a, b = (load_file(f"{run}/checkpoints/last/weights.safetensors") for run in (first, second))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert read(f"{first}/config.yaml") == read(f"{second}/config.yaml")


def test_resume_through_the_command_is_exact():
    constant = ["--training.learning-rate.value", "0.001"]
    longer = [word if word != "2" else "5" for word in QUICK]
    assert main(["train", "kvae", *TINY, *QUICK, *constant, "--out", "short"]) == 0
    assert main(["train", "--resume", f"short/{newest('short')}", "--training.steps", "5"]) == 0
    assert main(["train", "kvae", *TINY, *longer, *constant, "--out", "long"]) == 0
    a, b = (load_file(f"{r}/{newest(r)}/checkpoints/last/weights.safetensors") for r in ("short", "long"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_resume_changes_the_training_only(capsys):
    assert main(["train", "kvae", *TINY, *QUICK]) == 0
    run = f"runs/{newest()}"
    capsys.readouterr()
    assert main(["train", "--resume", run, "--model.state", "6"]) == 2
    assert "keeps the run's model, data, batch size" in capsys.readouterr().err
    assert main(["train", "--resume", run, "--training.steps", "3"]) == 0
    assert load_run(run).experiment.training.steps == 3  # what the run says of itself stays true


def test_the_main_process_goes_on_alone(monkeypatch, capsys):
    monkeypatch.setattr("dynarium.training.rank_and_world", lambda: (1, 2))
    assert main(["train", "kvae", *TINY, *QUICK, "--then", "evaluate"]) == 0
    assert capsys.readouterr().out == ""
    assert not os.path.exists(f"runs/{newest()}/results")


def test_questions_that_do_not_fit(capsys):
    assert main(["train", "kvae", *TINY, *QUICK]) == 0
    run = f"runs/{newest()}"
    video = np.zeros((4, 3, 32, 32))
    dy.write_arrays("short", {"test": {"video": video}})
    dy.write_arrays("acted", {"test": {"video": video, "action": np.zeros((4, 3, 2))}})
    for words, message in (
        (["--sequences", "0"], "--sequences: expected at least 1, got 0"),
        (["--data", "acted"], "--data: expected actions of 0 numbers, got 2"),
        (["--data", "short", "--task", "forecast"], "got context 4 and horizon all that follow"),
    ):
        capsys.readouterr()
        assert main(["evaluate", run, *words]) == 2
        printed = capsys.readouterr().err
        assert message in printed and printed.count("\n") == 1
    assert not os.path.exists(f"{run}/results")


def test_resuming_a_finished_run_says_so_and_changes_nothing(capsys):
    assert main(["train", "kvae-demo", *TINY, *QUICK]) == 0
    run = Path("runs") / newest()
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file() and p.name != "config.yaml"}
    capsys.readouterr()
    assert main(["train", "--resume", str(run)]) == 0
    assert "is finished: it has its 2 steps already" in capsys.readouterr().err
    assert before == {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file() and p.name != "config.yaml"}


def test_evaluate_asks_what_fits_and_names_what_does_not(capsys):
    random = np.random.default_rng(0)
    fields = {"video": random.random((16, 8, 8, 8)) > 0.8, "action": random.random((16, 8, 2))}
    dy.write_arrays("acted", {"train": fields, "test": fields})
    assert main(["train", "kvae", "--data", "acted", *QUICK, "--training.batch-size", "8"]) == 0
    run = f"runs/{newest()}"
    capsys.readouterr()
    assert main(["evaluate", run, "--sequences", "4"]) == 2
    assert "generate: the dataset has actions" in capsys.readouterr().err
    assert sorted(os.listdir(f"{run}/results")) == ["forecast.json", "forecast.npz", "impute.json", "impute.npz"]


def test_reproduce_prints_the_paper_beside_ours(capsys):
    words = ["reproduce", "kvae-fraccaro2017", "--seeds", "0", "1", *TINY, *QUICK]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "0.0075" in printed and "hold-last" in printed
    records = [read(f"results/kvae-fraccaro2017/seed-{s}.json") for s in (0, 1)]
    assert records[0]["rows"] != records[1]["rows"]
    assert records[0]["data"] == records[1]["data"]
    assert {"commit", "evaluated", "versions", "hardware", "training_seconds", "paper", "seed"} <= set(records[0])
    before = os.listdir("runs")
    assert main([*words, "--training.log-every", "7"]) == 0  # has results already: nothing is trained again
    assert os.listdir("runs") == before
    capsys.readouterr()
    assert main([*words, "--training.steps", "3", "--model.modes", "2"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "results/kvae-fraccaro2017/seed-0.json: was made with model." in said
    assert "--force makes it again" in said and os.listdir("runs") == before


def test_trainings_that_start_at_once_make_their_data_once(monkeypatch):
    experiment = config.resolve(experiment_of("kvae-demo"), arguments=[*TINY, *QUICK])
    calls, make = [], recipes_experiment.make_dataset

    def slowly(*args, **options):
        calls.append(args)
        time.sleep(0.5)
        return make(*args, **options)

    monkeypatch.setattr(recipes_experiment, "make_dataset", slowly)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: recipes_experiment.prepare_data(experiment), range(2))
    assert len(calls) == 1
    assert first.schema.content_hash == second.schema.content_hash
    assert sorted(os.listdir(first.directory.parent)) == [first.directory.name]


def test_find_run_takes_the_same_experiment_only():
    experiment = config.resolve(experiment_of("kvae-demo"), arguments=[*TINY, *QUICK])
    dy.train(experiment, quiet=True)
    found = find_run(experiment, Path("runs"))
    assert found is not None and found.name == newest()
    other = replace(experiment, training=replace(experiment.training, seed=5))
    assert find_run(other, Path("runs")) is None


def test_own_data_and_a_foreign_dataset():
    random = np.random.default_rng(0)

    def frames(n):
        return random.random((n, 20, 24, 24)) > 0.8

    dy.write_arrays("mine", {"train": {"video": frames(40)}, "val": {"video": frames(8)}, "test": {"video": frames(8)}})
    assert main(["train", "kvae", "--data", "mine", *QUICK, "--training.batch-size", "8"]) == 0
    run = load_run(f"runs/{newest()}")
    batch = run.dataset.batch("test", range(3))
    assert run.model.forecast(batch, horizon=5).shape == (1, 3, 5, 1, 24, 24)
    np.savez("other.npz", images=frames(6).astype(np.float32), state=np.zeros((6, 20, 4), np.float32))
    assert main(["data", "import", "other.npz", "--out", "other", "--split", "test"]) == 0
    assert main(["evaluate", str(run.directory), "--data", "other", "--task", "impute", "--sequences", "4"]) == 0
    assert read(run.directory / "results" / "impute-on-other.json")["dataset"] == "other"


def test_online_training():
    assert main(["train", "kvae-demo", *TINY, *QUICK, "--data.online", "True", "--data.window", "10"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "kvae-dmo"], "unknown recipe or model 'kvae-dmo'"),
        (["train"], "expected a recipe"),
        (["train", "kvae", "--resume", "nowhere"], "expected no recipe"),
        (["train", "kvae-demo", "--data", "nowhere"], "--data: 'nowhere' is neither a world"),
        (["train", "kvae-demo", "--training.stepz", "3"], "--training.stepz"),
        (["train", "kvae-demo", "--training.steps", "0"], "training.steps: expected at least 1, got 0"),
        (["train", "kvae-demo", "--model.modes", "0"], "model.modes: expected at least 1"),
        (["train", "kvae-demo", "--training.steps", "many"], "--training.steps"),
        (["train", "kvae-demo", "--tier", "cpu"], "--tier: kvae-demo expects none, as this recipe has one size"),
        (["train", "kvae-pong", "--tier", "big"], "--tier: kvae-pong expects one of cpu, paper; got 'big'"),
        (["train", "kvae", "--tier", "cpu"], "--tier: 'kvae' is a model; only recipes have tiers"),
        (["train", "--resume", "nowhere"], "nowhere: not a run directory"),
        (["evaluate", "nowhere"], "nowhere: not a run directory"),
        (["report", "nowhere"], "nowhere"),
        (["reproduce", "nothing"], "unknown recipe or model 'nothing'"),
        (["data", "make", "bouncing-bal"], "unknown world 'bouncing-bal' (did you mean 'bouncing-ball'?)"),
        (
            ["data", "make", "pong", "--world.speeed", "3"],
            "--world.speeed: unknown option (did you mean '--world.speed'?)",
        ),
        (["data", "make", "pong", "--world.side", "x"], "Error parsing --world.side"),
        (["data", "make", "pong", "--speeed", "3"], "--speeed: unknown option"),
        (["data", "info", "nowhere"], "nowhere: not a dataset"),
        (["data", "verify", "nowhere"], "nowhere: not a dataset"),
        (["data", "show", "nowhere"], "nowhere: not a dataset"),
        (["data", "export", "nowhere", "--out", "x"], "nowhere: not a dataset"),
        (["data", "import", "nowhere.npz", "--out", "x"], "nowhere.npz: no such file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(words, message, capsys, tmp_path):
    assert main(words) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1 and printed.err.startswith("dynarium: error: ")
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_installed_command_runs():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "dynarium", "train", "kvae-demo", *TINY, *QUICK, "--then", "evaluate", "report"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "report: runs/" in done.stdout
    assert "step 2/2" in done.stderr


def test_training_on_episodes(tmp_path):
    """A model sees queries with contexts of the same task in training and validation, from the configuration alone."""
    (tmp_path / "episodes.yaml").write_text("data: {tasks: [0, 2], episodes: {shots: 2, queries: 4}}\n")
    words = ["train", "kvae-demo", "--data", "gravity-3", *TINY, *QUICK, "--config", str(tmp_path / "episodes.yaml")]
    assert main(words) == 0
    run = load_run(f"runs/{newest()}")
    assert run.experiment.data.episodes == EpisodeConfig(shots=2, queries=4)
    assert run.experiment.data.tasks == (0, 2)
    seen = []

    class Watching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def loss(self, batch, step):
            seen.append((self.training, batch))
            return self.weight.square(), {}

    @dataclass(frozen=True)
    class WatchingConfig:
        def fitted(self, shapes):
            return self

        def build(self):
            return Watching()

    training = replace(run.experiment.training, trackers=())
    dy.recipes.train(replace(run.experiment, model=WatchingConfig(), training=training), quiet=True)
    assert {training for training, _ in seen} == {True, False}
    for _, batch in seen:
        assert set(batch.task.tolist()) <= {0, 2}
        assert len(batch) == 16
        assert len(batch.context) == 8
        assert batch.context.task[::2].tolist() == batch.task[::4].tolist()
    fixed = [batch.state for training, batch in seen if not training]
    assert torch.equal(fixed[0], fixed[1])


def test_episodes_need_stored_data(capsys):
    assert (
        main(["train", "kvae-demo", "--data", "gravity-3", *TINY, *QUICK, "--data.online", "True", "--data.tasks", "0"])
        == 2
    )
    assert "batches made on the fly have no episodes" in capsys.readouterr().err
