"""Episodes: queries and contexts of the same task, never the same sequence, drawn anew for every batch."""

import numpy as np
import pytest
import torch

from dynarium.data import Dataset, EpisodeConfig, EpisodeSource, Source, few_shot_batches, make_dataset, write_arrays
from dynarium.errors import UserError
from dynarium.systems.multitask import MultiTask
from worlds import Drift

SHOTS, QUERIES = 3, 4
CONFIG = EpisodeConfig(shots=SHOTS, queries=QUERIES)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three tasks of 40 sequences; the state of sequence i is i at step 0, i + 0.01 at step 1, ..."""
    number = np.arange(120, dtype=np.float64)[:, None, None] + 0.01 * np.arange(6)[:, None]
    directory = tmp_path_factory.mktemp("episodes") / "d"
    write_arrays(directory, {"train": {"state": number, "task": np.arange(120) % 3}})
    return Dataset(directory)


def source(dataset, config=CONFIG, **options):
    return EpisodeSource(dataset, "train", config, **{"batch_size": 24, **options})


def sequences(batch):
    return batch.state[:, 0, 0].floor().long().tolist()


def test_contexts_are_of_the_same_task_and_none_is_a_query(dataset):
    episodes = source(dataset)
    assert isinstance(episodes, Source)
    assert episodes.batches_per_epoch == 5
    for epoch in range(3):
        for batch in episodes.batches(epoch):
            assert batch.episode.tolist() == [e for e in range(6) for _ in range(QUERIES)]
            assert batch.context.episode.tolist() == [e for e in range(6) for _ in range(SHOTS)]
            for e in range(6):
                query, context = batch.episode == e, batch.context.episode == e
                assert len({*batch.task[query].tolist(), *batch.context.task[context].tolist()}) == 1
                asked, given = np.array(sequences(batch))[query], np.array(sequences(batch.context))[context]
                assert len({*asked, *given}) == QUERIES + SHOTS
                assert (asked % 3 == batch.task[query].numpy()).all()


def test_an_epoch_asks_every_sequence_once_and_every_task_equally_often(dataset):
    for epoch in range(2):
        asked = [i for batch in source(dataset).batches(epoch) for i in sequences(batch)]
        assert sorted(asked) == list(range(120))
    orders = [[sequences(batch) for batch in source(dataset).batches(epoch)] for epoch in range(2)]
    assert orders[0] != orders[1]


def test_tasks_of_unequal_size_are_asked_equally_often(tmp_path):
    task = np.array([0] * 50 + [1] * 10)
    write_arrays(
        tmp_path / "d", {"train": {"state": np.arange(60.0)[:, None, None] * np.ones((1, 4, 1)), "task": task}}
    )
    asked = [i for batch in source(Dataset(tmp_path / "d"), batch_size=4).batches(0) for i in sequences(batch)]
    assert len(asked) == 60
    of = np.bincount(task[asked])
    assert abs(of[0] - of[1]) <= QUERIES
    assert set(asked) >= set(range(50, 60))


def test_many_batches_have_many_contexts(dataset):
    """The pairing of the field's loaders froze in their workers: one context a task for ever."""
    found = {
        (int(batch.context.task[e * SHOTS]), frozenset(sequences(batch.context)[e * SHOTS : (e + 1) * SHOTS]))
        for epoch in range(10)
        for batch in source(dataset).batches(epoch)
        for e in range(6)
    }
    assert len(found) > 290  # of 300 episodes


def same(a, b):
    one, two = a.present(), b.present()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("held", [False, True])
def test_batches_are_a_function_of_seed_epoch_and_batch(dataset, held):
    def batches(epoch, start=0, **options):
        return list(source(dataset, steps=3, in_memory=held, **options).batches(epoch, start))

    first, again = batches(1, seed=5), batches(1, seed=5)
    assert all(same(a, b) and same(a.context, b.context) for a, b in zip(first, again, strict=True))
    late = batches(1, start=3, seed=5)
    assert all(same(a, b) and same(a.context, b.context) for a, b in zip(first[3:], late, strict=True))
    assert not same(first[0], batches(1, seed=6)[0])
    assert not same(first[0].context, batches(2, seed=5)[0].context)


def test_ranks_together_have_the_episodes_of_one(dataset):
    whole = list(source(dataset, steps=3).batches(0))
    ranks = [list(source(dataset, steps=3, rank=r, world_size=2).batches(0)) for r in (0, 1)]
    for i, batch in enumerate(whole):
        for e in range(6):
            part = ranks[e % 2][i]
            assert torch.equal(part.state[part.episode == e // 2], batch.state[batch.episode == e])
            here, there = part.context.episode == e // 2, batch.context.episode == e
            assert torch.equal(part.context.state[here], batch.context.state[there])


def test_windows_start_anywhere_or_at_the_first_step(dataset):
    def starts(windows):
        config = EpisodeConfig(shots=SHOTS, queries=QUERIES, windows=windows)
        episodes = source(dataset, config, steps=4)
        assert episodes.shapes["state"] == (4, 1)
        batches = [part for batch in episodes.batches(0) for part in (batch, batch.context)]
        return {round(100 * float(x)) for part in batches for x in part.state[:, 0, 0] - part.state[:, 0, 0].floor()}

    assert starts("random") == {0, 1, 2}
    assert starts("first") == {0}


def test_only_some_tasks(dataset):
    for batch in source(dataset, tasks=(2, 0), batch_size=8).batches(0):
        assert {*batch.task.tolist(), *batch.context.task.tolist()} <= {0, 2}


def test_of_a_world_of_several_tasks(tmp_path):
    world = MultiTask(worlds=(Drift(), Drift(speed=2.0)))
    made = make_dataset(world, tmp_path / "d", sizes={"train": 40})
    batch = next(source(made, batch_size=8).batches(0))
    assert batch.video.shape == (8, 6, 1, 8, 8)
    assert batch.context.video.shape == (2 * SHOTS, 6, 1, 8, 8)
    speed = batch.state[:, 0, 1] / (batch.task + 1)
    assert set(speed.tolist()) <= {1.0, 2.0}


def few(dataset, **options):
    return list(few_shot_batches(dataset, "train", **{"shots": SHOTS, "batch_size": 16, "seed": 0, **options}))


def test_few_shots_ask_everything_outside_the_contexts(dataset):
    batches = few(dataset)
    asked = [i for batch in batches for i in sequences(batch)]
    given = {i for batch in batches for i in sequences(batch.context)}
    assert len(given) == 3 * SHOTS
    assert sorted([*asked, *given]) == list(range(120))
    for batch in batches:
        assert sorted(set(batch.episode.tolist())) == sorted(set(batch.context.episode.tolist()))
        for e in set(batch.episode.tolist()):
            (task,) = set(batch.task[batch.episode == e].tolist())
            assert batch.context.task[batch.context.episode == e].tolist() == [task] * SHOTS
    assert all(same(a, b) and same(a.context, b.context) for a, b in zip(batches, few(dataset), strict=True))
    assert {i for batch in few(dataset, seed=1) for i in sequences(batch.context)} != given
    assert {i for batch in few(dataset, shots=1) for i in sequences(batch.context)} < given


def test_few_shots_of_some_tasks_and_sequences(dataset):
    batches = few(dataset, sequences=10, tasks=(1, 2))
    assert sum(map(len, batches)) == 10
    assert np.bincount(torch.cat([batch.task for batch in batches])).tolist() == [0, 5, 5]


def test_no_shots_are_plain_batches(dataset):
    batches = few(dataset, shots=0, sequences=30)
    assert [i for batch in batches for i in sequences(batch)] == list(range(30))
    assert all(batch.context is None and batch.episode is None for batch in batches)
    some = few(dataset, shots=0, tasks=(1,))
    assert [i for batch in some for i in sequences(batch)] == list(range(1, 120, 3))
    assert all(batch.context is None for batch in some)


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [(33, 16, [16, 17]), (17, 16, [17]), (34, 16, [16, 16, 2]), (3, 2, [3]), (3, 1, [1, 1, 1]), (1, 16, [1])],
)
def test_no_query_is_asked_alone_if_it_can_be_helped(dataset, n, batch_size, sizes):
    for shots in (0, 2):
        batches = few(dataset, shots=shots, sequences=n, batch_size=batch_size)
        assert [len(batch) for batch in batches] == sizes
        assert len({i for batch in batches for i in sequences(batch)}) == n
        if shots:
            assert all(len(batch.context) == 2 * len(set(batch.episode.tolist())) for batch in batches)


def test_what_cannot_be(dataset, tmp_path):
    write_arrays(tmp_path / "d", {"train": {"state": np.zeros((9, 4, 1))}})
    plain = Dataset(tmp_path / "d")
    with pytest.raises(UserError, match="has no field 'task' to tell dynamics apart; it has state"):
        source(plain)
    with pytest.raises(UserError, match="has no field 'task'"):
        few(plain)
    assert sum(map(len, few(plain, shots=0))) == 9
    with pytest.raises(UserError, match=r"task 0: split 'train' has 40 sequences of it; this needs 44"):
        source(dataset, EpisodeConfig(shots=40, queries=4))
    with pytest.raises(UserError, match=r"task 0: split 'train' has 40 sequences of it; this needs 41"):
        few(dataset, shots=40)
    with pytest.raises(UserError, match=r"tasks: \[3, 7\] are not in split 'train' of .*; it has \[0, 1, 2\]"):
        source(dataset, tasks=(7, 1, 3))
    with pytest.raises(UserError, match="tasks: expected at least one"):
        source(dataset, tasks=())
    with pytest.raises(UserError, match="batch_size: expected a multiple of the 4 queries of an episode times 2 proc"):
        source(dataset, batch_size=12, world_size=2)
    with pytest.raises(UserError, match="window: expected 1 .. 6 steps, got 7"):
        source(dataset, steps=7)
    with pytest.raises(UserError, match="expected at least 1 shot and 1 query, got 0 and 8"):
        EpisodeConfig(shots=0)
    with pytest.raises(UserError, match="shots: expected at least 0, got -1"):
        few(dataset, shots=-1)
