"""Load the engine of an artifact: first its libraries, then the model."""

import os
import threading

from model.artifact import Artifact, ArtifactError
from service.runtime import cpu, engine
from service.runtime.engine import memory
from service.runtime.engine.interface import Engine, Plan

# While the system's loader opens libtorch, a thread that asks the loader for anything else waits, and holds the GIL. With
# this lock it waits without the GIL.
_preparing = threading.Lock()


def prepare(artifact: Artifact, how: Plan) -> None:
    """Load those libraries of the artifact's engine that survive a fork, because they start no thread.

    Must be called before anything else loads an OpenMP library. A second thread that calls it waits for the first.

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
        # Threads that spin while they wait take cores from threads that work: 829 ms of CPU instead of 272 for 10 runs.
        os.environ["OMP_WAIT_POLICY"] = "passive"
        # One arena for each runner, and one for everything else.
        memory.limit_arenas(how.runners + 1)
        if artifact.engine == "aoti":
            engine.aoti.open_libraries(artifact, how)
        else:
            engine.onnx.open_library(artifact, how)


def load(artifact: Artifact, how: Plan) -> Engine:
    """The artifact's engine, loaded. Its files are verified first, because loading a program executes it.

    Raises:
        ArtifactError: as `prepare` does, or a file is not the exported one.
    """
    # While the libraries may still be loading, in another thread.
    artifact.verify()
    prepare(artifact, how)
    if artifact.engine == "aoti":
        return engine.aoti.AotiEngine(artifact, how)
    return engine.onnx.OnnxEngine(artifact, how)
