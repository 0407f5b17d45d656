"""Metrics: each with its convention in its name and docstring."""
