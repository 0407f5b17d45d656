import numpy as np
import pytest
import torch

from dynarium.data import OnlineSource
from dynarium.errors import UserError
from dynarium.systems import WORLDS
from dynarium.systems.excitation import Excitation
from dynarium.systems.identification import BlockOriented, RandomLti
from dynarium.systems.lti import LinearLaw, Modal

NAMES = ("random-lti", "wiener-hammerstein", "parallel-wiener-hammerstein", "hammerstein")


def simulate(world, n=32, steps=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return world.simulate(world.sample_parameters(n, generator), steps or world.steps, generator)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_standardised_and_nothing_is_drawn(name):
    world = WORLDS[name]()
    drawn = simulate(world)
    assert drawn.action.shape == drawn.observation.shape == (32, 500, 1)
    assert drawn.parameter.shape == (32, len(world.parameter_names))
    torch.testing.assert_close(drawn.observation.mean(1), torch.zeros(32, 1, dtype=torch.float64), atol=1e-6, rtol=0)
    # The guard against constant outputs, 1e-6, touches the rare system that barely answers.
    short = 1 - drawn.observation.std(1, correction=0)
    assert short.min() > -1e-9 and short.median() < 1e-4 and short.max() < 0.1
    assert world.render(drawn) is None


# What 4000 sequences of the authors' generators give: median and largest of max |y|, and where 99 % of them are.
@pytest.mark.parametrize(
    ("name", "median", "most", "largest"), [("random-lti", 3.1, None, 4.9), ("wiener-hammerstein", 2.6, 4.6, 7.7)]
)
def test_extremes_are_those_of_the_published_generators(name, median, most, largest):
    reach = simulate(WORLDS[name](), n=2000).observation.abs().amax((1, 2))
    assert abs(reach.median() - median) < 0.1  # rounded, and a median of 2000 has an error of its own
    assert most is None or abs(reach.quantile(0.99) - most) < 0.4
    assert 0.6 * largest < reach.max() < 1.4 * largest


def test_a_wiener_hammerstein_system_is_its_three_blocks():
    world = BlockOriented(standardise=False, burn_in=50)
    drawn = simulate(world, n=20, steps=100)
    whole = BlockOriented(standardise=False, burn_in=0)
    # With no burn-in the inputs are all there, so that the blocks can be followed by hand.
    drawn = simulate(whole, n=20, steps=150)
    p = drawn.parameter
    g1, w1, b1, w2, b2, g2 = p.split([21, 32, 32, 32, 1, 21], 1)
    x = Modal.unpacked(g1, 5, 1, 1).answer(drawn.action)
    x = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
    v = (x * w1[:, None] + b1[:, None]).tanh() @ w2[..., None] + b2[:, None]
    torch.testing.assert_close(Modal.unpacked(g2, 5, 1, 1).answer(v), drawn.observation, rtol=1e-4, atol=1e-4)
    assert abs(w1.std() - 5 / 3) < 0.2 and abs(w2.std() - 32**-0.5) < 0.02


def test_branches_are_parallel():
    world = BlockOriented(branches=3, standardise=False, burn_in=0)
    drawn = simulate(world, n=10)
    one = BlockOriented(standardise=False, burn_in=0)
    total = torch.zeros_like(drawn.observation)
    for part in drawn.parameter.chunk(3, 1):
        generator = torch.Generator().manual_seed(0)
        world.sample_parameters(10, generator)  # the inputs come after the systems
        branch = one.simulate(part, 500, generator)
        assert torch.equal(branch.action, drawn.action)
        total += branch.observation / branch.observation.std(1, correction=0, keepdim=True)
    torch.testing.assert_close(drawn.observation, total, rtol=1e-4, atol=1e-4)


def test_a_hammerstein_system_without_memory_is_a_function_of_its_input():
    drawn = simulate(WORLDS["hammerstein"](), n=4)
    assert len(WORLDS["hammerstein"]().parameter_names) == 97 + 21
    assert drawn.observation.isfinite().all()


def test_measurement_noise_has_its_size_and_process_noise_does_not_enter_the_input():
    clean, noisy = RandomLti(), RandomLti(measurement_noise_std=0.3)
    a, b = simulate(clean, n=64), simulate(noisy, n=64)
    assert torch.equal(a.action, b.action)
    assert abs((b.observation - a.observation).std() - 0.3) < 0.01
    c = simulate(RandomLti(process_noise_std=0.5), n=64)
    assert torch.equal(a.action, c.action) and (a.observation - c.observation).std() > 0.1


def test_one_system_for_all_sequences():
    drawn = simulate(RandomLti(system_seed=7), n=5)
    assert (drawn.parameter == drawn.parameter[:1]).all() and not torch.equal(drawn.action[0], drawn.action[1])
    assert not torch.equal(drawn.parameter[0], simulate(RandomLti(system_seed=8), n=1).parameter[0])


def test_several_inputs_and_outputs():
    world = RandomLti(inputs=2, outputs=3, law=LinearLaw(order=4), excitation=Excitation(kind="prbs"))
    drawn = simulate(world, n=6, steps=60)
    assert drawn.action.shape == (6, 60, 2) and drawn.observation.shape == (6, 60, 3)
    assert len(world.parameter_names) == drawn.parameter.shape[1]


def test_streams_differ_between_ranks_and_repeat_by_index():
    def batch(rank, epoch=0):
        source = OnlineSource(WORLDS["random-lti"](), batch_size=8, steps=50, seed=3, rank=rank, world_size=2)
        return next(source.batches(epoch)).observation.numpy()

    np.testing.assert_array_equal(batch(0), batch(0))
    assert not np.array_equal(batch(0), batch(1)) and not np.array_equal(batch(0), batch(0, 1))


@pytest.mark.parametrize("options", [{"burn_in": -1}, {"steps": 0}, {"measurement_noise_std": -0.1}])
def test_bad_options(options):
    for world in (RandomLti, BlockOriented):
        with pytest.raises(UserError, match=next(iter(options))):
            world(**options)
