"""Pictures for the backgrounds of worlds: made, or a user's own from a folder or an array file."""

import functools
import math
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dynarium.errors import UserError
from dynarium.rendering.textures import textures

Part = Literal["train", "test"]

MADE = 2048
"""Pictures of each part where they are made."""
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_TRAIN = 0.8


@functools.lru_cache(maxsize=8)
def pictures(source: str, side: int, part: Part, device: str) -> UInt8[Tensor, "m s s"]:
    """Return grey pictures of at least ``side`` x ``side`` pixels; those of the two parts are different ones.

    Args:
        source: ``structured`` for made pictures of twice the side. Else a folder, with its subfolders, or a ``.npz`` or
            ``.npy`` with [n, h, w], [n, h, w, 3] or [n, 3, h, w], bytes or floating point in [0, 1]. Large ones are shrunk
            until twice ``side`` fits, and all are cut in the middle to squares of one size.
        side: Side of the frames that crops of them will cover.
        part: ``train`` for 80 % of a user's pictures, whatever their order; ``test`` for the others.
        device: Where they are held.

    Raises:
        UserError: There is no such file, no picture in it, too few or too small ones.
    """
    if source == "structured":
        return textures(MADE, 2 * side, seed=0 if part == "train" else 1).to(device)
    path = Path(source).expanduser()
    if path.is_dir():
        found = [_squares(np.asarray(_opened(file)), 2 * side) for file in _files(path)]
    elif path.suffix in (".npz", ".npy") and path.is_file():
        found = [_squares(picture, 2 * side) for picture in _array(path)]
    else:
        raise UserError(
            f"noise.source: expected 'uniform', 'structured', a folder or an .npz or .npy file, got {source!r}"
        )
    if len(found) < 2:
        raise UserError(f"noise.source: {path} has {len(found)} pictures; training and test need at least one each")
    smallest = min(len(picture) for picture in found)
    if smallest < side:
        raise UserError(
            f"noise.source: {path} has a picture of {smallest} px; frames of {side} px need at least as many"
        )
    order = np.random.default_rng(0).permutation(len(found))
    cut = min(max(1, math.floor(_TRAIN * len(found))), len(found) - 1)
    mine = order[:cut] if part == "train" else order[cut:]
    return torch.from_numpy(np.stack([_middle(found[i], smallest) for i in sorted(mine)])).to(device)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES)


def _opened(file: Path) -> Image.Image:
    try:
        with Image.open(file) as picture:
            return picture.convert("L")
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"noise.source: {file} is not a picture ({error})") from None


def _array(path: Path) -> UInt8[np.ndarray, "n h w"]:
    """Read an array of pictures and make it grey bytes."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                names = list(loaded)
                if len(names) != 1 and "images" not in names:
                    has = ", ".join(names) or "none"
                    raise UserError(f"noise.source: {path} expected one array or one called 'images', has {has}")
                loaded = loaded["images" if "images" in names else names[0]]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"noise.source: {path} cannot be read ({error})") from None
    array = loaded
    if array.ndim == 4 and 3 in (array.shape[1], array.shape[3]):
        colours = array if array.shape[3] == 3 else np.moveaxis(array, 1, 3)
        array = colours @ np.array([0.299, 0.587, 0.114])
    if array.ndim != 3:
        raise UserError(f"noise.source: {path} expected [n, h, w], with 3 colours or none, got shape {loaded.shape}")
    top = 255 if loaded.dtype == np.uint8 else 1
    if not (np.isfinite(array).all() and array.min(initial=0) >= 0 and array.max(initial=0) <= top + 1e-3):
        raise UserError(f"noise.source: {path} expected bytes or floating point in [0, 1], got {loaded.dtype}")
    return np.rint(array * (255 / top)).astype(np.uint8)


def _squares(picture: UInt8[np.ndarray, "h w"], largest: int) -> UInt8[np.ndarray, "s s"]:
    """Cut the middle out of a picture, and shrink it if that is more than ``largest`` pixels."""
    square = _middle(picture, min(picture.shape))
    if len(square) <= largest:
        return square
    return np.asarray(Image.fromarray(square).resize((largest, largest), Image.Resampling.BOX))


def _middle(picture: UInt8[np.ndarray, "h w"], size: int) -> UInt8[np.ndarray, "s s"]:
    top, left = ((length - size) // 2 for length in picture.shape)
    return np.ascontiguousarray(picture[top : top + size, left : left + size])
