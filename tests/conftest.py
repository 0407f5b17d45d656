"""Settings of all tests."""

from hypothesis import settings

# The same examples every time, and no time limit on each: a busy machine is no failure.
settings.register_profile("dynarium", deadline=None, derandomize=True)
settings.load_profile("dynarium")
