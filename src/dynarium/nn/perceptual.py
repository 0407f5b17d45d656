"""LPIPS: the distance of two pictures in the features of a network that was trained on photographs (Zhang et al. 2018).

    d(x, y) = sum_l mean_{h, w} w_l . (f_l(x) / |f_l(x)| - f_l(y) / |f_l(y)|)^2        (eq. 1)

f_l are the activations of stage l of AlexNet or VGG-16, w_l a learned weight for each channel. Both sets of weights are the
user's own files: a state dict of torchvision's ``alexnet`` or ``vgg16``, and the linear heads of the package ``lpips`` (its
``weights/v0.1/alex.pth`` or ``vgg.pth``). Distances by different networks are different metrics.
"""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.nn.weight_files import fill, read_weights

Network = Literal["alex", "vgg"]

STAGES: dict[Network, tuple[int, ...]] = {"alex": (2, 5, 8, 10, 12), "vgg": (4, 9, 16, 23, 30)}
"""After how many layers of torchvision's ``features`` each stage ends."""
CHANNELS: dict[Network, tuple[int, ...]] = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
LEAST_SIDE: dict[Network, int] = {"alex": 32, "vgg": 16}
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Mean and standard deviation of the channels of photographs in [-1, 1]."""


def alexnet_features() -> nn.Sequential:
    """Return the convolutions of AlexNet, numbered as torchvision's, without the last pooling."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip


def vgg16_features() -> nn.Sequential:
    """Return the convolutions of VGG-16, numbered as torchvision's, without the last pooling."""
    layers: list[nn.Module] = []
    channels = 3
    for stage, (width, convolutions) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        layers += [nn.MaxPool2d(2, 2)] if stage else []
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)


class LPIPS(nn.Module):
    """The distance. Its state dict has the names of torchvision (``features.*``) and of lpips (``lin0.model.1.weight``, ...).

    Args:
        network: Whose features.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network: Network = network
        self.features = alexnet_features() if network == "alex" else vgg16_features()
        for k, channels in enumerate(CHANNELS[network]):
            head = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 1, 1, bias=False))
            self.add_module(f"lin{k}", nn.ModuleDict({"model": head}))
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None], persistent=False)

    def stages(self, frames: Float[Tensor, "m c h w"]) -> list[Tensor]:
        """Return the activations of every stage, of unit length at each place; grey frames in [0, 1] become coloured.

        Raises:
            UserError: Frames of neither one nor three channels, or too small for the network.
        """
        c, h, w = frames.shape[1:]
        if c not in (1, 3) or min(h, w) < LEAST_SIDE[self.network]:
            least = LEAST_SIDE[self.network]
            raise UserError(
                f"lpips: frames of 1 or 3 channels and at least {least}x{least} pixels wanted, got {c} of {h}x{w}"
            )
        x = (2 * frames.expand(-1, 3, -1, -1) - 1 - self.shift) / self.scale
        found = []
        for start, stop in pairwise((0, *STAGES[self.network])):
            x = self.features[start:stop](x)
            found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    def between(self, first: list[Tensor], second: list[Tensor]) -> Float[Tensor, " m"]:
        """Return the distances of frames of which the stages are known."""
        total = first[0].new_zeros(len(first[0]))
        for k, (x, y) in enumerate(zip(first, second, strict=True)):
            weight = self.get_parameter(f"lin{k}.model.1.weight")
            total = total + nn.functional.conv2d((x - y).square(), weight).mean((1, 2, 3))
        return total

    def forward(self, first: Float[Tensor, "m #c h w"], second: Float[Tensor, "m #c h w"]) -> Float[Tensor, " m"]:
        """Return the distances of frames in [0, 1]."""
        return self.between(self.stages(first), self.stages(second))


def load_lpips(network: Network, backbone: str | Path, heads: str | Path) -> LPIPS:
    """Return the distance with a user's weights, in eval mode.

    Args:
        network: Whose features.
        backbone: State dict of torchvision's network.
        heads: State dict of the linear heads.

    Raises:
        UserError: A file is missing, is no state dict, or belongs to another network.
    """
    module = LPIPS(network)
    weights = read_weights(backbone, "lpips_backbone")
    features = {key.removeprefix("features."): value for key, value in weights.items() if key.startswith("features.")}
    fill(module.features, features, backbone, "lpips_backbone")
    found = read_weights(heads, "lpips_heads")
    for k in range(len(CHANNELS[network])):
        prefix = f"lin{k}."
        part = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
        fill(module.get_submodule(f"lin{k}"), part, heads, f"lpips_heads.lin{k}")
    return module.eval().requires_grad_(False)
