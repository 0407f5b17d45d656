import numpy as np
import pytest
from PIL import Image

from dynarium.data.generate import make_block
from dynarium.errors import UserError
from dynarium.systems.dots import MovingDots
from dynarium.systems.noise import Noise
from dynarium.systems.pictures import MADE, pictures


def greys(part, source, side=8):
    """Return the grey of each picture of one colour."""
    found = pictures(str(source), side, part, "cpu")
    assert (found == found[:, :1, :1]).all()
    return found[:, 0, 0].tolist()


def test_made_pictures_of_the_two_parts_differ():
    train, test = (pictures("structured", 28, part, "cpu") for part in ("train", "test"))
    rows = [{bytes(picture[28].tolist()) for picture in part} for part in (train, test)]
    assert train.shape == (MADE, 56, 56) and len(rows[0]) > 0.99 * MADE and not rows[0] & rows[1]


def test_a_folder_is_read_grey_cut_shrunk_and_dealt_out(tmp_path):
    (tmp_path / "in").mkdir()
    for grey in range(0, 250, 10):
        wide = 12 if grey % 20 else 40  # the larger ones are shrunk to 16, then cut to 12
        folder = tmp_path / ("in" if grey % 30 else ".")
        Image.new("RGB", (wide, wide + 7), (grey,) * 3).save(folder / f"{grey}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    train, test = greys("train", tmp_path), greys("test", tmp_path)
    assert sorted(train + test) == list(range(0, 250, 10)) and len(test) == 5
    assert pictures(str(tmp_path), 8, "train", "cpu").shape == (20, 12, 12)


@pytest.mark.parametrize("shape", ["grey", "last", "first", "float"])
def test_an_array_file_is_read(tmp_path, shape):
    array = np.arange(10, dtype=np.uint8)[:, None, None].repeat(9, 1).repeat(9, 2) * 20
    array = {
        "grey": array,
        "float": array / 255,
        "last": array[..., None].repeat(3, 3),
        "first": array[:, None].repeat(3, 1),
    }[shape]
    np.savez(tmp_path / "a.npz", images=array, labels=np.zeros(3))
    assert sorted(greys("train", tmp_path / "a.npz") + greys("test", tmp_path / "a.npz")) == list(range(0, 200, 20))


def test_a_stored_dataset_shows_training_pictures_in_its_training_split_only(tmp_path):
    array = np.arange(10, dtype=np.uint8)[:, None, None].repeat(28, 1).repeat(28, 2) * 25
    np.save(tmp_path / "a.npy", array)
    world = MovingDots(noise=Noise(fixed=1.0, source=str(tmp_path / "a.npy")), steps=1)
    seen = {}
    for split in ("train", "test"):
        corner = make_block(world, 0, split, 0, 1)["video"][:, 0, 0]
        darkest = corner.reshape(256, -1).min(1) / (255 * world.gain) / 0.0942 * 255
        seen[split] = {round(value / 25) for value in darkest}
    assert len(seen["train"]) == 8 and len(seen["test"]) == 2 and not seen["train"] & seen["test"]


def test_what_is_wrong_with_pictures_is_said(tmp_path):
    def message(source):
        with pytest.raises(UserError) as caught:
            pictures(str(source), 28, "train", "cpu")
        return str(caught.value)

    assert "has 0 pictures; training and test need at least one each" in message(tmp_path)
    for i in range(3):
        Image.new("L", (20, 30)).save(tmp_path / f"{i}.png")
    assert "has a picture of 20 px; frames of 28 px need at least as many" in message(tmp_path)
    (tmp_path / "0.png").write_text("no picture")
    assert "0.png is not a picture" in message(tmp_path)
    np.save(tmp_path / "flat.npy", np.zeros((5, 30)))
    assert "expected [n, h, w], with 3 colours or none, got shape (5, 30)" in message(tmp_path / "flat.npy")
    np.save(tmp_path / "large.npy", np.full((5, 30, 30), 7.0))
    assert "expected bytes or floating point in [0, 1], got float64" in message(tmp_path / "large.npy")
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    assert "expected one array or one called 'images', has a, b" in message(tmp_path / "two.npz")
    np.savez(tmp_path / "none.npz")
    assert "expected one array or one called 'images', has none" in message(tmp_path / "none.npz")
    (tmp_path / "broken.npz").write_text("no array")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "objects.npz", images=np.array([None, "picture"], dtype=object))
    whole = (tmp_path / "two.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("broken", "empty", "objects", "cut"):
        assert f"{name}.npz cannot be read" in message(tmp_path / f"{name}.npz")
    np.savez(tmp_path / "one.npz", np.zeros((5, 30, 30), np.uint8))
    whole = (tmp_path / "one.npz").read_bytes()
    (tmp_path / "one.npz").write_bytes(whole.replace(bytes(64), bytes(range(64)), 1))
    assert "one.npz cannot be read (Bad CRC-32" in message(tmp_path / "one.npz")
