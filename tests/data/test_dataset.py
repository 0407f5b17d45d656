"""Reading, sources, own arrays, verification."""

import json

import numpy as np
import pytest
import torch

from dynarium.data import Dataset, OnlineSource, StoredSource, make_dataset, verify, write_arrays
from dynarium.data.writer import atomic_write
from dynarium.errors import UserError
from dynarium.systems.multitask import MultiTask
from worlds import Drift


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    return make_dataset(Drift(), tmp_path_factory.mktemp("data") / "d", sizes={"train": 700, "val": 20}, shard_size=256)


def test_gather_equals_plain_indexing(sharded):
    whole = sharded.read("train", range(700))
    index = np.array([699, 0, 255, 256, 256, 511, 512])
    starts = np.array([0, 1, 2, 3, 0, 1, 2])
    read = sharded.read("train", index, start=starts, steps=3)
    for i, (k, s) in enumerate(zip(index, starts, strict=True)):
        assert np.array_equal(read["video"][i], whole["video"][k, s : s + 3])
        assert np.array_equal(read["state"][i], whole["state"][k, s : s + 3])
        assert np.array_equal(read["parameter"][i], whole["parameter"][k])
    assert set(sharded.read("train", [0], fields=["state"])) == {"state"}


def test_windows_lie_inside_their_sequences(tmp_path):
    """Where sequences have lengths, windows start uniformly among the places that hold no padding."""
    lengths = np.tile(np.arange(1, 10, dtype=np.uint8), 40)
    video = np.broadcast_to(np.arange(9, dtype=np.uint8)[None, :, None, None], (360, 9, 2, 2))
    write_arrays(tmp_path / "d", {"train": {"video": video, "length": lengths}})
    source = StoredSource(Dataset(tmp_path / "d"), "train", batch_size=360, steps=4, seed=0)
    starts = {n: [] for n in range(1, 10)}
    for epoch in range(20):
        order, first = source.order(epoch)
        (batch,) = source.batches(epoch)
        assert torch.equal(batch.length, torch.from_numpy(lengths[order].astype(np.int64)).clamp(max=4))
        assert torch.equal(batch.video[:, 0, 0, 0, 0], torch.from_numpy(first.astype(np.uint8)))
        for n, start in zip(lengths[order], first, strict=True):
            starts[int(n)].append(int(start))
    for n, found in starts.items():
        counts = np.bincount(found)
        assert len(counts) == max(1, n - 3)
        assert counts == pytest.approx(np.full(len(counts), 800 / len(counts)), rel=0.25)


def test_reading_cannot_change_the_file(sharded):
    batch = sharded.batch("val", range(20))
    batch.video.zero_()
    sharded.read("val", range(20))["video"][:] = 0
    assert Dataset(sharded.directory).batch("val", range(20)).video.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", [700]), "indices: expected 0 .. 699"),
        (("test", [0]), "has no split 'test'; it has train, val"),
        (("train", [0], 4, 3), "window: expected steps within 0 .. 6"),
        (("train", [0], 0, 2, ["action"]), "has no field 'action'; it has video"),
    ],
)
def test_bad_reads(sharded, arguments, message):
    with pytest.raises(UserError, match=message):
        sharded.read(*arguments)


def stack(source, epoch, start=0):
    return [batch.video for batch in source.batches(epoch, start)]


@pytest.mark.parametrize("window", [None, 4])
def test_batches_are_a_function_of_seed_epoch_and_batch(sharded, window):
    source = StoredSource(sharded, "train", batch_size=64, steps=window, seed=5)
    first, again = stack(source, 1), stack(StoredSource(sharded, "train", batch_size=64, steps=window, seed=5), 1)
    assert len(first) == source.batches_per_epoch == 10
    assert all(map(torch.equal, first, again))
    assert all(map(torch.equal, first[4:], stack(source, 1, start=4)))
    assert not torch.equal(first[0], stack(source, 2)[0])
    assert tuple(first[0].shape[1:]) == source.shapes["video"]
    ranks = [
        stack(StoredSource(sharded, "train", batch_size=64, steps=window, seed=5, rank=r, world_size=2), 1)
        for r in (0, 1)
    ]
    joined = torch.stack([ranks[0][3], ranks[1][3]], 1).flatten(0, 1)
    assert torch.equal(joined, first[3])


def test_an_epoch_visits_every_sequence_once(sharded):
    source = StoredSource(sharded, "train", batch_size=100, seed=0)
    order, _ = source.order(0)
    assert sorted(order) == list(range(700))
    val = StoredSource(sharded, "val", batch_size=16, shuffle=False, drop_last=False)
    assert [len(v) for v in stack(val, 0)] == [16, 4]
    assert torch.equal(torch.cat(stack(val, 0)), sharded.batch("val", range(20)).video)


def test_held_in_memory_gives_the_same(sharded):
    for window in (None, 3):
        a, b = (StoredSource(sharded, "train", batch_size=70, steps=window, in_memory=held) for held in (True, False))
        assert all(map(torch.equal, stack(a, 0), stack(b, 0)))


def test_sources_refuse_what_cannot_be(sharded):
    with pytest.raises(UserError, match="batch_size: 800 is more than the 700"):
        StoredSource(sharded, "train", batch_size=800)
    with pytest.raises(UserError, match="multiple of the 2 processes"):
        StoredSource(sharded, "train", batch_size=5, world_size=2)
    with pytest.raises(UserError, match="window: expected 1 .. 6 steps, got 9"):
        StoredSource(sharded, "train", steps=9)


def test_online_source_never_repeats_and_ranks_differ():
    def all_batches(**options):
        return stack(OnlineSource(Drift(), batch_size=32, batches_per_epoch=3, **options), 0)

    assert all(map(torch.equal, all_batches(seed=1), all_batches(seed=1)))
    assert not torch.equal(all_batches(seed=1)[0], all_batches(seed=2)[0])
    one, two = (all_batches(rank=r, world_size=2)[0] for r in (0, 1))
    assert len(one) == 16
    assert not torch.equal(one, two)
    source = OnlineSource(Drift(), batch_size=32, batches_per_epoch=3)
    assert not torch.equal(stack(source, 0)[0], stack(source, 1)[0])
    assert torch.equal(stack(source, 0)[2], stack(source, 0, start=2)[0])
    assert source.shapes["video"] == (6, 1, 8, 8)


def test_an_online_batch_smaller_than_the_tasks_takes_the_next_ones():
    world = MultiTask(worlds=tuple(Drift(speed=float(k)) for k in range(5)))
    found = [
        [batch.task.tolist() for batch in OnlineSource(world, batch_size=4, batches_per_epoch=5, **rank).batches(1)]
        for rank in ({}, {"rank": 0, "world_size": 2}, {"rank": 1, "world_size": 2})
    ]
    assert [task for batch in found[0] for task in batch] == [0, 1, 2, 3, 4] * 4
    assert [a + b for a, b in zip(found[1], found[2], strict=True)] == found[0]


def test_only_some_tasks(tmp_path):
    task = np.arange(30) % 3
    write_arrays(
        tmp_path / "d", {"train": {"state": np.arange(30.0)[:, None, None] * np.ones((1, 4, 1)), "task": task}}
    )
    dataset = Dataset(tmp_path / "d")
    stored = StoredSource(dataset, "train", batch_size=5, tasks=(0, 2))
    assert stored.batches_per_epoch == 4
    seen = sorted(int(x) for batch in stored.batches(0) for x in batch.state[:, 0, 0])
    assert seen == [i for i in range(30) if i % 3 != 1]
    plain = StoredSource(dataset, "train", batch_size=8, tasks=(1,), shuffle=False, drop_last=False)
    assert [batch.state[:, 0, 0].tolist() for batch in plain.batches(0)] == [list(range(1, 25, 3)), [25, 28]]
    with pytest.raises(UserError, match="batch_size: 11 is more than the 10 sequences"):
        StoredSource(dataset, "train", batch_size=11, tasks=(1,))
    with pytest.raises(UserError, match=r"tasks: \[5\] are not in split 'train'"):
        StoredSource(dataset, "train", batch_size=5, tasks=(5,))


def test_an_error_in_the_prefetch_thread_is_raised():
    class Broken(Drift):
        def render(self, trajectory):
            if len(trajectory.state) > 1:
                raise RuntimeError("no picture")
            return super().render(trajectory)

    source = OnlineSource(Broken(), batch_size=4, batches_per_epoch=2)
    with pytest.raises(RuntimeError, match="no picture"):
        next(source.batches(0))


def test_own_arrays(tmp_path):
    random = np.random.default_rng(0)
    frames = random.random((12, 5, 16, 16))
    write_arrays(
        tmp_path / "own",
        {"train": {"video": frames, "action": random.random((12, 5)), "length": np.arange(12) % 5 + 1}},
        dt=0.1,
    )
    dataset = Dataset(tmp_path / "own")
    assert dataset.shapes == {"video": (5, 1, 16, 16), "action": (5, 1), "length": ()}
    batch = dataset.batch("train", [3, 4], start=1, steps=3)
    assert batch.video.dtype == torch.uint8
    assert batch.length.tolist() == [3, 3]
    assert np.abs(batch.video.numpy()[:, :, 0] / 255 - frames[3:5, 1:4]).max() <= 0.5 / 255 + 1e-9
    assert dataset.batch("train", [0], start=2, steps=3).length.tolist() == [0]
    assert verify(tmp_path / "own") == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"video": np.full((3, 4, 8, 8), np.nan)}, "train/video: holds NaN"),
        ({"video": np.full((3, 4, 8, 8), -0.5)}, "expected frames in"),
        ({"video": np.zeros((3, 8, 8))}, "expected frames"),
        ({"video": np.zeros((3, 4, 8, 8)), "state": np.zeros((2, 4, 1))}, "different numbers of sequences"),
        ({"video": np.zeros((3, 4, 8, 8)), "state": np.zeros((3, 5, 1))}, "different numbers of steps"),
        ({"video": np.zeros((3, 4, 8, 8)), "length": np.array([1, 4, 5])}, r"train/length: expected 1 \.\. 4 steps"),
        ({"video": np.zeros((3, 4, 8, 8)), "length": np.array([1, 4, 0])}, r"train/length: expected 1 \.\. 4 steps"),
        ({"video": np.zeros((3, 4, 8, 8)), "mask": np.ones(3, dtype=bool)}, r"train/mask: expected \[n, t\]"),
        ({"state": np.array([["a"]])}, "expected numbers"),
        ({}, "expected at least one sequence"),
    ],
)
def test_bad_arrays(tmp_path, fields, message):
    with pytest.raises(UserError, match=message):
        write_arrays(tmp_path / "own", {"train": fields})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dt", [0.0, -1.0, float("nan"), float("inf")])
def test_time_between_frames_must_be_positive(tmp_path, dt):
    with pytest.raises(UserError, match="dt: expected a positive number"):
        write_arrays(tmp_path / "own", {"train": {"state": np.zeros((3, 4, 1))}}, dt=dt)
    assert list(tmp_path.iterdir()) == []


def test_verify_finds_damage(tmp_path):
    directory = tmp_path / "d"
    make_dataset(Drift(), directory, sizes={"train": 300}, shard_size=256)
    shard = directory / "train" / "video-00001.npy"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    assert any("video-00001.npy: truncated" in line for line in verify(directory))
    with pytest.raises(UserError, match="video-00001.npy: missing or damaged shard"):
        Dataset(directory).batch("train", [0])
    changed = bytearray(whole)
    changed[-1] ^= 1
    shard.write_bytes(bytes(changed))
    assert verify(directory) == ["train/video-00001.npy: content differs from the hash in dataset.json"]
    shard.write_bytes(whole)
    assert verify(directory) == []
    states = np.load(directory / "train" / "state-00000.npy")
    states[7, 2, 0] = np.nan
    np.save(directory / "train" / "state-00000.npy", states)
    assert any("state-00000.npy: 1 values are NaN" in line for line in verify(directory))
    (directory / "train" / "state-00000.npy").unlink()
    assert any("state-00000.npy: missing" in line for line in verify(directory))
    (directory / "train" / "extra.npy").write_bytes(b"")
    assert any("extra.npy: not part of the dataset" in line for line in verify(directory))


def test_foreign_directories(tmp_path):
    with pytest.raises(UserError, match="not a dataset"):
        Dataset(tmp_path)
    (tmp_path / "dataset.json").write_text("{not json")
    with pytest.raises(UserError, match="damaged schema"):
        Dataset(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"format": "other", "version": 3}))
    with pytest.raises(UserError, match="expected format 'dynarium dataset' version 1, got 'other' version 3"):
        Dataset(tmp_path)
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(UserError, match="damaged schema"):
        Dataset(tmp_path)


def test_a_full_disk_is_called_so(tmp_path):
    def tofile(stream):
        raise OSError("5242880 requested and 3141504 written")  # NumPy's words

    with pytest.raises(OSError, match="No space left on device") as caught:
        atomic_write(tmp_path / "video.npy", tofile)
    assert caught.value.filename == str(tmp_path / "video.npy")
    assert list(tmp_path.iterdir()) == []
