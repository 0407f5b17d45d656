import torch

from dynarium.systems.ball import bouncing_ball


def sequences(world, n=64, steps=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return world.simulate(world.sample_parameters(n, generator), steps or world.steps, generator)


def test_the_ball_stays_in_the_box_and_keeps_its_energy():
    trajectory = sequences(bouncing_ball(), steps=100)
    position, velocity = trajectory.state.split(2, -1)
    energy = velocity.square().sum(-1)
    assert position.min() >= 5 and position.max() <= 27
    torch.testing.assert_close(energy, energy[:, :1].expand_as(energy), rtol=1e-12, atol=0)
