import numpy as np
import pytest
import torch

from dynarium.data import Dataset, Source, Windows, WindowSource, export_windows, make_dataset, write_arrays
from dynarium.errors import UserError
from dynarium.systems.lorenz import lorenz_original
from dynarium.systems.nascar import Nascar


@pytest.fixture(scope="module")
def laps(tmp_path_factory):
    world = Nascar(steps=40, frames=True)
    return make_dataset(world, tmp_path_factory.mktemp("windows") / "laps", sizes={"train": 6, "val": 2, "test": 3})


@pytest.fixture(scope="module")
def lorenz(tmp_path_factory):
    out = tmp_path_factory.mktemp("windows") / "lorenz"
    return make_dataset(lorenz_original(), out, sizes={"train": 1}, steps=10_000)


def literal(observation, mode, state, starts):
    """Windows one by one, as the published script cuts a trajectory."""
    windows = [observation[i : i + 7] for i in range(len(observation) - 6)]
    domains = [[windows[i - 9], windows[i - 8], windows[i - 7]] for i in starts]
    queries = [windows[i] for i in starts]
    return tuple(
        map(np.array, (domains, queries, [mode[i : i + 7] for i in starts], [state[i : i + 7] for i in starts]))
    )


def test_every_query_of_every_sequence_has_its_domains_before_it(laps):
    arrays = Windows(laps, "test", normalize=False).arrays()
    read = laps.read("test", range(3))
    parts = [literal(read["observation"][s], read["mode"][s], read["state"][s], range(9, 34)) for s in range(3)]
    expected = [np.concatenate(part) for part in zip(*parts, strict=True)]
    for name, value in zip(("domains", "queries", "labels", "latents"), expected, strict=True):
        np.testing.assert_array_equal(arrays[name], value)
    assert arrays["domains"].shape == (75, 3, 7, 10) and arrays["labels"].dtype == np.int64


def test_normalisation_uses_training_statistics_only(laps):
    train = laps.read("train", range(6))["observation"].reshape(-1, 10).astype(float)
    for split in ("train", "test"):
        windows = Windows(laps, split)
        np.testing.assert_allclose(windows.mean, train.mean(0), rtol=1e-6)
        plain = Windows(laps, split, normalize=False).arrays()["queries"]
        expected = (plain - train.mean(0)) / train.std(0)
        np.testing.assert_allclose(windows.arrays()["queries"], expected, atol=1e-5)


def test_the_original_split_of_one_trajectory(lorenz):
    train, test = (Windows(lorenz, split, layout="original") for split in ("train", "test"))
    assert (len(train), len(test)) == (8000, 1976)
    read = {name: array[0] for name, array in lorenz.read("train", [0]).items()}
    # Example j of the published set has window j + 10 as query, up to window 9985.
    starts = range(10, 9986)
    seen = read["observation"][1 : 8009 + 7].astype(float)
    np.testing.assert_allclose(train.mean, seen.mean(0), rtol=1e-9)
    np.testing.assert_allclose(test.std, seen.std(0), rtol=1e-9)
    observation = ((read["observation"] - seen.mean(0)) / seen.std(0)).astype(np.float32)
    expected = literal(observation, read["mode"], read["state"], starts)
    for name, value in zip(("domains", "queries", "labels", "latents"), expected, strict=True):
        np.testing.assert_array_equal(np.concatenate([train.arrays()[name], test.arrays()[name]]), value)


def test_pieces_of_a_trajectory_share_no_window(lorenz):
    train, test = (Windows(lorenz, split, layout="original", piece=200) for split in ("train", "test"))
    assert len(train) + len(test) == 50 * 176  # per 200 steps, as the published double pendulum has them
    first = np.concatenate([train.first, test.first])
    assert ((first - 9) // 200 == (first + 6) // 200).all()


def test_leak_free_splits_are_different_trajectories(laps):
    held = {split: laps.read(split, range(laps.size(split)))["observation"] for split in ("train", "test")}
    ours = Windows(laps, "test", normalize=False).arrays()["queries"].reshape(-1, 10)
    assert not np.isin(ours[:, 0], held["train"][..., 0]).any() and np.isin(ours[:, 0], held["test"][..., 0]).all()


def test_batches_hold_queries_labels_and_domains(laps):
    windows = Windows(laps, "train")
    source = WindowSource(windows, batch_size=8, seed=3)
    assert isinstance(source, Source) and source.batches_per_epoch == 150 // 8
    arrays = windows.arrays()
    order = np.random.Generator(np.random.Philox(key=[3, 2])).permutation(150)
    for i, batch in zip(range(3), source.batches(2), strict=False):
        mine = order[8 * i : 8 * i + 8]
        np.testing.assert_allclose(batch.observation, arrays["queries"][mine], atol=1e-5)
        np.testing.assert_array_equal(batch.mode, arrays["labels"][mine])
        np.testing.assert_array_equal(batch.state, arrays["latents"][mine])
        for k in range(8):
            domains = batch.context.observation[batch.context.episode == batch.episode[k]]
            np.testing.assert_allclose(domains, arrays["domains"][mine[k]], atol=1e-5)
        assert batch.video.shape == (8, 7, 1, 32, 32) and batch.context.video.shape == (24, 7, 1, 32, 32)
        for name, value in batch.present().items():
            assert name == "episode" or value.shape[1:] == source.shapes[name]


def test_batches_are_a_function_of_seed_epoch_and_number(laps):
    def modes(epoch=0, start=0, **options):
        source = WindowSource(Windows(laps, "train"), **{"batch_size": 10, "seed": 1} | options)
        return torch.stack([batch.observation for batch in source.batches(epoch, start)])

    whole = modes()
    assert len(whole) == 15
    assert torch.equal(modes(start=4), whole[4:])
    assert not torch.equal(modes(epoch=1), whole) and not torch.equal(modes(seed=2), whole)
    ranks = [modes(rank=rank, world_size=2) for rank in (0, 1)]
    assert torch.equal(torch.stack(ranks, 2).flatten(1, 2), whole)
    assert sum(len(b) for b in WindowSource(Windows(laps), batch_size=100, drop_last=False).batches(0)) == 150


def test_files_of_every_split_with_the_same_keys(laps, lorenz, tmp_path):
    files = export_windows(laps, tmp_path, "nascar")
    assert [file.name for file in files] == ["nascar_train.npz", "nascar_val.npz", "nascar_test.npz"]
    files += export_windows(lorenz, tmp_path, "lorenz", layout="original")
    for file, n in zip(files, (150, 50, 75, 8000, 1976), strict=True):
        archive = np.load(file)
        assert {name: (archive[name].shape, archive[name].dtype.name) for name in archive} == {
            "domains": ((n, 3, 7, 10), "float32"),
            "queries": ((n, 7, 10), "float32"),
            "labels": ((n, 7), "int64"),
            "latents": ((n, 7, 2 if "nascar" in file.name else 3), "float32"),
        }
    with pytest.raises(UserError, match=r"nascar_train\.npz: exists already"):
        export_windows(laps, tmp_path, "nascar")
    assert export_windows(laps, tmp_path, "nascar", force=True) == files[:3]


def test_what_does_not_fit_is_named(laps, tmp_path):
    with pytest.raises(UserError, match="has no split 'nowhere'"):
        Windows(laps, "nowhere")
    with pytest.raises(UserError, match="needs more than 8000 examples, the sequences give 96"):
        Windows(laps, "train", layout="original")
    with pytest.raises(UserError, match="original layout has train and test, got 'val'"):
        Windows(laps, "val", layout="original")
    with pytest.raises(UserError, match="do not fit into 15 steps"):
        Windows(laps, "train", piece=15)
    with pytest.raises(UserError, match=r"piece: expected 1 \.\. 40 steps, got 41"):
        Windows(laps, "train", piece=41)
    with pytest.raises(UserError, match="batch_size: 200 is more than the 150 examples"):
        WindowSource(Windows(laps), batch_size=200)
    with pytest.raises(UserError, match="batch_size: expected a multiple of the 2 processes"):
        WindowSource(Windows(laps), batch_size=9, world_size=2)
    write_arrays(tmp_path / "own", {"train": {"state": np.zeros((2, 40, 3), np.float32)}}, dt=1.0)
    with pytest.raises(UserError, match="has no field 'observation'"):
        export_windows(Dataset(tmp_path / "own"), tmp_path, "own")


def test_a_constant_sensor_stays_finite(tmp_path):
    flat = np.ones((3, 20, 2), np.float32)
    write_arrays(tmp_path / "flat", {"train": {"observation": flat}}, dt=1.0)
    dataset = Dataset(tmp_path / "flat")
    batch = next(WindowSource(Windows(dataset), batch_size=4).batches(0))
    assert torch.equal(batch.observation, torch.zeros(4, 7, 2))
