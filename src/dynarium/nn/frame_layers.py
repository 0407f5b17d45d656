"""Convolution, batch normalisation and leaky ReLU of video frames: many steps in one call, each step a batch of its own.

Frames are laid out step after step, [(t b) c h w]. The convolution does not care which step a frame is of and takes all
at once; the normalisation uses the mean and variance of the b frames of each step, as a network that is called frame by
frame would. Where frames of several steps read the same skip connection, its share of the convolution is computed once.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dynarium.nn.group_norm import GroupNorm
from dynarium.nn.matrix_conv import SMALL, doubling_conv, halving_conv, whole_conv, whole_transposed

BatchStatistics = Literal["running", "batch"]
"""What batch normalisation uses outside of training: running averages of training, or the mean and variance of the batch."""

Statistics = Literal["running", "batch", "frame"]
"""Batch normalisation as above, or group normalisation, by the mean and variance of each frame, in training as well."""

GROUPS = 8
"""Groups of channels of the group normalisation; fewer where the channels are no multiple of them."""

Kind = Literal["conv", "transposed", "doubled"]


class StepNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) of each step by itself, then a leaky ReLU of this slope.

    After every call in training the running averages move by ``momentum`` towards the means over the steps of their means
    and unbiased variances.
    """

    def __init__(
        self,
        channels: int,
        slope: float,
        statistics: BatchStatistics = "running",
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.slope, self.momentum, self.eps = slope, momentum, eps
        self.statistics: BatchStatistics = statistics
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean = nn.Buffer(torch.zeros(channels))
        self.running_var = nn.Buffer(torch.ones(channels))

    @property
    def by_batch(self) -> bool:
        """Whether the batch's own statistics are in force."""
        return self.training or self.statistics == "batch"

    def affine(self) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
        """Return factor and offset that the running averages amount to."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        shared: Float[Tensor, "e c h w"] | None,
        sources: Sequence[int],
        kept: int = 0,
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "k c h w"]]:
        """Return the normalised sum of x and, of each step k, part ``sources[k]`` of ``shared``. Overwrites x.

        The frames of the first ``kept`` steps are returned a second time by themselves.
        """
        out, head, mean, inverse = _NormalisedSteps.apply(
            x, shared, self.weight, self.bias, sources, kept, self.eps, self.slope
        )
        if self.training:
            with torch.no_grad():
                n = x[:, 0].numel() // len(sources)
                variance = (inverse.pow(-2) - self.eps) * (n / max(1, n - 1))
                self.running_mean.lerp_(mean.mean(0).to(self.running_mean.dtype), self.momentum)
                self.running_var.lerp_(variance.mean(0).to(self.running_var.dtype), self.momentum)
        return out, head


class _NormalisedSteps(torch.autograd.Function):
    """One pass over the frames of each step, which then lie in the cache: add the skip's share, normalise, leaky ReLU.

    The frames that skip connections read come out apart, so that their gradient joins in the same pass; the gradient of a
    slice would be written, as large as the whole, and added.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shared: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        sources: Sequence[int],
        kept: int,
        eps: float,
        slope: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        b = len(x) // len(sources)
        x = x.contiguous(memory_format=torch.channels_last)
        out = torch.empty_like(x)
        mean, inverse = (weight.new_empty(len(sources), len(weight)) for _ in range(2))
        for k, source in enumerate(sources):
            part, normalised = x[k * b : (k + 1) * b], out[k * b : (k + 1) * b]
            if shared is not None:
                part.add_(shared[source * b : (source + 1) * b])
            torch.native_batch_norm(
                part, weight, bias, None, None, True, 0.0, eps, out=(normalised, mean[k], inverse[k])
            )
            F.leaky_relu_(normalised, slope)
        head = out.new_empty(0).set_(out.untyped_storage(), 0, (kept * b, *out.shape[1:]), out.stride())
        ctx.save_for_backward(x, out, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, inverse)
        ctx.set_materialize_grads(False)
        ctx.sources, ctx.kept, ctx.eps, ctx.slope = sources, kept, eps, slope
        ctx.parts = None if shared is None else len(shared)
        return out, head, mean, inverse

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        x, out, weight, mean, inverse = ctx.saved_tensors
        gradient, of_head = (
            None if g is None else g.contiguous(memory_format=torch.channels_last) for g in gradients[:2]
        )
        b, to_shared = len(x) // len(ctx.sources), None
        to_x, to_weight, to_bias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
        if ctx.parts is not None:
            shape = (ctx.parts, *x.shape[2:], x.shape[1])
            to_shared = torch.zeros(shape, dtype=weight.dtype, device=x.device).permute(0, 3, 1, 2)
        for k, source in enumerate(ctx.sources):
            step = slice(k * b, (k + 1) * b)
            terms = [] if gradient is None else [gradient[step]]
            terms += [of_head[step]] if of_head is not None and k < ctx.kept else []
            if not terms:
                to_x[step] = 0
                continue
            g = torch.ops.aten.leaky_relu_backward(sum(terms[1:], terms[0]), out[step], ctx.slope, True)
            g, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
                g, x[step], weight, None, None, mean[k], inverse[k], True, ctx.eps, [True, True, True]
            )
            to_x[step] = g
            to_weight += of_weight
            to_bias += of_bias
            if to_shared is not None:
                to_shared[source * b : (source + 1) * b] += g
        to_shared = None if to_shared is None else to_shared.to(x.dtype)
        return to_x, to_shared, to_weight, to_bias, None, None, None, None


class FrameLayer(nn.Module):
    """A convolution of frames, and of skip connections beside them, with normalisation and leaky ReLU.

    Args:
        inputs: Channels of the frames.
        outputs: Channels that come out.
        kernel: Side of the kernel.
        stride: Stride of the convolution.
        padding: Zeros at each border.
        kind: ``conv``; ``transposed``: transposed convolution; ``doubled``: the frames are first enlarged twice by
            repeating pixels, the skips are as large as the result.
        output_padding: Of the transposed convolution.
        skips: Channels of the skip connections; the kernel has them after those of the frames.
        slope: Of the leaky ReLU; 1 for none.
        normalised: False: nothing follows the convolution.
        statistics: See ``Statistics``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        *,
        kind: Kind = "conv",
        output_padding: int = 0,
        skips: int = 0,
        slope: float = 0.2,
        normalised: bool = True,
        statistics: Statistics = "running",
    ) -> None:
        super().__init__()
        self.kind: Kind = kind
        self.inputs, self.slope = inputs, slope
        if kind == "transposed":
            self.conv = nn.ConvTranspose2d(inputs + skips, outputs, kernel, stride, padding, output_padding)
        else:
            self.conv = nn.Conv2d(inputs + skips, outputs, kernel, stride, padding)
        self.norm = None
        if normalised:
            groups = math.gcd(outputs, GROUPS)
            self.norm = GroupNorm(groups, outputs) if statistics == "frame" else StepNorm(outputs, slope, statistics)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        sources: Sequence[int],
        skip: Float[Tensor, "e s i j"] | None = None,
    ) -> Float[Tensor, "b d p q"]:
        """Return the layer's output for the frames of ``len(sources)`` steps; step k reads part ``sources[k]`` of the skips."""
        return self.kept(x, sources, 0, skip)[0]

    def kept(
        self,
        x: Float[Tensor, "b c h w"],
        sources: Sequence[int],
        steps: int,
        skip: Float[Tensor, "e s i j"] | None = None,
    ) -> tuple[Float[Tensor, "b d p q"], Float[Tensor, "k d p q"]]:
        """Return the layer's output, and once more that for the first ``steps`` steps, which skip connections are to read."""
        weight, bias, norm = self.conv.weight, self.conv.bias, self.norm
        assert bias is not None
        out, into = (1, 0) if self.kind == "transposed" else (0, 1)
        if isinstance(norm, StepNorm) and not norm.by_batch:
            # What is linear and constant is part of the kernel.
            scale, offset = norm.affine()
            weight = weight * scale.view([-1 if axis == out else 1 for axis in range(4)])
            bias = bias * scale + offset
        shared = None
        if skip is None:
            y = self._convolved(x, weight, bias, self.kind)
        else:
            own, rest = weight.split([self.inputs, skip.shape[1]], into)
            y = self._convolved(x, own, bias, self.kind)
            shared = self._convolved(skip, rest, None, "conv" if self.kind == "doubled" else self.kind)
        if isinstance(norm, StepNorm) and norm.by_batch:
            return norm(y, shared, sources, steps)
        b = len(x) // len(sources)
        if shared is not None:
            parts = shared.unflatten(0, (-1, b))
            parts = parts if len(parts) == 1 else parts[list(sources)]
            y = y.unflatten(0, (len(sources), b)).add_(parts).flatten(0, 1)
        y = norm(y) if isinstance(norm, GroupNorm) else y
        y = y if norm is None else F.leaky_relu_(y, self.slope)
        return y, y[: steps * b]

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None, kind: Kind) -> Tensor:
        conv = self.conv
        if x.device.type == "cpu" and kind != "doubled":
            y = _as_product(x, weight, kind, conv)
            if y is not None:
                return y if bias is None else y + bias.to(y.dtype)[:, None, None]
        if kind == "conv":
            return F.conv2d(x, weight, bias, conv.stride, conv.padding)  # pyright: ignore[reportArgumentType]
        if kind == "transposed":
            return F.conv_transpose2d(x, weight, bias, conv.stride, conv.padding, conv.output_padding)  # pyright: ignore[reportArgumentType]
        return F.conv_transpose2d(x, doubled_kernel(weight), bias, 2, 1)


def _as_product(x: Tensor, weight: Tensor, kind: Kind, conv: nn.Conv2d | nn.ConvTranspose2d) -> Tensor | None:
    """Return the convolution without bias as a product of matrices, where that is faster on a CPU; else ``None``."""
    grid, kernel = tuple(x.shape[2:]), tuple(weight.shape[2:])
    if conv.padding == (0, 0) and conv.output_padding == (0, 0):
        if kind == "conv" and grid == kernel:
            return whole_conv(x, weight)
        if kind == "transposed" and grid == (1, 1):
            return whole_transposed(x, weight)
    if kernel == (4, 4) and conv.stride == (2, 2) and conv.padding == (1, 1) and conv.output_padding == (0, 0):
        if kind == "conv" and max(grid) <= 2 * SMALL and not any(side % 2 for side in grid):
            return halving_conv(x, weight)
        if kind == "transposed" and max(grid) <= SMALL:
            return doubling_conv(x, weight)
    return None


def doubled_kernel(weight: Float[Tensor, "o i 3 3"]) -> Float[Tensor, "i o 4 4"]:
    """Return the transposed 4x4 kernel of stride 2 that equals enlarging twice and then convolving with a 3x3 kernel.

    Tap m of the transposed kernel is the sum of the taps 2 - m and 3 - m: where two taps fall on the same small pixel they
    are added first, which saves 5 of 9 multiplications.
    """
    fold = weight.new_tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
    return torch.einsum("mk,nl,oikl->iomn", fold, fold, weight)


def in_order(sources: int) -> list[int]:
    """Return the sources of steps that have nothing shared: each its own."""
    return list(range(sources))
