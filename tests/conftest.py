import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Every test works in a folder of its own, so that relative defaults (datasets/, runs/) land there."""
    monkeypatch.chdir(tmp_path)
