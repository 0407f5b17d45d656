"""Shared blocks of networks."""
