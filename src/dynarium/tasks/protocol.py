"""What a task is."""

from typing import Any, Protocol, runtime_checkable

from dynarium.data import Dataset
from dynarium.types import Result


@runtime_checkable
class Task(Protocol):
    """A question with its metrics and its trivial baselines: a frozen dataclass whose fields are its protocol."""

    @property
    def name(self) -> str:
        """The task's name, also that of its result files."""
        ...

    def run(self, model: Any, dataset: Dataset) -> Result:
        """Ask the model about a dataset.

        Raises:
            UserError: The model lacks the capability, or the dataset a field; the message names both.
        """
        ...
