"""Exact linear-Gaussian inference: pure functions."""
