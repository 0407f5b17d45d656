"""Keeping freed memory: asked for where it can be, and nowhere else."""

import os
import platform
import subprocess
import sys

import pytest

from dynarium.data.memory import keep_freed_memory

FAULTS = """
import resource
import torch
from dynarium.data.memory import keep_freed_memory
assert keep_freed_memory()
def step():
    parts = [torch.zeros(5_000_000) for _ in range(12)]
    del parts
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc of another C library")
def test_steps_do_not_pay_for_their_pages_again():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", FAULTS], env=environment, capture_output=True, check=True)
    pages_of_a_step = 12 * 5_000_000 * 4 / os.sysconf("SC_PAGE_SIZE")
    assert int(done.stdout) < 0.5 * pages_of_a_step  # 50 steps; without keeping: up to 50 times a step's pages


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False
