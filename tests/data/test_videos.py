"""Folders of frames, GIFs, .npy files and KTH, on small files in exactly these layouts."""

import numpy as np
import pytest
from PIL import Image

from dynarium.cli import main
from dynarium.data import import_file
from dynarium.errors import UserError

RANDOM = np.random.default_rng(0)


def save_frames(folder, frames, name="image-{:03d}.png"):
    folder.mkdir(parents=True)
    for t, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(folder / name.format(t))


def noise(t, h=8, w=8, channels=None):
    return RANDOM.integers(0, 256, (t, h, w) if channels is None else (t, h, w, channels), np.uint8)


def make_kth(root, persons, length=12, suffix="_8x8"):
    films = {}
    for person in persons:
        for activity in ("boxing", "running"):
            name = f"person{person:02d}_{activity}_d1"
            films[name] = noise(length)
            grey = np.repeat(films[name][..., None], 3, -1)
            save_frames(root / activity / name, grey, f"image-{{:03d}}{suffix}.png")
    return films


@pytest.mark.parametrize("suffix", ["_8x8", ""])
def test_kth_is_split_by_person_and_cut_into_clips(tmp_path, suffix):
    films = make_kth(tmp_path / "processed", (1, 20, 21), suffix=suffix)
    dataset = import_file(tmp_path / "processed", tmp_path / "out", clip=5)
    assert dataset.schema.splits == {"train": 8, "test": 4}
    assert dataset.shapes["video"] == (5, 1, 8, 8)
    read = dataset.read("test", range(4))
    assert read["person"].tolist() == [21] * 4 and read["activity"].tolist() == [0, 0, 4, 4]
    for i, activity in ((0, "boxing"), (2, "running")):
        film = films[f"person21_{activity}_d1"]
        assert np.array_equal(read["video"][i, :, 0], film[:5])
        assert np.array_equal(read["video"][i + 1, :, 0], film[5:10])


def test_frames_that_are_there_in_two_sizes_are_read_in_one(tmp_path):
    folder = tmp_path / "processed" / "boxing" / "person01_boxing_d1"
    small, large = noise(6), noise(6, 16, 16)
    save_frames(folder, small, "image-{:03d}_8x8.png")
    for t, frame in enumerate(large, 1):
        Image.fromarray(frame).save(folder / f"image-{t:03d}_16x16.png")
    for size, film in ((8, small), (16, large)):
        dataset = import_file(tmp_path / "processed", tmp_path / f"out{size}", clip=3, size=size)
        assert np.array_equal(dataset.read("train", [0, 1])["video"].reshape(film.shape), film)
    for size in (None, 12):
        with pytest.raises(UserError, match="boxing_d1: expected frames of one size, got 8 x 8 and 16 x 16 px"):
            import_file(tmp_path / "processed", tmp_path / "out", clip=3, size=size)


def test_kth_twice_beside_each_other_is_refused(tmp_path):
    for size in (8, 16):
        make_kth(tmp_path / "kth" / f"processed_{size}", (1, 21), suffix=f"_{size}x{size}")
    twice = "person01_boxing_d1: expected it once, got processed_8/boxing/person01_boxing_d1 and processed_16/boxing/person01"
    with pytest.raises(UserError, match=twice):
        import_file(tmp_path / "kth", tmp_path / "out", clip=5)
    assert not list(tmp_path.glob("out*"))
    assert import_file(tmp_path / "kth" / "processed_8", tmp_path / "out", clip=5).schema.splits == {
        "train": 4,
        "test": 4,
    }


def test_the_list_of_kth_says_where_somebody_is_to_be_seen(tmp_path):
    films = make_kth(tmp_path / "processed", (3,))
    (tmp_path / "00sequences.txt").write_text(
        "There are 6 actions\n\nperson03_boxing_d1\t\tframes\t2-6, 9-12\nperson03_running_d1\tframes\t1-3\n"
    )
    dataset = import_file(tmp_path / "processed", tmp_path / "out", clip=4)
    read = dataset.read("train", range(dataset.size("train")))["video"][:, :, 0]
    film = films["person03_boxing_d1"]
    assert np.array_equal(read, np.stack([film[1:5], film[8:12]]))


def test_frames_are_in_natural_order_and_splits_are_folders(tmp_path):
    films = {f"{split}/clip{i}": noise(11, channels=3) for split in ("train", "test") for i in (2, 10)}
    for name, film in films.items():
        save_frames(tmp_path / "in" / name, film, "{}.png")
    dataset = import_file(tmp_path / "in", tmp_path / "out")
    assert dataset.schema.splits == {"train": 2, "test": 2}
    read = dataset.read("train", [0, 1])
    assert "length" not in read
    for i, name in enumerate(("train/clip2", "train/clip10")):
        assert np.array_equal(read["video"][i], np.moveaxis(films[name], -1, 1))


def test_the_converted_folders_of_bair(tmp_path):
    film = noise(3, channels=3)
    for k in (1, 2):
        save_frames(tmp_path / "processed_data" / "train" / "traj_0_to_255" / str(k), film + k, "{}.png")
    dataset = import_file(tmp_path / "processed_data", tmp_path / "out")
    assert np.array_equal(dataset.read("train", [1])["video"][0], np.moveaxis(film + 2, -1, 1))


def test_shorter_videos_are_padded_and_dealt_out_whole(tmp_path):
    for i in range(10):
        np.save(tmp_path / f"{i}.npy", noise(4 + i))
    folder = tmp_path / "in"
    folder.mkdir()
    for file in list(tmp_path.glob("*.npy")):
        file.rename(folder / file.name)
    dataset = import_file(folder, tmp_path / "out")
    assert dataset.schema.splits == {"train": 8, "val": 1, "test": 1} and dataset.steps == 13
    lengths = np.concatenate([dataset.read(s, range(n))["length"] for s, n in dataset.schema.splits.items()])
    assert sorted(lengths) == list(range(4, 14))
    read = dataset.read("train", range(8))
    for video, n in zip(read["video"], read["length"], strict=True):
        assert (video[n:] == video[n - 1]).all()
        assert np.array_equal(video[:n, 0], np.load(folder / f"{n - 4}.npy"))
    clips = import_file(folder, tmp_path / "clips", clip=4, split="test")
    assert clips.schema.splits == {"test": sum((4 + i) // 4 for i in range(10))} and "length" not in clips.shapes


def test_gifs_alone_and_in_folders(tmp_path):
    film = np.zeros((5, 16, 16), np.uint8)
    film[range(5), range(5), 3] = 255
    pictures = [Image.fromarray(frame) for frame in film]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=40)
    read = import_file(tmp_path / "a.gif", tmp_path / "one", split="test").read("test", [0])["video"]
    assert np.array_equal(read[0, :, 0], film)
    (tmp_path / "in").mkdir()
    (tmp_path / "a.gif").rename(tmp_path / "in" / "a.gif")
    colours = import_file(tmp_path / "in", tmp_path / "out", split="train", channels=3, size=32, clip=2)
    assert colours.schema.splits == {"train": 2} and colours.shapes["video"] == (2, 3, 32, 32)


def test_the_published_test_files_of_moving_mnist(tmp_path):
    video = RANDOM.integers(0, 256, (7, 5, 16, 16), np.uint8)
    latents = RANDOM.normal(size=(7, 5, 2, 4))
    labels = RANDOM.integers(0, 10, (5, 2), np.uint8)
    np.savez(tmp_path / "smmnist.npz", sequences=video, latents=latents, labels=labels, digits=np.zeros((5, 2, 28, 28)))
    dataset = import_file(tmp_path / "smmnist.npz", tmp_path / "a", split="test")
    read = dataset.read("test", range(5))
    assert np.array_equal(read["video"][:, :, 0], video.swapaxes(0, 1))
    assert np.allclose(read["state"][3, 2], latents[2, 3].ravel()) and np.array_equal(read["digit"], labels)
    np.save(tmp_path / "mnist_test_seq.npy", video)
    dataset = import_file(tmp_path / "mnist_test_seq.npy", tmp_path / "b", split="test", time_first=True)
    assert np.array_equal(dataset.read("test", range(5))["video"], read["video"])


@pytest.mark.parametrize("word", [int, str, "person{}".format])
def test_the_published_test_file_of_kth(tmp_path, word):
    persons = [word(person) for person in (21, 22, 25, 21)]
    sequences, actions = noise(4 * 5).reshape(4, 5, 8, 8), ["boxing", "walking", "handwaving", "jogging"]
    file = tmp_path / "svg_test_set_40.npz"
    np.savez_compressed(file, sequences=sequences, persons=persons, actions=actions)
    dataset = import_file(file, tmp_path / "out", split="test")
    read = dataset.read("test", range(4))
    assert read.keys() == {"video", "person", "activity"} and np.array_equal(read["video"][:, :, 0], sequences)
    assert read["person"].tolist() == [21, 22, 25, 21] and read["activity"].tolist() == [0, 5, 2, 3]
    make_kth(tmp_path / "processed", (21,))
    frames = import_file(tmp_path / "processed", tmp_path / "frames", clip=5)
    assert {k: v for k, v in frames.schema.fields.items() if k != "video"}.keys() == {"person", "activity"}
    assert all(frames.read("test", [0])[name].dtype == read[name].dtype for name in ("person", "activity"))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_npy_videos_keep_one_to_four_channels_on_either_axis(tmp_path, channels):
    film = noise(3, channels=channels)
    for name, array in (("last", film), ("first", np.moveaxis(film, 3, 1))):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", array)
        read = import_file(tmp_path / name, tmp_path / f"{name}-out", split="test").read("test", [0])["video"]
        assert np.array_equal(read[0], np.moveaxis(film, 3, 1))


def test_a_fourth_channel_is_no_opacity_and_is_not_dropped(tmp_path):
    film = noise(3, channels=4)
    film[..., 3] = 0
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", film)
    np.save(tmp_path / "in" / "b.npy", film)
    np.save(tmp_path / "three.npy", film[..., :3])
    small = import_file(tmp_path / "in", tmp_path / "out", split="test", size=4).read("test", [0])["video"][0]
    wanted = [Image.fromarray(frame).resize((4, 4), Image.Resampling.BILINEAR) for frame in film[..., :3]]
    assert np.array_equal(np.moveaxis(small[:, :3], 1, 3), np.stack(wanted)) and not small[:, 3].any()
    with pytest.raises(UserError, match=r"a\.npy: expected 3 channels, got 4"):
        import_file(tmp_path / "in", tmp_path / "other", split="test", channels=3)
    (tmp_path / "three.npy").rename(tmp_path / "in" / "b.npy")
    with pytest.raises(UserError, match=r"b\.npy: expected 4 channels, got 3"):
        import_file(tmp_path / "in", tmp_path / "other", split="test")


def test_grey_of_16_bits_and_floating_point_is_scaled_to_8_bits(tmp_path):
    film = noise(3)
    deep = film.astype(np.uint16) * 257 + np.array([-100, 0, 100])[:, None, None]  # rounds back to the same bytes
    deep = deep.clip(0, 65535).astype(np.uint16)
    save_frames(tmp_path / "png" / "a", deep)
    save_frames(tmp_path / "tif" / "a", deep, "{}.tif")
    save_frames(tmp_path / "float" / "a", (film / 255).astype(np.float32), "{}.tif")
    for name in ("png", "tif", "float"):
        video = import_file(tmp_path / name, tmp_path / f"{name}-out", split="test").read("test", [0])["video"]
        assert np.array_equal(video[0, :, 0], film), name
    for name, frames in (("bright", film.astype(np.float32)), ("whole", film.astype(np.int32))):
        save_frames(tmp_path / name / "a", frames, "{}.tif")
        with pytest.raises(UserError, match=r"1\.tif: expected 8 or 16 bits, or floating point in \[0, 1\], got"):
            import_file(tmp_path / name, tmp_path / "out", split="test")


def test_damaged_and_empty_videos_are_named_in_one_line(tmp_path, capsys):
    pictures = [Image.fromarray(frame) for frame in noise(6, 32, 32)]
    (tmp_path / "gif").mkdir()
    pictures[0].save(tmp_path / "gif" / "a.gif", save_all=True, append_images=pictures[1:])
    data = (tmp_path / "gif" / "a.gif").read_bytes()
    (tmp_path / "gif" / "a.gif").write_bytes(data[: len(data) * 2 // 3])
    for dtype in (np.uint8, np.float32):
        (tmp_path / dtype.__name__).mkdir()
        np.save(tmp_path / dtype.__name__ / "a.npy", np.zeros((0, 8, 8), dtype))
        np.save(tmp_path / f"{dtype.__name__}.npy", np.zeros((0, 8, 8), dtype))
    for name, message in (
        ("gif", "a.gif is not a picture, or not whole ("),
        ("gif/a.gif", "a.gif is not a picture, or not whole ("),
        ("uint8", "uint8/a.npy: expected at least one frame"),
        ("float32", "float32/a.npy: expected at least one frame"),
        ("uint8.npy", "uint8.npy: expected at least one step, got {'video': 0}"),
        ("float32.npy", "float32.npy: expected at least one step, got {'video': 0}"),
    ):
        assert main(["data", "import", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("option", [{"size": 0}, {"size": -5}, {"clip": 0}, {"clip": -1}])
def test_sizes_and_clips_below_one_are_refused(tmp_path, option):
    make_kth(tmp_path / "kth", (1,))
    np.save(tmp_path / "one.npy", noise(4))
    (name,) = option
    with pytest.raises(UserError, match=rf"^{name}: expected at least 1 (frame|pixel), got"):
        import_file(tmp_path / "kth", tmp_path / "out", **option)
    with pytest.raises(UserError, match=rf"^{name}: expected at least 1 (frame|pixel), got"):
        import_file(tmp_path / "one.npy", tmp_path / "out", **option)


def test_a_single_npy_is_cut_and_resized_if_it_is_one_video(tmp_path):
    film = noise(7)
    np.save(tmp_path / "one.npy", film)
    video = import_file(tmp_path / "one.npy", tmp_path / "cut", split="test", clip=3).read("test", range(2))["video"]
    assert np.array_equal(video.ravel(), film[:6].ravel())
    assert import_file(tmp_path / "one.npy", tmp_path / "small", split="test", size=4).shapes["video"] == (7, 1, 4, 4)
    np.save(tmp_path / "many.npy", np.stack([film, film]))
    with pytest.raises(UserError, match="clip, size and channels are for .* of one video each"):
        import_file(tmp_path / "many.npy", tmp_path / "out", clip=2)


def test_what_cannot_be_read_is_named(tmp_path):
    folder = tmp_path / "boxing"
    folder.mkdir()
    (folder / "train_meta64x64.t7").touch()
    with pytest.raises(UserError, match=r"\.t7 files are Torch7's, which is dead; give the folder of frames"):
        import_file(folder, tmp_path / "out")
    with pytest.raises(UserError, match="Torch7's, which is dead"):
        import_file(folder / "train_meta64x64.t7", tmp_path / "out")
    save_frames(tmp_path / "in" / "a", noise(3))
    save_frames(tmp_path / "in" / "b", noise(4, 8, 10))
    with pytest.raises(UserError, match="b: expected frames of 8 x 8 px as in a, got 10 x 8; a size"):
        import_file(tmp_path / "in", tmp_path / "out", split="train")
    assert import_file(tmp_path / "in", tmp_path / "resized", split="train", size=8).shapes["video"] == (4, 1, 8, 8)
    with pytest.raises(UserError, match="clip: expected at most the 4 frames of the longest video, got 5"):
        import_file(tmp_path / "in", tmp_path / "out", clip=5)
    (tmp_path / "in" / "a" / "image-001.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="image-001.png is not a picture, or not whole"):
        import_file(tmp_path / "in", tmp_path / "out", split="train", size=8)
    with pytest.raises(UserError, match="binarize, state_ahead and time_first are for arrays"):
        import_file(tmp_path / "in", tmp_path / "out", binarize=True)
    np.savez(tmp_path / "one.npz", video=noise(4))
    with pytest.raises(UserError, match="clip, size and channels are for folders"):
        import_file(tmp_path / "one.npz", tmp_path / "out", clip=2)
