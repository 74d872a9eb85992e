"""Load the engine of an artifact: first its libraries, then the model."""

import importlib
import os
import threading

from model.artifact import Artifact, ArtifactError
from service.runtime import cpu, engine
from service.runtime.engine import memory
from service.runtime.engine.interface import Engine, Plan

# A thread that asks the system's loader for anything while it opens libtorch waits for that, holding the GIL. This lock
# keeps the others waiting without the GIL.
_preparing = threading.Lock()


def prepare(artifact: Artifact, how: Plan) -> None:
    """Load those libraries of the artifact's engine that survive a fork, because they start no thread.

    Called before anything else loads an OpenMP library; by a second thread, it waits for the first.

    Raises:
        ArtifactError: this CPU cannot run the artifact, or its libraries are missing.
    """
    if missing := set(artifact.cpu.flags) - cpu.flags():
        raise ArtifactError(
            f"{artifact.name} is compiled for {artifact.cpu.name}, and this CPU lacks {', '.join(sorted(missing))}: "
            "export it with --cpu x86-64-v3, or on this machine with --cpu native"
        )
    with _preparing:
        os.environ["OMP_NUM_THREADS"] = str(how.threads)
        # Waiting threads that spin take the cores from the ones that work: 829 against 272 ms of CPU for 10 runs.
        os.environ["OMP_WAIT_POLICY"] = "passive"
        # One arena for each runner, and one for everything else.
        memory.limit_arenas(how.runners + 1)
        if artifact.engine == "aoti":
            engine.aoti.open_libraries(artifact, how)
        else:
            # Without this numpy's OpenBLAS, which is not used here, starts a thread for each core.
            os.environ["OPENBLAS_NUM_THREADS"] = "1"
            # ONNX Runtime itself starts a thread when it is imported: that is left to `load`.
            importlib.import_module("numpy")


def load(artifact: Artifact, how: Plan) -> Engine:
    """The artifact's engine, loaded and its files verified before: loading a program executes it.

    Raises:
        ArtifactError: as `prepare` does, or a file is not the exported one.
    """
    # While the libraries may still be loading, in another thread.
    artifact.verify()
    prepare(artifact, how)
    if artifact.engine == "aoti":
        return engine.aoti.AotiEngine(artifact, how)
    return engine.onnx.OnnxEngine(artifact, how)
