"""Beliefs around chance bounces: which steps are aligned, what is detected, and models that believe nothing."""

import numpy as np
import pytest
import torch

from dynarium.data import Dataset, make_dataset, write_arrays
from dynarium.errors import UserError
from dynarium.models.video import Beliefs
from dynarium.reporting.rows import record_of
from dynarium.systems.moving_digits import MovingDigits
from dynarium.tasks import TASKS
from dynarium.tasks.bounces import Bounces, _isolated

STEPS, N, Z = 20, 12, 3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    where, g = tmp_path_factory.mktemp("data") / "d", np.random.default_rng(0)
    bounce = np.zeros((N, STEPS), np.uint8)
    for i in range(N):
        bounce[i, 6 + i % 3] = 1
        bounce[i, 15 + i % 4] = 1
    video = g.integers(0, 255, (N, STEPS, 1, 4, 4), dtype=np.uint8)
    video[:, 0, 0, 0, 0] = np.arange(N)
    write_arrays(where, {"test": {"video": video, "bounce": bounce}})
    return Dataset(where)


class Prophet:
    """Its prior is wide, and its posterior far away, ``lag`` steps after a bounce; its forecast is right until the first."""

    def __init__(self, dataset, lag=0):
        read = dataset.read("test", range(N))
        self.bounce, self.video, self.lag = torch.from_numpy(read["bounce"]), torch.from_numpy(read["video"]), lag

    def _these(self, batch):
        return batch.video[:, 0, 0, 0, 0].long()

    def beliefs(self, batch, *, context=None):
        wide = self.bounce[self._these(batch)].roll(self.lag, 1)[:, 1:, None].float()
        nothing = torch.zeros(len(wide), STEPS - 1, Z)
        prior = torch.tensor([1.0, 2.0, 3.0]).log() * 2 * wide
        return Beliefs(nothing + wide, nothing + prior, nothing, nothing + prior)

    def forecast(self, context, horizon, *, action=None, samples=1, generator=None):
        start = context.video.shape[1]
        these = self._these(context)
        struck = self.bounce[these][:, start:].cummax(1).values.bool()
        right = self.video[these][:, start : start + horizon] / 255
        return torch.where(struck[..., None, None, None], 1 - right, right)[None]


def values(result, metric):
    return {(r.method, *r.condition.values()): r for r in result.rows if r.metric == metric}


def test_what_is_aligned(dataset):
    result = Bounces(context=4, window=3, batch_size=5).run(Prophet(dataset), dataset)
    deviation, kl, mse = (values(result, metric) for metric in ("prior_deviation", "kl", "mse"))
    for offset in range(-3, 4):
        assert deviation["prior-deviation", offset].value == pytest.approx(2.0 if offset == 0 else 1.0)
        # KL of two Gaussians of equal deviations 1, 2 and 3, one apart: (1 + 1/4 + 1/9) / 2.
        assert kl["kl", offset].value == pytest.approx((1 + 1 / 4 + 1 / 9) / 2 if offset == 0 else 0)
        assert (mse["forecast", offset].value > 0) == (offset >= 0)
        assert mse["copy-last", offset].baseline and mse["copy-last", offset].value > 0
    assert deviation["prior-deviation", 0].n == N
    assert result.examples["bounce/offset"].tolist() == list(range(-3, 4))
    assert result.examples["bounce/prior_deviation"].tolist() == pytest.approx([1, 1, 1, 2, 1, 1, 1])
    assert set(result.examples) == {"bounce/offset", "bounce/prior_deviation", "bounce/kl", "bounce/mse"}


@pytest.mark.parametrize("lag", [0, 1])
def test_a_prophet_detects_bounces_at_its_lag(dataset, lag):
    result = Bounces(context=4, window=3).run(Prophet(dataset, lag), dataset)
    found = values(result, "bounce_auc")
    for method in ("prior-deviation", "kl"):
        assert found[method, lag].value == 1.0
        assert found[method, 1 - lag].value == 0.5
    assert found["constant", lag].value == 0.5 and found["constant", lag].baseline
    assert ("wall-nearness", lag) not in found


def test_only_isolated_bounces_count_and_only_until_the_next():
    bounce = torch.zeros(2, 16, dtype=torch.bool)
    bounce[0, [4, 7, 13]] = True
    none = 4
    wanted = [none, -3, -2, -1, 0, 1, 2, none, none, none, -3, -2, -1, 0, 1, 2]
    assert _isolated(bounce, 3).tolist() == [wanted, [none] * 16]


def test_walls_foretell_the_bounces_of_digits(tmp_path):
    make_dataset(MovingDigits(steps=20), tmp_path / "digits", sizes={"train": 2, "val": 2, "test": 48}, workers=1)
    digits = Dataset(tmp_path / "digits")

    class Blind:
        def beliefs(self, batch, *, context=None):
            g = torch.Generator().manual_seed(0)
            noise = torch.randn(len(batch), 19, 2, generator=g)
            return Beliefs(noise, noise, torch.zeros_like(noise), torch.randn(len(batch), 19, 2, generator=g))

    found = values(Bounces().run(Blind(), digits), "bounce_auc")
    # A digit that has just bounced was at the wall a step ago; one that is near it may as well fly along.
    assert 0.55 < found["wall-nearness", 0].value < found["wall-nearness", 1].value
    for lag in (0, 1):
        assert record_of(found["wall-nearness", lag]).kind == "bound", "it has seen the states"
        row = found["prior-deviation", lag]
        assert abs(row.value - 0.5) < 4 * row.standard_error < 0.5


def test_a_model_without_latents_is_asked_for_its_forecast_only(dataset):
    model = Prophet(dataset)
    model.beliefs = lambda batch, context=None: None
    result = Bounces(window=2).run(model, dataset)
    assert {row.metric for row in result.rows} == {"mse"}
    assert set(result.examples) == {"bounce/offset", "bounce/mse"}


def test_bad_questions_are_refused(dataset, tmp_path):
    assert TASKS["bounces"] is Bounces
    with pytest.raises(UserError, match="bounces.window: expected at least 1, got 0"):
        Bounces(window=0)
    with pytest.raises(UserError, match="bounces.context: expected less than the 20 steps"):
        Bounces(context=20).run(Prophet(dataset), dataset)
    with pytest.raises(UserError, match="does not have the capability ForeseesChance"):
        Bounces().run(object(), dataset)
    write_arrays(tmp_path / "plain", {"test": {"video": np.zeros((2, 8, 1, 4, 4), np.uint8)}})
    with pytest.raises(UserError, match="this task needs the field 'bounce'"):
        Bounces().run(Prophet(dataset), Dataset(tmp_path / "plain"))
