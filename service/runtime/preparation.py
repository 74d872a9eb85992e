"""What is done before gunicorn forks its worker: the engine is loaded, in a thread beside the imports.

Its libraries survive the fork, because they start no thread. A model that may start one is loaded in the worker.
"""

import importlib
import threading
from contextlib import suppress

from model.artifact import Artifact
from service.runtime import cpu
from service.runtime.engine import loading
from service.runtime.engine.interface import Plan
from service.settings import Settings
from service.telemetry import ledger

# The C extensions that gunicorn, Flask and Pillow import. The system's loader opens one library at a time, so each of
# them would wait for libtorch, and so would all imports. In some Pythons they are built in, or have other names.
EXTENSIONS = (
    "PIL._imaging", "_bisect", "_bz2", "_contextvars", "_csv", "_datetime", "_decimal", "_heapq", "_lzma", "_pickle",
    "_posixsubprocess", "_queue", "_random", "_sha512", "_ssl", "_struct", "_uuid", "array", "binascii", "fcntl", "grp",
    "markupsafe._speedups", "resource", "select", "unicodedata", "zlib",
)  # fmt: skip


def plan(artifact: Artifact, settings: Settings) -> Plan:
    """The plan by the settings; for those that are 0, by what the artifact measured as best, on the whole CPU quota."""
    cpus = cpu.quota()
    if memory_mb := settings.aws_lambda_function_memory_size:
        cpus = min(cpus, cpu.of_lambda(memory_mb))
    cpus = max(1, cpus // settings.aws_lambda_max_concurrency)
    threads = settings.run_threads or min(artifact.defaults.threads, cpus)
    return Plan(
        runners=settings.runners or max(1, cpus // threads),
        threads=threads,
        max_batch_size=settings.max_batch_size or artifact.defaults.max_batch_size,
        libtorch_dir=settings.libtorch_dir,
        onnxruntime_dir=settings.onnxruntime_dir,
    )


def import_if_there(name: str) -> None:
    with suppress(ImportError):
        importlib.import_module(name)


class Preparation:
    """Begins at once; `finish` waits for it."""

    def __init__(self, artifact: Artifact, settings: Settings) -> None:
        self._fault: Exception | None = None
        for name in EXTENSIONS:
            import_if_there(name)
        self._thread = threading.Thread(target=self._run, args=(artifact, settings), name="preparation")
        self._thread.start()

    def finish(self) -> None:
        """Return once the libraries are loaded.

        Raises:
            ArtifactError: they cannot be.
        """
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    def _run(self, artifact: Artifact, settings: Settings) -> None:
        try:
            loading.prepare(artifact, plan(artifact, settings))
        except Exception as fault:
            self._fault = fault
        ledger.mark("libraries")
