"""Imports of the field's archives and exports back."""

import numpy as np
import pytest

from dynarium.cli import main
from dynarium.data import Dataset, export_dataset, import_file, write_arrays
from dynarium.errors import UserError

RANDOM = np.random.default_rng(0)
FRAMES = RANDOM.choice([0.0, 0.173, 0.904, 1.0], (20, 6, 8, 8)).astype(np.float32)
STATE = RANDOM.normal(size=(20, 6, 4)).astype(np.float32)


def test_images_state(tmp_path):
    np.savez(tmp_path / "box.npz", images=FRAMES, state=STATE)
    dataset = import_file(tmp_path / "box.npz", tmp_path / "out", split="test")
    read = dataset.read("test", range(20))
    assert read["video"].shape == (20, 6, 1, 8, 8)
    assert np.array_equal(read["video"][:, :, 0], np.rint(FRAMES * 255))
    assert np.array_equal(read["state"], STATE)
    binary = import_file(tmp_path / "box.npz", tmp_path / "binary", split="test", binarize=True, state_ahead=1)
    read = binary.read("test", range(20))
    assert np.array_equal(read["video"][:, :, 0] > 0, FRAMES[:, 1:] > 0)
    assert np.array_equal(read["state"], STATE[:, :-1])  # now frame t shows state t


@pytest.mark.parametrize("channels", [None, 3])
def test_image_state_label_folder(tmp_path, channels):
    frames = FRAMES if channels is None else np.repeat(FRAMES[:, :, None], channels, 2)
    (tmp_path / "in").mkdir()
    for split, part in (("train", slice(0, 12)), ("val", slice(12, 15)), ("test", slice(15, 20))):
        label = np.full((len(range(20)[part]), 1), 2, dtype=np.int64)
        np.savez(tmp_path / "in" / f"{split}.npz", image=frames[part].astype(float), state=STATE[part], label=label)
    dataset = import_file(tmp_path / "in", tmp_path / "out")
    assert dataset.schema.splits == {"train": 12, "val": 3, "test": 5}
    assert dataset.shapes["video"] == (6, channels or 1, 8, 8)
    assert (dataset.batch("train", range(12)).task == 2).all()


def test_random_split_is_a_partition(tmp_path):
    np.savez(tmp_path / "a.npz", images=FRAMES, state=STATE, controls=np.array(None))
    dataset = import_file(tmp_path / "a.npz", tmp_path / "out", fractions={"train": 0.5, "test": 0.5})
    both = np.concatenate([dataset.read(s, range(10))["state"] for s in ("train", "test")])
    assert sorted(both[:, 0, 0]) == sorted(STATE[:, 0, 0])
    with pytest.raises(UserError, match="shares that add up to 1"):
        import_file(tmp_path / "a.npz", tmp_path / "other", fractions={"train": 0.5})


@pytest.mark.parametrize("layout", ["npz", "npz-images", "npz-image-label", "hdf5"])
def test_export_and_back(tmp_path, layout):
    write_arrays(
        tmp_path / "d",
        {"train": {"video": FRAMES[:14], "state": STATE[:14]}, "test": {"video": FRAMES[14:], "state": STATE[14:]}},
    )
    files = export_dataset(tmp_path / "d", tmp_path / "out", layout)
    assert sorted(f.stem for f in files) == ["test", "train"]
    back = import_file(tmp_path / "out", tmp_path / "back")
    original = Dataset(tmp_path / "d")
    for split in ("train", "test"):
        a, b = (x.read(split, range(x.size(split))) for x in (original, back))
        assert np.array_equal(a["video"], b["video"])
        assert np.array_equal(a["state"], b["state"])
    with pytest.raises(UserError, match="exists already"):
        export_dataset(tmp_path / "d", tmp_path / "out", layout)


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((7, 8, 8), (1, 7, 1, 8, 8)),
        ((3, 8, 8), (1, 3, 1, 8, 8)),
        ((7, 8, 8, 3), (1, 7, 3, 8, 8)),
        ((7, 8, 8, 1), (1, 7, 1, 8, 8)),
        ((7, 8, 8, 4), (1, 7, 4, 8, 8)),
        ((7, 3, 8, 8), (1, 7, 3, 8, 8)),
        ((7, 1, 8, 8), (1, 7, 1, 8, 8)),
        ((7, 4, 8, 8), (7, 4, 1, 8, 8)),
        ((7, 6, 8, 8), (7, 6, 1, 8, 8)),
        ((7, 3, 1, 8, 8), (7, 3, 1, 8, 8)),
        ((7, 3, 8, 8, 3), (7, 3, 3, 8, 8)),
    ],
)
def test_a_single_npy_is_one_video_or_sequences(tmp_path, shape, wanted):
    array = RANDOM.integers(0, 256, shape, np.uint8)
    np.save(tmp_path / "film.npy", array)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "test.npy", array)
    for name, options in (("film.npy", {"split": "test"}), ("in", {})):
        dataset = import_file(tmp_path / name, tmp_path / f"{name}-out", **options)
        video = dataset.read("test", range(wanted[0]))["video"]
        assert video.shape == wanted
        last = len(shape) > 3 and shape[-1] <= 4
        assert np.array_equal((np.moveaxis(video, 2, -1) if last else video).ravel(), array.ravel())


def test_words_are_no_field(tmp_path):
    np.savez(tmp_path / "a.npz", images=FRAMES, actions=["left"] * 20, label=["a"] * 20)
    assert import_file(tmp_path / "a.npz", tmp_path / "out", split="test").shapes.keys() == {"video"}
    np.savez(tmp_path / "b.npz", images=["a"] * 20)
    with pytest.raises(UserError, match=r"expected an array of numbers named like video.*; it holds \['images'\]"):
        import_file(tmp_path / "b.npz", tmp_path / "other")


def test_truncated_archives_are_damaged(tmp_path, capsys):
    file = tmp_path / "a.npz"
    np.savez_compressed(file, images=FRAMES, state=STATE)
    whole = file.read_bytes()
    holed = whole[:200] + bytes(50) + whole[250:]
    np.save(tmp_path / "b.npy", FRAMES)
    single = (tmp_path / "b.npy").read_bytes()
    (tmp_path / "b.npy").unlink()
    for damaged in (b"", single, whole[:100], whole[: len(whole) // 2], whole[:-30], holed):
        file.write_bytes(damaged)
        assert main(["data", "import", str(file), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert "a.npz: damaged or not a .npz file" in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == [file]


def test_damaged_and_foreign_files(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(UserError, match=r"a\.npz: damaged"):
        import_file(tmp_path / "a.npz", tmp_path / "out")
    with pytest.raises(UserError, match="no such file"):
        import_file(tmp_path / "b.npz", tmp_path / "out")
    (tmp_path / "c.mp4").write_bytes(b"")
    with pytest.raises(UserError, match="expected one of .npz"):
        import_file(tmp_path / "c.mp4", tmp_path / "out")
    np.savez(tmp_path / "d.npz", weights=np.zeros(3))
    with pytest.raises(UserError, match="it holds \\['weights'\\]"):
        import_file(tmp_path / "d.npz", tmp_path / "out")
    with pytest.raises(UserError, match=r"expected train\.npz"):
        import_file(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"images": FRAMES[:9], "state": STATE}, {}, "as many sequences in every array.*'video': 9, 'state': 20"),
        ({"images": FRAMES, "label": np.zeros(9)}, {}, "as many sequences in every array"),
        ({"images": np.array(3), "state": np.array(1)}, {}, "a single number"),
        ({"images": FRAMES[:0], "state": STATE[:0]}, {}, "at least one"),
        ({"images": np.array([FRAMES[0], None], dtype=object), "state": STATE}, {}, "'images' is an array of objects"),
        ({"images": FRAMES, "state": STATE}, {"state_ahead": 6}, "state_ahead: expected fewer steps"),
        ({"images": FRAMES, "state": STATE}, {"state_ahead": -1}, "state_ahead: expected 0 or more"),
    ],
)
def test_arrays_that_do_not_belong_together(tmp_path, arrays, options, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=message):
        import_file(tmp_path / "a.npz", tmp_path / "out", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
