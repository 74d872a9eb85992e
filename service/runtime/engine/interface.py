"""Engine: what both engines are to the rest of the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from service.protocol.tensor import Item


class Engine(Protocol):
    """A loaded model. `run` may be called by as many threads at once as there are runners."""

    batch_sizes: tuple[int, ...]
    """How many items a run can take, ascending."""
    is_proven: bool
    """Whether it has passed the self-test already, in this process or before the fork."""

    def run(self, items: Sequence[Item]) -> list[Item]:
        """The outputs of each item, in order; `len(items)` is one of `batch_sizes`. The bytes belong to the caller.

        Raises:
            EngineError: the model failed.
        """
        ...

    def close(self) -> None:
        """Release the model; may be called twice."""
        ...


@dataclass(frozen=True)
class Plan:
    """How an artifact runs here: `runners` runs at once of `threads` threads each, at most `max_batch_size` items a run."""

    runners: int
    threads: int
    max_batch_size: int
    libtorch_dir: Path | None = None
    onnxruntime_dir: Path | None = None
