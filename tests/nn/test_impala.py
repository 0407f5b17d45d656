import torch

from dynarium.nn.impala import Impala


def test_shape_size_and_norms():
    torch.manual_seed(0)
    model = Impala(width=2).build((2, 65, 65), 512)
    x = torch.randn(3, 2, 65, 65)
    z = model(x)
    assert z.shape == (3, 512)
    assert z.mean(1).abs().max() < 1e-5 and (z.var(1, unbiased=False) - 1).abs().max() < 1e-2
    # No frame knows of the others.
    torch.testing.assert_close(model(x[:1]), z[:1], rtol=1e-4, atol=1e-4)


def test_the_published_layers_without_norms():
    model = Impala(groups=0, layer_norm=False).build((3, 64, 64), 256)
    # Espeholt et al. 2018, figure 3: 3 stacks of 5 convolutions, then 256 units.
    convolutions = 3 * 16 * 9 + 16 + 4 * (16 * 16 * 9 + 16)
    convolutions += 16 * 32 * 9 + 32 + 4 * (32 * 32 * 9 + 32)
    convolutions += 32 * 32 * 9 + 32 + 4 * (32 * 32 * 9 + 32)
    assert sum(p.numel() for p in model.parameters()) == convolutions + (32 * 8 * 8 + 1) * 256
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 256)
