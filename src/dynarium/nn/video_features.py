"""Vectors that stand for whole videos: random convolutions, which need no weights, and I3D, which a user has as a file."""

import warnings
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.nn.weight_files import file_hash

I3D_SIDE = 224
I3D_LEAST_STEPS = 9
"""Fewer frames do not survive the network's strides in time."""


class RandomVideoFeatures(nn.Module):
    """Features of a spatio-temporal convolutional network whose weights were drawn once and never trained.

    Three convolutions of 3 x 3 x 3 see the frames and their changes, halve height and width, and from the second on time
    too; the features are the means of the last stage's channels over space and time, and their deviations over time. A
    Frechet distance on them sees blur, noise, wrong places and wrong motion, but weighs them by no perception: it is not the
    FVD, and only distances by the same ``seed`` and frames of the same shape may be compared. The weights are drawn by the
    CPU's generator, so they are the same on every machine.

    Args:
        channels: Channels of a frame.
        seed: Seed of the weights.
        width: Channels of the last stage; there are twice as many features.
    """

    def __init__(self, channels: int, seed: int = 0, width: int = 32) -> None:
        super().__init__()
        self.drawn = {"network": "random 3-D convolutions", "seed": seed, "width": width}
        generator = torch.Generator().manual_seed(seed)
        sizes = (2 * channels, 16, width, width)
        strides = ((1, 2, 2), (2, 2, 2), (2, 2, 2))
        layers: list[nn.Module] = []
        for inputs, outputs, stride in zip(sizes[:-1], sizes[1:], strides, strict=True):
            layer = nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)
            drawn = torch.randn(layer.weight.shape, generator=generator) * (2 / (27 * inputs)) ** 0.5
            layer.weight = nn.Parameter(drawn, requires_grad=False)
            layers += [layer, nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    @torch.no_grad()
    def forward(self, video: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        """Return the features of videos in [0, 1]."""
        change = nn.functional.pad(video.diff(dim=1), (0, 0, 0, 0, 0, 0, 1, 0))
        x = self.layers(torch.cat([2 * video - 1, 4 * change], 2).transpose(1, 2)).mean((3, 4))
        return torch.cat([x.mean(2), x.std(2, correction=0)], 1)


class I3D:
    """Features of a user's I3D, a TorchScript file that maps [b, 3, t, 224, 224] in [-1, 1] to [b, d].

    The network of Carreira & Zisserman (2017), trained on Kinetics-400, gives the FVD of Unterthiner et al. (2018). A script
    with the arguments ``rescale``, ``resize`` and ``return_features``, as the one in wide use has, is told that both has
    been done and asked for its features.

    Args:
        path: The file. TorchScript runs: use only one that you trust.
        device: Where it runs.

    Raises:
        UserError: There is no such file, or it holds no TorchScript.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu") -> None:
        self.path, self.hash = path, file_hash(path, "fvd_network")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TorchScript is going out of use, the published files are not
                self.script = torch.jit.load(str(Path(path).expanduser()), map_location=device).eval()
        except (RuntimeError, ValueError, EOFError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(f"fvd_network: expected a TorchScript file, got {path} ({reason})") from None
        names = {argument.name for argument in self.script.forward.schema.arguments}
        wanted = {"rescale": False, "resize": False, "return_features": True}
        self.options = {name: value for name, value in wanted.items() if name in names}

    @torch.no_grad()
    def __call__(self, video: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        """Return the features of videos in [0, 1]; grey ones become coloured, all are resized to 224 x 224, bilinearly.

        Raises:
            UserError: Too few frames, neither one nor three channels, or the network fails on them.
        """
        b, t, c = video.shape[:3]
        if t < I3D_LEAST_STEPS or c not in (1, 3):
            raise UserError(
                f"fvd: at least {I3D_LEAST_STEPS} frames of 1 or 3 channels wanted, got {t} of {c} channels"
            )
        frames = video.flatten(0, 1).expand(-1, 3, -1, -1)
        frames = nn.functional.interpolate(frames, (I3D_SIDE, I3D_SIDE), mode="bilinear", align_corners=False)
        x = (2 * frames - 1).unflatten(0, (b, t)).transpose(1, 2).contiguous()
        try:
            found = self.script(x, **self.options)
        except RuntimeError as error:
            raise UserError(
                f"fvd_network: {self.path} fails on a video of shape {tuple(x.shape)} ({str(error).strip().splitlines()[-1]})"
            ) from None
        if not isinstance(found, Tensor) or found.shape[0] != b:
            raise UserError(f"fvd_network: expected features [{b}, d] from {self.path}, got {type(found).__name__}")
        return found.flatten(1).float()
