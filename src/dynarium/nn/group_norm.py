"""Group normalisation of frames that are stored as runs of channels."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

AT_ONCE = 2**18
"""Values that are worked on at a time, so that they stay in the second cache."""


class GroupNorm(nn.Module):
    """Group normalisation (Wu & He 2018, arXiv:1803.08494), with the parameters of ``torch.nn.GroupNorm``.

    On CPUs PyTorch's backward pass reads ``channels_last`` memory group by group, which takes five times as long as whole
    rows do; here it goes through it a few frames at a time, in float32 whatever the frames are kept in.
    """

    def __init__(self, groups: int, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.groups, self.epsilon = groups, epsilon
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the frames with zero mean and unit variance over each group of channels, times gain, plus shift."""
        if x.device.type != "cpu":
            return F.group_norm(x, self.groups, self.weight, self.bias, self.epsilon)
        y = _Normalised.apply(_rows(x), self.weight, self.bias, self.groups, self.epsilon)
        return y.unflatten(2, (x.shape[3], x.shape[1])).permute(0, 3, 1, 2)  # pyright: ignore[reportAttributeAccessIssue]


class _Normalised(torch.autograd.Function):
    """On rows [b, h, w c]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, groups: int, epsilon: float) -> Tensor:
        n, c = x[0].numel() // groups, len(gain)
        out, centre, scale = torch.empty_like(x), [], []
        for part in _parts(x):
            values = x[part].to(gain.dtype)
            mean = _grouped(_of_channels(values, c), groups) / n
            values = values - _along(mean, values, c)
            inverse = (_grouped(_of_channels(values * values, c), groups) / n + epsilon).rsqrt()
            out[part] = torch.addcmul(_along(shift, values, c), values, _along(inverse * gain, values, c))
            centre.append(mean)
            scale.append(inverse)
        ctx.save_for_backward(x, gain, torch.cat(centre), torch.cat(scale))
        ctx.groups = groups
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, gain, mean, inverse = ctx.saved_tensors
        n, c = x[0].numel() // ctx.groups, len(gain)
        out, to_gain, to_shift = torch.empty_like(x), torch.zeros_like(gain), torch.zeros_like(gain)
        for part in _parts(x):
            given, values = gradients[0][part].to(gain.dtype), x[part].to(gain.dtype)
            values = (values - _along(mean[part], values, c)).mul_(_along(inverse[part], values, c))
            along, across = _of_channels(given * values, c), _of_channels(given, c)
            to_gain += along.sum(0)
            to_shift += across.sum(0)
            # d x = inverse (gain d y - mean(gain d y) - value mean(gain d y value)), the means over each group
            along, across = (_grouped(gain * total, ctx.groups) * inverse[part] / n for total in (along, across))
            values.mul_(_along(along, values, c)).add_(_along(across, values, c))
            torch.sub(given * _along(gain * inverse[part], given, c), values, out=values)
            out[part] = values
        return out, to_gain, to_shift, None, None


def _rows(x: Tensor) -> Tensor:
    """Return [b, h, w c]; a view of ``channels_last`` memory."""
    return x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).flatten(2)


def _parts(x: Tensor) -> Iterator[slice]:
    size = max(1, AT_ONCE // x[0].numel())
    return (slice(k, k + size) for k in range(0, len(x), size))


def _of_channels(rows: Tensor, c: int) -> Tensor:
    """Return the sum [b, c] over all pixels."""
    return rows.sum(1).unflatten(1, (-1, c)).sum(1)


def _grouped(x: Tensor, groups: int) -> Tensor:
    """Return the sum over each group, at each of its channels [b, c]."""
    parts = x.unflatten(1, (groups, -1))
    return parts.sum(2, keepdim=True).expand_as(parts).flatten(1)


def _along(x: Tensor, rows: Tensor, c: int) -> Tensor:
    """Repeat numbers of channels [b, c] or [c] along a row [b, 1, w c]."""
    return x.expand(len(rows), c)[:, None].expand(-1, rows.shape[2] // c, -1).reshape(len(rows), 1, -1)
