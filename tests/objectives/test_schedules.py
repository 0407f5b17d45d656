"""Schedules against their definitions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynarium import config
from dynarium.objectives.schedules import Constant, Cosine, Linear, Schedule, Staircase

steps = st.integers(0, 2000)
values = st.floats(-10, 10)


def test_constant():
    assert [Constant(value=0.3)(step) for step in (0, 7, 10**9)] == [0.3, 0.3, 0.3]


def test_linear():
    schedule = Linear(start=1.0, end=3.0, begin=10, until=20)
    assert [schedule(step) for step in (0, 9, 10, 15, 20, 99)] == [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]


def test_linear_with_equal_ends_is_a_switch():
    schedule = Linear(start=0.0, end=1.0, begin=10, until=10)
    assert [schedule(step) for step in (0, 9, 10, 11)] == [0.0, 0.0, 1.0, 1.0]
    assert Linear(start=0.0, end=1.0, until=0)(0) == 1.0


@given(values, values, st.integers(0, 50), st.integers(0, 50), steps)
def test_linear_stays_between_its_ends(start, end, begin, length, step):
    value = Linear(start=start, end=end, begin=begin, until=begin + length)(step)
    assert min(start, end) - 1e-9 <= value <= max(start, end) + 1e-9


def test_staircase():
    schedule = Staircase(value=8.0, factor=0.5, every=10, floor=1.5)
    assert [schedule(step) for step in (0, 9, 10, 19, 20, 30, 1000)] == [8.0, 8.0, 4.0, 4.0, 2.0, 1.5, 1.5]


def test_staircase_warm_up():
    schedule = Staircase(value=8.0, factor=0.5, every=10, warmup=4)
    assert [schedule(step) for step in range(5)] == [2.0, 4.0, 6.0, 8.0, 8.0]


def test_cosine():
    schedule = Cosine(value=2.0, end=1.0, warmup=4, until=14)
    assert [schedule(step) for step in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert schedule(9) == pytest.approx(1.5)
    assert schedule(14) == schedule(10**6) == 1.0


@given(st.floats(1e-6, 10), st.integers(0, 20), st.integers(1, 300), steps)
def test_cosine_falls_after_the_warm_up_and_never_below_its_end(value, warmup, length, step):
    schedule = Cosine(value=value, warmup=warmup, until=warmup + length)
    assert 0.0 <= schedule(step) <= value
    if step >= warmup:
        assert schedule(step + 1) <= schedule(step)
        progress = min(1.0, (step - warmup) / length)
        assert schedule(step) == pytest.approx(value * math.cos(math.pi * progress / 2) ** 2, abs=1e-12 * value)


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(value=1.0),
        Linear(start=0.0, end=1.0, until=5),
        Staircase(value=1.0, factor=0.5, every=3),
        Cosine(value=1.0, until=9),
    ],
)
def test_any_schedule_survives_a_configuration_file(schedule):
    assert config.from_dict(config.to_dict(schedule, Schedule), Schedule) == schedule


def test_every_schedule_has_an_end():
    ends = {
        Constant(value=0.3): 0.3,
        Linear(start=1.0, end=3.0, until=20): 3.0,
        Linear(start=1.0, end=3.0, begin=5, until=5): 3.0,
        Staircase(value=8.0, factor=0.5, every=10, floor=1.5, warmup=3): 1.5,
        Cosine(value=2.0, end=0.5, warmup=2, until=10): 0.5,
    }
    assert {schedule: schedule(math.inf) for schedule in ends} == ends
