import pytest
import torch

from dynarium import config
from dynarium.errors import UserError
from dynarium.models.jepa import JEPAConfig
from dynarium.nn.encoders import DQN, LeNet5, Perceptron, Pixels, ResNet18
from dynarium.nn.impala import Impala
from dynarium.nn.menet import MeNet

ALL = (MeNet(), Impala(), ResNet18(width=8), DQN(), LeNet5(), Perceptron())


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_sizes_are_the_published_ones():
    # He et al. 2016: 11,689,512 parameters with 1000 classes of 3-channel pictures.
    assert count(ResNet18().build((3, 224, 224), 1000)) == 11_689_512
    # LeCun et al. 1998 on 32x32; here every map of the second layer sees all of the first.
    maps = 6 * 25 + 6 + 16 * 6 * 25 + 16
    assert count(LeNet5().build((1, 32, 32), 10)) == maps + 401 * 120 + 121 * 84 + 85 * 10
    assert count(Perceptron(hidden=()).build((1, 28, 28), 5)) == 785 * 5


@pytest.mark.parametrize("encoder", ALL, ids=lambda e: type(e).__name__)
def test_every_encoder_makes_a_model_and_survives_its_file(encoder):
    torch.manual_seed(0)
    experiment = JEPAConfig(frame=(2, 33, 29), embedding=6, encoder=encoder)
    assert config.from_dict(config.to_dict(experiment)) == experiment
    z = experiment.build().embed(torch.rand(3, 4, 2, 33, 29))
    assert z.shape == (3, 4, 6)
    assert z.flatten(0, 1).std(0).min() > 0


def test_a_residual_block_begins_as_the_identity():
    torch.manual_seed(0)
    model = ResNet18(width=4).build((1, 32, 32), 3).eval()
    block, x = model[4], torch.rand(2, 4, 8, 8)
    torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize("encoder", [DQN(), LeNet5()])
def test_small_frames(encoder):
    with pytest.raises(UserError, match=r"wants frames of at least 1\dx1\d, got 9x40"):
        encoder.build((1, 9, 40), 3)
    side = 18 if isinstance(encoder, DQN) else 16
    assert encoder.build((1, side, side), 3)(torch.rand(2, 1, side, side)).shape == (2, 3)
    with pytest.raises(UserError):
        encoder.build((1, side - 1, side), 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MeNet(width=0), "width: expected at least 1, got 0"),
        (lambda: ResNet18(width=0), "width: expected at least 1"),
        (lambda: DQN(channels=(8, 0, 8)), "channels: expected at least 1"),
        (lambda: Perceptron(hidden=(8, 0)), "hidden: expected at least 1"),
        (lambda: Impala(channels=()), "channels: expected at least 1"),
        (lambda: Impala(width=0), "width: expected at least 1"),
        (lambda: Impala(groups=3), r"groups: expected 0 or a divisor of all of \(16, 32, 32\), got 3"),
        (lambda: Impala(groups=-1), "groups: expected 0 or"),
    ],
)
def test_options_out_of_range_are_named(make, words):
    with pytest.raises(UserError, match=rf"model\.encoder\.{words}"):
        make()


def test_the_pixels_themselves():
    x = torch.rand(3, 2, 5, 4)
    assert torch.equal(Pixels().build((2, 5, 4), 40)(x), x.flatten(1))
    with pytest.raises(UserError, match=r"model\.embedding: with the encoder Pixels, expected the 40 numbers .* got 8"):
        Pixels().build((2, 5, 4), 8)
