"""Losses and their schedules as pure functions."""
