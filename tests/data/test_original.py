"""The original layout, written and read as the training codes of the field read it."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch

from dynarium.data import export_dataset, import_file, make_dataset, write_arrays
from dynarium.errors import UserError
from dynarium.systems.multitask import MultiTask
from worlds import Drift, Flat

SIZES = {"train": 21, "val": 6, "test": 9}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    world = MultiTask(worlds=(Drift(), Flat(), Drift(speed=2.0)))
    return make_dataset(world, tmp_path_factory.mktemp("original") / "d", sizes=SIZES)


def old_loader(folder, name, version, numbers, split):
    """What the loaders of the field do: read every task's file, cast, keep two state dimensions, stack the tasks."""
    images, labels, states = None, None, None
    for number in numbers:
        npzfile = np.load(f"{folder}/{name}/{version}{number}/{split}.npz")
        if images is None:
            images, labels, states = [], [], []
        images.append(torch.from_numpy(npzfile["image"].astype(np.float32)))
        labels.append(torch.from_numpy(npzfile["label"].astype(np.int16)))
        states.append(torch.from_numpy(npzfile["state"].astype(np.float32)[:, :, :2]))
        assert "control" not in npzfile
    images, labels = torch.vstack(images), torch.vstack(labels)
    _number, _steps, _height, _width = images.shape  # the encoders need exactly these four
    label_idx = {label: torch.where(labels == label)[0].numpy() for label in torch.unique(labels).tolist()}
    return images, labels, states, label_idx


@pytest.mark.parametrize("split", list(SIZES))
def test_the_old_loaders_read_it(tasks, tmp_path, split):
    files = export_dataset(tasks.directory, tmp_path / "data" / "mp", "original", alias="mixed_")
    assert len(files) == 9
    images, labels, states, label_idx = old_loader(tmp_path / "data", "mp", "mixed_", range(3), split)
    n = SIZES[split] // 3
    assert images.shape == (3 * n, 6, 8, 8)
    assert labels.dtype == torch.int16
    assert labels[:, 0].tolist() == [0] * n + [1] * n + [2] * n
    assert {label: len(index) for label, index in label_idx.items()} == {0: n, 1: n, 2: n}
    stored = tasks.read(split, range(SIZES[split]))
    for task in range(3):
        mine = stored["task"] == task
        assert np.array_equal(
            images[task * n : (task + 1) * n].numpy(), stored["video"][mine, :, 0].astype(np.float32) / 255
        )
        assert np.array_equal(states[task], stored["state"][mine][..., : 1 if task == 1 else 2])
    with np.load(tmp_path / "data" / "mp" / "dataset_0" / f"{split}.npz") as archive:
        assert {k: v.dtype.name for k, v in archive.items()} == {
            "image": "float64",
            "state": "float32",
            "label": "int64",
        }
        assert set(np.unique(archive["image"])) == {0.0, 1.0}


def test_aliases_are_relative_links(tasks, tmp_path):
    export_dataset(tasks.directory, tmp_path / "a", "original", alias="grav_")
    assert os.readlink(tmp_path / "a" / "grav_2") == "dataset_2"
    (tmp_path / "a").rename(tmp_path / "b")
    assert np.load(tmp_path / "b" / "grav_2" / "test.npz")["label"].tolist() == [[2]] * 3
    export_dataset(tasks.directory, tmp_path / "b", "original", alias="grav_", force=True)
    with pytest.raises(UserError, match="exists already; --force replaces it"):
        export_dataset(tasks.directory, tmp_path / "b", "original")


def test_aliases_are_copies_where_links_cannot_be_made(tasks, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no links here")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    export_dataset(tasks.directory, tmp_path / "a", "original", alias="grav_")
    assert not (tmp_path / "a" / "grav_2").is_symlink()
    assert np.load(tmp_path / "a" / "grav_2" / "test.npz")["label"].tolist() == [[2]] * 3


def test_a_coloured_task_keeps_its_channels_and_a_grey_one_is_grey(tmp_path):
    world = MultiTask(worlds=(Drift(), Flat(channels=3)))
    made = make_dataset(world, tmp_path / "d", sizes={"train": 6})
    assert made.shapes["video"] == (6, 3, 8, 8)
    export_dataset(made.directory, tmp_path / "out", "original")
    shapes = [np.load(tmp_path / "out" / f"dataset_{i}" / "train.npz")["image"].shape for i in range(2)]
    assert shapes == [(3, 6, 8, 8), (3, 6, 3, 8, 8)]
    back = import_file(tmp_path / "out", tmp_path / "back")
    assert_same(made, back)


def assert_same(a, b):
    assert a.schema.splits == b.schema.splits
    for split in a.schema.splits:
        one, two = (x.read(split, range(x.size(split)), fields=["video", "state", "task"]) for x in (a, b))
        for name in one:
            assert np.array_equal(one[name], two[name].reshape(one[name].shape)), name


def test_the_way_back(tasks, tmp_path):
    """The import deals the tasks out in turn again; links to the same folders are not read twice."""
    export_dataset(tasks.directory, tmp_path / "out", "original", alias="mixed_")
    assert_same(tasks, import_file(tmp_path / "out", tmp_path / "back"))


def test_folders_count_in_natural_order_and_labels_do_not(tmp_path):
    """The originals list folders as the disk does, and all label their sequences 0."""
    for i in range(12):
        (tmp_path / "in" / f"grav_{i}").mkdir(parents=True)
        image = np.full((2, 3, 4, 4), i / 255)
        np.savez(
            tmp_path / "in" / f"grav_{i}" / "train.npz", image=image, state=np.zeros((2, 3, 4)), label=np.zeros((2, 1))
        )
    batch = import_file(tmp_path / "in", tmp_path / "out").batch("train", range(24))
    assert batch.task.tolist() == [*range(12), *range(12)]
    assert torch.equal(batch.video[:, 0, 0, 0, 0].long(), batch.task)


def test_a_single_task(tmp_path):
    made = make_dataset(Drift(), tmp_path / "d", sizes=SIZES)
    files = export_dataset(made.directory, tmp_path / "out", "original")
    assert [file.name for file in files] == ["train.npz", "val.npz", "test.npz"]
    with np.load(tmp_path / "out" / "val.npz") as archive:
        assert archive["image"].shape == (6, 6, 8, 8)
        assert archive["label"].tolist() == [[0]] * 6
    with pytest.raises(UserError, match="alias: only folders of tasks"):
        export_dataset(made.directory, tmp_path / "other", "original", alias="grav_")


def test_actions_are_the_loaders_control(tmp_path):
    action = np.random.default_rng(0).normal(size=(5, 4, 2)).astype(np.float32)
    write_arrays(tmp_path / "d", {"train": {"video": np.zeros((5, 4, 2, 2), np.uint8), "action": action}})
    export_dataset(tmp_path / "d", tmp_path / "out", "original")
    with np.load(tmp_path / "out" / "train.npz") as archive:
        assert set(archive) == {"image", "control", "label"}
        assert np.array_equal(archive["control"], action)


def test_memory_does_not_grow_with_the_set(tmp_path):
    """A file of floating point frames is larger than what its writing needs."""
    video = np.zeros((1500, 10, 16, 16), dtype=np.uint8)
    write_arrays(tmp_path / "d", {"train": {"video": video}})
    tracemalloc.start()
    (file,) = export_dataset(tmp_path / "d", tmp_path / "out", "original")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert file.stat().st_size > 8 * video.size
    assert peak < file.stat().st_size / 5


def test_a_full_disk_leaves_no_half_file(tasks, tmp_path):
    """A limit on the size of a file stands in for the end of the disk."""
    script = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        f"from dynarium.cli import main; main(['data', 'export', {str(tasks.directory)!r},"
        f" '--out', {str(tmp_path / 'out')!r}, '--layout', 'original'])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=100)
    assert done.stderr.count("\n") == 1, done.stderr
    assert "File too large" in done.stderr
    assert done.stderr.endswith("dataset_0/train.npz\n")
    assert list((tmp_path / "out").glob("*/*")) == []


def test_folders_that_make_no_set(tmp_path):
    def task(name, split="train", side=4, steps=3):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        np.savez(tmp_path / name / f"{split}.npz", image=np.zeros((2, steps, side, side)))

    task("a/dataset_0")
    task("a/grav_0")
    with pytest.raises(UserError, match="folders of one set of tasks, got dataset_<number>, grav_<number>"):
        import_file(tmp_path / "a", tmp_path / "out")
    task("b/dataset_0")
    task("b/dataset_1", split="test")
    with pytest.raises(UserError, match="dataset_1: expected the splits train as for the other tasks, got test"):
        import_file(tmp_path / "b", tmp_path / "out")
    task("c/dataset_0")
    task("c/dataset_1", steps=5)
    with pytest.raises(UserError, match=r"expected 'video' of one shape for every task, got \[\(3, 1, 4, 4\), \(5, 1"):
        import_file(tmp_path / "c", tmp_path / "out")
    (tmp_path / "d" / "dataset_0").mkdir(parents=True)
    with pytest.raises(UserError, match="in this folder, or in dataset_0, dataset_1"):
        import_file(tmp_path / "d", tmp_path / "out")
