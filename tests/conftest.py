"""Settings of all tests."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # the tiny world and model that several rooms' tests share

# The same examples every time, and no time limit on each: a busy machine is no failure.
settings.register_profile("dynarium", deadline=None, derandomize=True)
settings.load_profile("dynarium")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Every test works in a folder of its own, so that relative defaults (datasets/, runs/) land there."""
    monkeypatch.chdir(tmp_path)
