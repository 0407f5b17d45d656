"""Convolutional LSTMs: on one pixel an LSTM, and calls that may be cut anywhere."""

import torch

from dynarium.nn.conv_lstm import ConvLSTM, GaussianConvLSTM, PredictorConvLSTM


def test_a_convolutional_lstm_on_one_pixel_is_an_lstm():
    """Around a single pixel there is nothing: only the middles of the kernels matter."""
    ours, theirs = ConvLSTM(3, 4, 1), torch.nn.LSTM(3, 4, batch_first=True)
    order = torch.cat([torch.arange(k * 4, k * 4 + 4) for k in (0, 1, 3, 2)])  # theirs: input, forget, cell, output
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(ours.from_input[0].weight[:, :, 1, 1][order])
        theirs.weight_hh_l0.copy_(ours.from_state[0].weight[:, :, 1, 1][order])
        theirs.bias_ih_l0.copy_(ours.from_input[0].bias[order])
        theirs.bias_hh_l0.zero_()
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(ours(x[..., None, None])[0][..., 0, 0], theirs(x)[0])


def test_a_sequence_may_be_cut_anywhere():
    network, x = ConvLSTM(2, 3, 2), torch.randn(2, 6, 2, 4, 4)
    whole, _ = network(x)
    first, state = network(x[:, :4])
    rest, _ = network(x[:, 4:], state)
    torch.testing.assert_close(whole, torch.cat([first, rest], 1))


def test_numbers_beside_the_maps_hold_everywhere():
    """With kernels that see only the middle, equal maps give equal outputs at every place, and further numbers matter."""
    torch.manual_seed(0)
    network = PredictorConvLSTM((2, 3, 3), 1, 4, 1)
    for conv in (network.maps.lstm.from_input[0], network.maps.lstm.from_state[0]):
        with torch.no_grad():
            conv.weight *= torch.zeros(3, 3).index_put_((torch.tensor(1), torch.tensor(1)), torch.tensor(1.0))
    x = torch.cat([torch.ones(1, 2, 18), torch.randn(1, 2, 1)], -1)
    found, _ = network(x)
    found = found.unflatten(-1, (2, 9))
    torch.testing.assert_close(found, found[..., :1].expand_as(found))
    x[..., -1] += 1
    assert not torch.allclose(network(x)[0].unflatten(-1, (2, 9)), found)
    mean, log_variance, _ = GaussianConvLSTM((2, 3, 3), 1, 5, 4, 2)(x)
    assert mean.shape == log_variance.shape == (1, 2, 5)
