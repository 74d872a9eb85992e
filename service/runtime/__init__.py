"""The model, from loading to closing; knows no HTTP.

preparation.py  what is done before gunicorn forks: the engine's libraries, beside the imports
runtime.py      Runtime: one artifact, its engine and the batcher
batcher.py      Batcher: bounded queue, batches, runners; knows no engine
engine/         Engine: load an artifact, run it, close it; one interface, two engines
triton.py       what Triton's extensions tell of a model: configuration, statistics, repository
cpu.py          how many threads the CPU quota allows, and what the CPU can do
"""

from typing import TYPE_CHECKING

from service.late import files_of

if TYPE_CHECKING:
    from service.runtime import batcher, cpu, engine, preparation, runtime, triton

__all__ = ["batcher", "cpu", "engine", "preparation", "runtime", "triton"]
__getattr__ = files_of(__name__)
