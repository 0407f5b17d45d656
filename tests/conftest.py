"""Settings of all tests."""

import pytest
from hypothesis import settings

# The same examples every time, and no time limit on each: a busy machine is no failure.
settings.register_profile("dynarium", deadline=None, derandomize=True)
settings.load_profile("dynarium")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Every test works in a folder of its own, so that relative defaults (datasets/, runs/) land there."""
    monkeypatch.chdir(tmp_path)
