"""One trainer: schedules, checkpoints, exact resume, logging."""
