"""SVG': what its convolutional LSTMs do; the rest is SVG's (test_svg.py)."""

from dataclasses import replace

import pytest
import torch

from dynarium.errors import UserError
from dynarium.models import MODELS
from dynarium.models.capabilities import Encodes, Forecasts, Model, Reconstructs
from dynarium.models.svg_prime import SVGPrimeConfig
from videos import bars, losses_of, random_video, roughened, seeded

SMALL = SVGPrimeConfig(frame=(1, 32, 32), width=3, embedding=4, latent=2, hidden=5, context=2)


def model_of(**options):
    torch.manual_seed(0)
    return roughened(replace(SMALL, **options).build())


@pytest.mark.parametrize("options", [{}, {"prior": "fixed", "last_frame_skip": True}, {"prior": "none"}])
def test_capabilities(options):
    model, batch = model_of(**options), random_video()
    for wanted in (Model, Encodes, Reconstructs, Forecasts):
        assert isinstance(model, wanted)
    loss, _ = model.loss(batch, 0)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    model.eval()
    assert model.encode(batch)["h"].shape == (3, 5, 4 * 4 * 4)
    assert model.reconstruct(batch).shape == batch.video.shape
    frames = model.forecast(batch, 2, samples=2, generator=seeded())
    assert frames.shape == (2, 3, 2, 1, 32, 32)
    assert torch.equal(frames[0], frames[1]) is (options.get("prior") == "none")
    assert torch.equal(frames, model.forecast(batch, 2, samples=2, generator=seeded()))


def test_hidden_frames_cannot_matter():
    model, batch = model_of().eval(), random_video()
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[:, 2:4] = False
    other = torch.where(mask[..., None, None, None], batch.video, 255 - batch.video)
    for ask in (lambda b: model.forecast(b, 2, samples=2, generator=seeded()), lambda b: model.loss(b, 0)[0]):
        seen = ask(replace(batch, mask=mask))
        assert torch.equal(seen, ask(replace(batch, video=other, mask=mask)))
        assert not torch.equal(seen, ask(batch))


def test_actions_and_the_loss():
    model, batch = model_of(actions="embedded", control=2, action_width=3).eval(), random_video(control=2)
    later = torch.randn(3, 2, 2)
    one, other = (model.forecast(batch, 2, action=a) for a in (later, later + 1))
    assert torch.equal(one[:, :, 0], other[:, :, 0]) and not torch.equal(one[:, :, 1], other[:, :, 1])
    torch.manual_seed(0)
    losses = losses_of(replace(SMALL, width=4).build(), bars(), 25, lr=1e-2)
    assert losses[-1] < 0.4 * losses[0]


def test_options():
    assert MODELS["svg-prime"]().fitted({"video": (5, 3, 48, 40)}).frame == (3, 48, 40)
    with pytest.raises(UserError, match="multiples of 8"):
        replace(SMALL, frame=(1, 36, 32))
    with pytest.raises(UserError, match="model.context of at least 2"):
        replace(SMALL, context=1, skips="paper")
    with pytest.raises(UserError, match="needs the field 'action'"):
        replace(SMALL, actions="raw").build()
