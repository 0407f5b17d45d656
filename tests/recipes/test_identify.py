"""Recipes of identification: the published sizes, warm starts, and questions about a user's own file."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from dynarium import config
from dynarium.cli import main
from dynarium.data import make_dataset
from dynarium.errors import UserError
from dynarium.models.one_step_transformer import OneStepTransformerConfig
from dynarium.recipes import RECIPES, experiment_of, load_run, train
from dynarium.recipes.study import Cell, run_cells
from dynarium.systems.identification import RandomLti
from dynarium.systems.lti import LinearLaw
from dynarium.tasks.identify import Identify

SHORT = ("--training.steps", "2", "--training.validate-every", "2", "--training.precision", "float32")
RECIPE_NAMES = [name for name in RECIPES if name.startswith("identify-")]


@pytest.fixture(scope="module")
def simulator(tmp_path_factory):
    """A run of the smallest tier, two steps long."""
    folder = tmp_path_factory.mktemp("simulator")
    experiment = config.resolve(experiment_of("identify-lti-simulation", tier="smoke"), arguments=SHORT)
    data = replace(experiment.data, directory=str(folder / "data"), test=4, val=4, train=16)
    return train(replace(experiment, data=data), runs=folder, quiet=True).directory


def printed(capsys):
    found = capsys.readouterr()
    return found.out, found.err


def signals(steps, channels=1, seed=0):
    random = np.random.default_rng(seed)
    u = random.normal(size=(steps, channels))
    return u, np.convolve(u[:, 0], [0.5, 0.3, 0.1])[:steps, None]


@pytest.mark.parametrize(
    ("recipe", "parameters"),
    [
        ("identify-lti-one-step", 1_626_753),
        ("identify-wh-one-step", 2_439_809),
        ("identify-wh-one-step-large", 85_743_361),
        ("identify-lti-simulation", 5_604_097),
        ("identify-wh-simulation", 5_604_097),
    ],
)
def test_published_models_have_their_number_of_parameters(recipe, parameters):
    with torch.device("meta"):
        model = experiment_of(recipe, tier="paper").model.build()
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_tiers_grow_and_survive_yaml(recipe):
    steps = []
    for tier in ("smoke", "cpu", "paper"):
        experiment = experiment_of(recipe, tier=tier)
        assert config.from_dict(config.to_dict(experiment)) == experiment
        steps.append(experiment.training.steps)
    assert steps == sorted(steps)


def test_the_network_that_corrects_says_how_far_it_may_be_off(tmp_path):
    """Untrained its deviation is what output-error models leave of the context; the metric stands beside the model."""
    experiment = experiment_of("identify-lti-residual", tier="smoke")
    world = replace(experiment.world, steps=500)
    dataset = make_dataset(world, tmp_path / "data", sizes={"test": 4})
    torch.manual_seed(0)
    result = Identify(noise=(0.3,), baselines=()).run(experiment.model.build().eval(), dataset)
    (coverage,) = (row.value for row in result.rows if row.metric == "coverage_90")
    assert coverage > 0.9


def tiny(name, before=None, **training):
    world = RandomLti(law=LinearLaw(order=2), steps=20)
    base = experiment_of("identify-lti-one-step", tier="smoke")
    return replace(
        base,
        name=name,
        world=world,
        model=OneStepTransformerConfig(steps=20, layers=1, heads=1, width=8),
        data=replace(base.data, train=32, val=8, test=8),
        training=replace(base.training, steps=3, precision="float32", trackers=(), **training),
        tasks=(Identify(context=10, baselines=("context-mean",)),),
        before=before,
    )


def test_a_training_starts_from_the_weights_of_the_one_before(tmp_path):
    first = tiny("first")
    second = tiny("second", before=first)
    still = replace(
        second,
        training=replace(second.training, learning_rate=replace(first.training.learning_rate, value=0.0, end=0.0)),
    )
    run = train(still, runs=tmp_path, quiet=True)
    made = [name for name in os.listdir(tmp_path) if name.endswith("first")]
    assert len(made) == 1
    for name, weight in load_run(tmp_path / made[0]).model.state_dict().items():
        assert torch.equal(run.model.state_dict()[name], weight)
    train(second, runs=tmp_path, quiet=True)
    assert [name for name in os.listdir(tmp_path) if name.endswith("first")] == made  # found, not made again


def test_seeds_start_from_one_run_of_the_one_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seeds = [tiny("second", before=tiny("first"), seed=seed) for seed in (0, 1)]
    cells = [Cell(experiment=experiment, condition={}) for experiment in seeds]
    records = run_cells(cells, tmp_path / "results", runs=tmp_path / "runs", workers=2, quiet=True)
    assert [record["seed"] for record in records] == [0, 1]
    assert len(list((tmp_path / "runs").glob("*-first"))) == 1


def test_a_model_of_another_size_cannot_start_there(tmp_path):
    other = tiny("first")
    second = replace(tiny("second", before=other), model=replace(other.model, width=16))
    with pytest.raises(UserError, match="does not fit the model"):
        train(second, runs=tmp_path, quiet=True)


def test_a_users_file(simulator, tmp_path, capsys):
    u, y = signals(1100)
    scipy.io.savemat("mine.mat", {"u": u, "y": y, "Ts": 0.1})
    assert main(["evaluate", "--task", "identify", str(simulator), "--data", "mine.mat"]) == 0
    out, _ = printed(capsys)
    assert all(word in out for word in ("arx", "subspace", "model", "rmse"))
    assert os.path.exists(simulator / "results" / "identify-on-mine.json")
    assert not os.path.exists(simulator / "results" / "identify-noise-on-mine.json")
    # Shorter records than the model was trained with: the same share of them is context.
    np.savez(tmp_path / "short.npz", u=u[:250], y=y[:250])
    assert main(["evaluate", str(simulator), "--task", "identify", "--data", str(tmp_path / "short.npz")]) == 0


def test_of_files_shorter_than_the_context_the_same_share_is_context(tmp_path, capsys):
    run = str(train(tiny("one-step"), runs=tmp_path, quiet=True).directory)  # 10 steps of 20 are context
    for steps in (8, 12, 2, 1100):
        u, y = signals(steps)
        np.savez(f"of-{steps}.npz", u=u, y=y)
    for steps, context in ((8, 4), (12, 10)):
        assert main(["evaluate", run, "--data", f"of-{steps}.npz"]) == 0
        rows = json.loads((Path(run) / "results" / f"identify-on-of-{steps}.json").read_text())["rows"]
        assert {row["condition"]["context"] for row in rows} == {context}
    for words in (["of-2.npz"], ["of-8.npz", "--identify.context", "12"], ["of-1100.npz", "--identify.context", "20"]):
        capsys.readouterr()
        assert main(["evaluate", run, "--data", *words]) == 2
        error = printed(capsys)[1]
        assert words[0] in error and "horizon -" not in error and error.count("\n") == 1


def test_options_are_of_the_question_without_a_label(simulator):
    results = simulator / "results"
    before = {file: file.stat().st_mtime_ns for file in results.glob("identify-*.json")} if results.exists() else {}
    words = ["--identify.noise", "0", "0.1", "--identify.baselines", "arx"]
    assert main(["evaluate", str(simulator), *words]) == 0
    assert {file: file.stat().st_mtime_ns for file in results.glob("identify-*.json")} == before
    rows = json.loads((results / "identify.json").read_text())["rows"]
    assert {row["condition"]["noise"] for row in rows} == {0.0, 0.1}


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (lambda u, y: (u, y[:-3]), [], "must be of equal length, got 600 steps of u and 597 of y"),
        (lambda u, y: (u, 0 * y), [], "'y' is constant"),
        (
            lambda u, y: (u, np.where(np.arange(600)[:, None] == 7, np.nan, y)),
            [],
            "'y' holds NaN or infinity, first at step 7",
        ),
        (lambda u, y: (np.concatenate([u, u], 1), y), [], "--data: expected inputs of 1 channels, got 2 (u1, u2) in"),
        (
            lambda u, y: (u, y),
            ["--identify.context", "450", "--identify.horizon", "50"],
            "context: at most the model's 400 steps wanted, got 450",
        ),
        (lambda u, y: (u, np.concatenate([y, y], 1)), [], "--data: expected outputs of 1 channels, got 2 (y1, y2) in"),
        (
            lambda u, y: (u, y),
            ["--identify.context", "600"],
            "--identify.context: expected fewer than the 500 steps of",
        ),
    ],
)
def test_bad_files_are_one_line(simulator, tmp_path, capsys, change, words, message):
    u, y = change(*signals(600))
    scipy.io.savemat(tmp_path / "bad.mat", {"u": u, "y": y})
    capsys.readouterr()
    assert main(["evaluate", str(simulator), "--task", "identify", "--data", str(tmp_path / "bad.mat"), *words]) == 2
    _, err = printed(capsys)
    assert message in err and err.count("\n") == 1 and "dynarium-" not in err, "no folder that the user has not made"


def test_files_of_experiments_and_missing_ones(simulator, tmp_path, capsys):
    u, y = signals(600)
    np.savez("six.npz", u=u.reshape(100, 6), y=y.reshape(100, 6))
    words = ["evaluate", str(simulator), "--task", "identify", "--data"]
    assert main([*words, "six.npz", "--layout", "experiments", "--identify.baselines", "arx"]) == 0
    rows = json.loads((simulator / "results" / "identify-on-six.json").read_text())["rows"]
    assert {row["n"] for row in rows} == {6}
    np.savez("tank.npz", pump=u, level=y)
    named = ["--inputs", "pump", "--outputs", "level"]
    assert main([*words, "tank.npz", *named, "--identify.baselines", "arx"]) == 0
    assert (simulator / "results" / "identify-on-tank.json").is_file()
    for file, more, message in (
        ("nix.mat", [], "--data: nix.mat: no such file"),
        (".", ["--layout", "experiments"], "--layout: is of a file of inputs and outputs, and . is a directory"),
        (".", named, "--inputs: is of a file of inputs and outputs, and . is a directory"),
    ):
        capsys.readouterr()
        assert main([*words, file, *more]) == 2
        assert printed(capsys)[1] == f"dynarium: error: {message}\n"
