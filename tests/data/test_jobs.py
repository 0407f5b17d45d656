"""Jobs in this process and in others give the same."""

import os
from functools import partial

from dynarium.data.jobs import run_jobs


def test_one_worker_is_this_process_and_two_are_others():
    squares = [partial(pow, x, 2) for x in range(4)]
    assert list(run_jobs(squares)) == [0, 1, 4, 9]
    assert sorted(run_jobs(squares, workers=2)) == [0, 1, 4, 9]
    assert set(run_jobs([os.getpid] * 4)) == {os.getpid()}
    assert os.getpid() not in set(run_jobs([os.getpid] * 4, workers=2))
