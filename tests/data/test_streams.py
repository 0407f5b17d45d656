"""Streams of tasks: order, budget, reservoir, contexts; a pure function of seed, epoch and batch."""

import numpy as np
import pytest
import torch

from dynarium.data import Dataset, Source, StreamConfig, TaskStream, few_shot_batches, write_arrays
from dynarium.data.streams import reservoir_slots
from dynarium.errors import UserError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Four tasks of 50 sequences; the state of sequence i is i at step 0, i + 0.01 at step 1, ..."""
    number = np.arange(200, dtype=np.float64)[:, None, None] + 0.01 * np.arange(6)[:, None]
    directory = tmp_path_factory.mktemp("stream") / "d"
    write_arrays(directory, {"train": {"state": number, "task": np.arange(200) % 4}})
    return Dataset(directory)


def stream(dataset, batch_size=16, steps=None, rank=0, world_size=1, seed=0, in_memory="auto", **options):
    config = StreamConfig(**{"repeats": 2, "budget": 9, "memory": 40, "replay": 0.25, **options})
    held = {"steps": steps, "rank": rank, "world_size": world_size, "seed": seed, "in_memory": in_memory}
    return TaskStream(dataset, "train", config, batch_size=batch_size, **held)


def sequences(batch):
    return batch.state[:, 0, 0].floor().long().tolist()


def test_every_task_once_and_some_again(dataset):
    for seed in range(5):
        source = stream(dataset, seed=seed)
        assert isinstance(source, Source)
        assert source.batches_per_epoch == 6 * 9 == len(source.order) * 9
        counts = np.bincount(source.order)
        assert sorted(counts) == [1, 1, 2, 2]
        assert [source.task_at(i) for i in range(54)] == [task for task in source.order for _ in range(9)]
    assert len({stream(dataset, seed=seed).order for seed in range(5)}) == 5
    assert stream(dataset, order=(3, 0, 3)).order == (3, 0, 3)


def test_a_batch_is_of_the_current_task_and_of_the_memory(dataset):
    source = stream(dataset)
    seen = set()
    for i, batch in enumerate(source.batches(0)):
        held = set(source.memory_at(i).tolist())
        assert held <= seen
        assert len(held) == min(len(seen), 40)
        asked = sequences(batch)
        assert len(set(asked)) == 16
        current = {n for n in asked if n % 4 == source.task_at(i)}
        assert {n for n in asked if n not in current} <= held
        assert len(current) >= 12
        assert batch.context is None and batch.episode is None
        if i == 0:
            assert len(current) == 16
        seen |= {n for n in source._history(0)[0][i].tolist()}
    assert len(seen) == 200


def test_without_memory_only_the_current_task(dataset):
    source = stream(dataset, memory=0)
    for i, batch in enumerate(source.batches(0)):
        assert set(batch.task.tolist()) == {source.task_at(i)}
        assert source.memory_at(i).tolist() == []
    visit = [n for batch in list(stream(dataset, memory=0).batches(0))[:3] for n in sequences(batch)]
    assert len(set(visit)) == 48  # a pass over the task has no sequence twice


def test_the_reservoir_is_algorithm_r():
    """Against the algorithm as it is written, item by item; and every item is held equally often."""
    random, size, n = np.random.default_rng(0), 5, 30
    held = np.zeros(n)
    for _ in range(4000):
        uniform = random.random(n)
        memory = []
        for m in range(n):
            j = m if m < size else int(uniform[m] * (m + 1))
            if m < size:
                memory.append(m)
            elif j < size:
                memory[j] = m
        slots = reservoir_slots(uniform, size)
        latest = {slot: m for m, slot in enumerate(slots.tolist()) if slot < size}
        assert [latest[slot] for slot in range(size)] == memory
        held[memory] += 1
    assert held / 4000 == pytest.approx(np.full(n, size / n), abs=0.03)  # 5 standard errors


def test_the_memory_holds_old_and_new_alike(dataset):
    held = np.zeros(200)
    for seed in range(100):
        source = stream(dataset, seed=seed, order=(0, 1, 2, 3))
        held[source.memory_at(36)] += 1
    assert held.reshape(50, 4).mean(0) == pytest.approx([20] * 4, abs=2.5)


def test_contexts_are_of_each_task_and_no_queries(dataset):
    source = stream(dataset, shots=3, memory=60)
    several = 0
    for i, batch in enumerate(source.batches(0)):
        episodes = sorted(set(batch.episode.tolist()))
        assert episodes == list(range(len(episodes))) == sorted(set(batch.context.episode.tolist()))
        several += len(episodes) > 1
        assert len({*sequences(batch), *sequences(batch.context)}) == 16 + 3 * len(episodes)
        held = set(source.memory_at(i).tolist())
        for e in episodes:
            given = batch.context.episode == e
            (task,) = {*batch.task[batch.episode == e].tolist(), *batch.context.task[given].tolist()}
            numbers = np.array(sequences(batch.context))[given]
            assert len(numbers) == 3
            assert task == source.task_at(i) or set(numbers) <= held
    assert several > 30


def same(a, b):
    one, two = a.present(), b.present()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("held", [False, True])
def test_resuming_gives_the_same_batches(dataset, held):
    def batches(epoch=1, start=0, **options):
        return list(stream(dataset, steps=3, shots=2, in_memory=held, **options).batches(epoch, start))

    whole, rest = batches(), batches(start=31)
    assert len(rest) == 54 - 31
    assert all(same(a, b) and same(a.context, b.context) for a, b in zip(whole[31:], rest, strict=True))
    assert not same(whole[0], batches(epoch=2)[0])
    assert not same(whole[0], batches(seed=1)[0])


def test_ranks_together_have_the_batch_of_one(dataset):
    whole = list(stream(dataset, steps=3, shots=2).batches(0))
    ranks = [list(stream(dataset, steps=3, shots=2, rank=r, world_size=2).batches(0)) for r in (0, 1)]
    for i, batch in enumerate(whole):
        joined = torch.stack([ranks[0][i].state, ranks[1][i].state], 1).flatten(0, 1)
        assert torch.equal(joined, batch.state)
        for part in (ranks[0][i], ranks[1][i]):
            for e in set(part.episode.tolist()):
                task = part.task[part.episode == e][0]
                mine = part.context.state[part.context.episode == e]
                assert torch.equal(mine, batch.context.state[batch.context.task == task])


def test_a_task_can_be_evaluated_on_its_own(dataset):
    batches = few_shot_batches(dataset, "train", shots=2, batch_size=64, seed=0, tasks=(stream(dataset).task_at(0),))
    assert sum(map(len, batches)) == 48


def test_what_cannot_be(dataset):
    with pytest.raises(UserError, match=r"task 0: split 'train' has 50 sequences of it; this needs 52"):
        stream(dataset, batch_size=48, shots=4)
    with pytest.raises(UserError, match=r"tasks: \[9\] are not in split 'train'"):
        stream(dataset, order=(0, 9))
    with pytest.raises(UserError, match="multiple of the 3 processes"):
        stream(dataset, world_size=3)
    with pytest.raises(UserError, match="replay: 0.99 leaves no new sequence in a batch of 16"):
        stream(dataset, replay=0.99)
    with pytest.raises(UserError, match="expected budget >= 1"):
        StreamConfig(budget=0)
    with pytest.raises(UserError, match="0 <= replay < 1"):
        StreamConfig(replay=1.0)
