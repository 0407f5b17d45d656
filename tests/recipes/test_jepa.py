"""The table of published configurations, and the recipes that are made of it."""

import pytest

from dynarium.errors import UserError
from dynarium.models.jepa import JEPAConfig
from dynarium.models.jepa_terms import VICReg
from dynarium.models.rssm import RSSMConfig
from dynarium.objectives.schedules import Cosine
from dynarium.recipes import experiment_of
from dynarium.recipes.jepa import METHODS, dots, shortened
from dynarium.recipes.jepa_table import TABLE, noisy, published
from dynarium.systems.dots import MovingDots


def test_all_144_are_experiments():
    counts = {}
    for method, kinds in TABLE.items():
        for noise, rows in kinds.items():
            for level, row in rows.items():
                experiment = published(method, noise, level)
                counts[method] = counts.get(method, 0) + 1
                kind, source = noise.split("-")
                shown = experiment.world.noise
                assert getattr(shown, kind) == shown.level == level
                assert shown.source == source or not level
                assert experiment.training.batch_size == row.batch
                passes = experiment.training.steps * row.batch / 10_000
                assert passes == pytest.approx(getattr(row, "epochs", 100), rel=0.03)
                assert isinstance(experiment.model, RSSMConfig if method == "rssm" else JEPAConfig)
    assert counts == {"vicreg": 28, "simclr": 28, "idm": 28, "supervised": 28, "rssm": 32}


def test_published_numbers_arrive_where_they_belong():
    one = published("vicreg", "changing-uniform", 1)
    assert one.model.prediction == 4.0834
    assert one.model.regularizer == VICReg(std=1.1795, cov=1.0)
    rate = one.training.learning_rate
    assert isinstance(rate, Cosine) and rate.value == pytest.approx(2.7382 * 128 / 256)
    assert (rate.warmup, rate.until) == (10 * 78, 100 * 78)
    assert one.training.optimizer == "lars"
    labels = published("supervised", "fixed-uniform", 0.75)
    assert (labels.model.head, labels.model.embedding, labels.model.encoder.width) == ((1024,), 2048, 8)
    assert labels.training.optimizer == "adam" and labels.training.learning_rate.value == 0.0004166
    assert published("rssm", "fixed-structured", 1).model.min_std == 0.01
    assert published("reconstruction", "fixed-structured", 1).training.batch_size == 64


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("sigreg", "fixed-uniform", 1), "nothing published for 'sigreg'"),
        (("vicreg", "fixd-uniform", 1), "unknown kind 'fixd-uniform' (did you mean 'fixed-uniform'?)"),
        (
            ("vicreg", "fixed-uniform", 0.6),
            "vicreg has none published at 0.6 of fixed-uniform noise; published: 0.25, 0.5",
        ),
    ],
)
def test_what_was_not_published_is_an_error(asked, message):
    with pytest.raises(UserError) as error:
        published(*asked)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_level_zero_is_the_same_world_for_every_kind():
    assert noisy("fixed-structured", 0, MovingDots()) == MovingDots()
    assert published("vicreg", "fixed-structured", 0) == published("vicreg", "changing-uniform", 0)


@pytest.mark.parametrize("method", METHODS)
def test_tiers(method):
    small, paper = dots(method), dots(method, "paper")
    assert small.name == paper.name == f"dots-{method}"
    assert small.data.online and paper.data.online
    assert small.training.keep == paper.training.keep == "last"
    assert method == "random" or paper.training.steps * paper.training.batch_size > 900_000
    assert experiment_of(f"dots-{method}") == small


def test_a_shortened_training_ends_at_rate_zero():
    training = shortened(dots("vicreg").training, 2)
    assert training.steps == 2
    assert training.learning_rate(2) == 0


def test_the_ablation_differs_in_inverse_dynamics_alone():
    with_it, without = experiment_of("rooms-pldm"), experiment_of("rooms-pldm-no-idm")
    assert without.model.inverse_dynamics is None
    assert with_it.training == without.training and with_it.tasks == without.tasks and with_it.data == without.data
