"""The noise study in miniature: a joint embedding finds the dot, and loses it to noise that stays (Sobal et al. 2022)."""

from dataclasses import replace

import pytest

from dynarium.nn.menet import MeNet
from dynarium.recipes.experiment import train
from dynarium.recipes.jepa import dots, shortened
from dynarium.recipes.jepa_table import noisy
from dynarium.tasks.probe_rollout import ProbeRollout

STEPS = 150


@pytest.mark.parametrize(
    ("level", "least", "most"),
    [(0.0, 0.0, 2.5), (1.0, 7.0, 10.0)],
)
def test_vicreg_finds_the_dot_until_noise_stays(level, least, most):
    """Errors in pixels of 150 steps with a narrow encoder; the constant answer has 9.2, the dot's first place 6.2."""
    base = dots("vicreg")
    training = replace(
        shortened(base.training, STEPS),
        batch_size=32,
        trackers=(),
        validate_every=STEPS,
        checkpoint_every=STEPS,
        precision="float32",
    )
    experiment = replace(
        base,
        world=noisy("fixed-uniform", level, base.world),
        model=replace(base.model, encoder=MeNet(width=1), embedding=64),
        training=training,
        data=replace(base.data, train=1000, val=64, test=300, workers=1),
    )
    run = train(experiment, quiet=True)
    rows = ProbeRollout(train_sequences=600, resamples=2).run(run.model, run.dataset).rows
    error = next(row.value for row in rows if (row.method, row.metric) == ("rollout", "rmse_px_rollout"))
    assert least < error < most
