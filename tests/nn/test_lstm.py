"""The LSTMs: published sizes, and calls that may be cut anywhere."""

import pytest
import torch

from dynarium.nn.lstm import GaussianLSTM, PredictorLSTM, expanded


@pytest.mark.parametrize(
    ("network", "arguments", "size"),
    [
        (PredictorLSTM, (138, 128, 256, 2), 1_121_152),
        (PredictorLSTM, (142, 128, 256, 2), 1_122_176),
        (PredictorLSTM, (170, 128, 256, 2), 1_129_344),
        (PredictorLSTM, (192, 128, 256, 2), 1_134_976),
        (PredictorLSTM, (152, 128, 256, 2), 1_124_736),
        (GaussianLSTM, (128, 10, 256, 1), 564_500),
        (GaussianLSTM, (132, 10, 256, 1), 565_524),
        (GaussianLSTM, (160, 10, 256, 1), 572_692),
        (GaussianLSTM, (128, 64, 256, 1), 592_256),
        (GaussianLSTM, (128, 24, 256, 1), 571_696),
    ],
)
def test_sizes_of_the_recurrent_parts(network, arguments, size):
    with torch.device("meta"):
        assert sum(p.numel() for p in network(*arguments).parameters()) == size


def test_a_sequence_may_be_cut_anywhere():
    torch.manual_seed(0)
    for network in (PredictorLSTM(4, 3, 5, 2), GaussianLSTM(4, 3, 5, 2)):
        x = torch.randn(2, 6, 4)
        *whole, _ = network(x)
        *first, state = network(x[:, :4])
        *rest, _ = network(x[:, 4:], state)
        for y, a, b in zip(whole, first, rest, strict=True):
            torch.testing.assert_close(y, torch.cat([a, b], 1))
        # Two samples go on beside each other.
        *both, _ = network(x[:, 4:].repeat(2, 1, 1), expanded(state, 2))
        torch.testing.assert_close(both[0], rest[0].repeat(2, 1, 1))
