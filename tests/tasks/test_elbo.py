"""The evidence task: rows equal a plain loop, a known density is recovered, and other pixels are refused."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Normal

from dynarium.data import Dataset, make_dataset, write_arrays
from dynarium.errors import UserError
from dynarium.models.dkf import DKFConfig
from dynarium.models.kvae import KVAEConfig
from dynarium.tasks.elbo import Elbo
from worlds import Drift


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(Drift(steps=5), tmp_path_factory.mktemp("data") / "d", sizes={"train": 64, "test": 20})


class Known:
    """Knows log p(x); a posterior of its own would be exact."""

    def bound(self, batch):
        return -batch.video.flatten(1).double().sum(1)


class Drawn(Known):
    """Weighs draws: log-weights around 3, the first of them as given."""

    def log_weights(self, batch, samples, generator=None):
        return 3.0 + torch.randn(samples, len(batch), generator=generator, dtype=torch.float64)


def values(result):
    return {row.method: row for row in result.rows}


def test_rows_equal_a_plain_loop(dataset):
    rows = values(Elbo(pixel_variance=0.2, batch_size=7).run(Known(), dataset))
    assert list(rows) == ["elbo", "mean-image", "hold-last"]
    assert {row.metric for row in rows.values()} == {"log_likelihood_bound"}
    assert {str(row.condition) for row in rows.values()} == {"{'pixel variance': 0.2}"}
    assert [row.baseline for row in rows.values()] == [False, True, True]
    video = dataset.batch("test", range(20)).video / 255
    mean = (dataset.batch("train", range(64)).video / 255).mean((0, 1))
    scale = math.sqrt(0.2)
    assert rows["elbo"].value == pytest.approx(-255 * float(video.sum()) / 20)
    blurred = [float(Normal(mean, scale).log_prob(x).sum()) for x in video]
    assert rows["mean-image"].value == pytest.approx(sum(blurred) / 20)
    assert rows["mean-image"].standard_error == pytest.approx(float(torch.tensor(blurred).std()) / 20**0.5, rel=1e-3)
    held = [
        float(Normal(mean, scale).log_prob(x[0]).sum() + Normal(x[:-1], scale).log_prob(x[1:]).sum()) for x in video
    ]
    assert rows["hold-last"].value == pytest.approx(sum(held) / 20)
    assert rows["hold-last"].n == 20


def test_draws_give_the_mean_and_the_tighter_bound(dataset):
    rows = values(Elbo(samples=50).run(Drawn(), dataset))
    assert list(rows) == ["elbo", "iwae-50", "mean-image", "hold-last"]
    assert rows["elbo"].value == pytest.approx(3, abs=0.2)
    assert rows["iwae-50"].value == pytest.approx(3.5, abs=0.2)  # log E exp of a standard normal: 1/2
    again = values(Elbo(samples=50).run(Drawn(), dataset))
    assert again["iwae-50"].value == rows["iwae-50"].value
    one = values(Elbo(samples=1).run(Drawn(), dataset))
    assert one["elbo"].value == one["iwae-1"].value


def test_only_known_frames_count(tmp_path):
    video = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    length = torch.tensor([3, 1, 2, 3])
    fields = {"video": video.numpy(), "length": length.numpy()}
    write_arrays(tmp_path / "d", {"train": fields, "test": fields})
    dataset = Dataset(tmp_path / "d")
    rows = values(Elbo().run(Known(), dataset))
    known = torch.arange(3) < length[:, None]
    stored = dataset.batch("test", range(4)).video
    stored = stored[:, :, 0].float() / (255 if stored.dtype == torch.uint8 else 1)
    log_p = Normal(stored[known].mean(0), math.sqrt(0.1)).log_prob(stored).sum((2, 3))
    assert rows["mean-image"].value == pytest.approx(float(log_p[known].sum()) / 4, rel=1e-5)


@pytest.mark.parametrize("family", [DKFConfig, KVAEConfig])
def test_the_models_stay_below_the_limit_of_the_variance(dataset, family):
    torch.manual_seed(0)
    config = family(frame=(1, 8, 8), channels=(8,), hidden=8, likelihood="gaussian")
    rows = values(Elbo(samples=3, sequences=6).run(config.build().eval(), dataset))
    limit = -0.5 * 5 * 64 * math.log(2 * math.pi * 0.1)
    assert rows["elbo"].value <= rows["iwae-3"].value <= limit
    assert rows["elbo"].n == 6
    for changed, message in (({"likelihood": "bernoulli"}, "gaussian"), ({"pixel_variance": 0.2}, "0.1, got 0.2")):
        with pytest.raises(UserError, match=message):
            Elbo().run(replace(config, **changed).build(), dataset)


def test_questions_that_do_not_fit(dataset):
    with pytest.raises(UserError, match="BoundsLikelihood"):
        Elbo().run(SimpleNamespace(), dataset)
    for changed in ({"samples": 0}, {"pixel_variance": 0.0}):
        with pytest.raises(UserError, match=f"elbo.{next(iter(changed))}"):
            Elbo(**changed)
