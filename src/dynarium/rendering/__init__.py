"""States to frames: anti-aliased, batched."""
