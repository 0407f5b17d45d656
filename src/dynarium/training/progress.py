"""What a person sees while a model is trained: a live bar in a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0
"""Least time between two plain lines."""


class TrainingProgress:
    """Shows step, loss, rate and time left; a context manager.

    Args:
        start: First step.
        steps: Number of steps.
        quiet: Show nothing.
    """

    def __init__(self, start: int, steps: int, *, quiet: bool) -> None:
        self.start, self.steps, self.quiet = start, steps, quiet
        self.console = Console(stderr=True)
        self.began = self.last_line = time.monotonic()
        self.bar: Progress | None = None
        self.shown: dict[str, Any] = {"loss": "", "val": ""}

    def __enter__(self) -> "TrainingProgress":
        if not self.quiet and self.console.is_terminal:
            self.bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]}  val {task.fields[val]}  {task.fields[rate]} steps/s"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self.task = self.bar.add_task("", total=self.steps, completed=self.start, rate="", **self.shown)
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def say(self, line: str) -> None:
        """Print a line."""
        if self.quiet:
            return
        if self.bar is not None:
            self.console.print(line, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def step(self, step: int, **shown: float) -> None:
        """Show what is known after ``step`` steps: the latest ``loss`` and ``val``."""
        self.shown |= {name: f"{value:.4g}" for name, value in shown.items()}
        elapsed = time.monotonic() - self.began
        rate = (step - self.start) / max(elapsed, 1e-9)
        if self.bar is not None:
            self.bar.update(self.task, completed=step, rate=f"{rate:.1f}", **self.shown)
        elif time.monotonic() - self.last_line > PLAIN_SECONDS or step == self.steps:
            self.last_line = time.monotonic()
            left = _clock((self.steps - step) / max(rate, 1e-9))
            val = f"  val {self.shown['val']}" if self.shown["val"] else ""
            self.say(f"step {step}/{self.steps}  loss {self.shown['loss']}{val}  {rate:.1f} steps/s  {left} left")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def summary(terms: dict[str, Any]) -> str:
    """Return named numbers as one line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in terms.items())
