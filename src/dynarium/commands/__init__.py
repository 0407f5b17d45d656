"""Thin wrappers that parse, call and print."""
