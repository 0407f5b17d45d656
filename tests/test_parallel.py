"""Jobs in this process and in others give the same."""

import os
from functools import partial

from dynarium.parallel import run_jobs


def pid_and(x):
    return os.getpid(), x * x


def test_one_worker_is_this_process_and_two_are_others():
    jobs = [partial(pid_and, x) for x in range(4)]
    assert list(run_jobs(jobs)) == [(os.getpid(), x * x) for x in range(4)]
    found = list(run_jobs(jobs, workers=2))
    assert sorted(value for _, value in found) == [0, 1, 4, 9]
    assert os.getpid() not in {pid for pid, _ in found}
