"""Load the engine of an artifact: first its libraries, then the model."""

import os
import threading
from contextlib import suppress

from model.artifact import Artifact, ArtifactError
from service.errors import EngineError
from service.runtime import cpu, engine
from service.runtime.engine import memory, self_test
from service.runtime.engine.interface import Engine, Plan

# While the system's loader opens libtorch, a thread that asks the loader for anything else waits, and holds the GIL. With
# this lock it waits without the GIL.
_preparing = threading.Lock()
# What `prepare` has loaded and proven already; `load` takes it from here, in the same process or after a fork.
_early: list[tuple[Artifact, Plan, Engine]] = []


def prepare(artifact: Artifact, how: Plan) -> None:
    """Load what survives a fork, because it starts no thread: the engine's libraries and, where it starts none, the model.

    Must be called before anything else loads an OpenMP library. A second thread that calls it waits for the first.

    Raises:
        ArtifactError: this CPU cannot run the artifact, or its libraries are missing.
    """
    _check_cpu(artifact)
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
        if _starts_no_thread(artifact, how) and _early_one(artifact, how) is None:
            _load_early(artifact, how)


def load(artifact: Artifact, how: Plan) -> Engine:
    """The artifact's engine, loaded. Its files are verified first, because loading a program executes it.

    Raises:
        ArtifactError: as `prepare` does, or a file is not the exported one.
    """
    if not _starts_no_thread(artifact, how):
        # While the libraries may still be loading, in another thread.
        artifact.verify()
        prepare(artifact, how)
        return _engine(artifact, how)
    prepare(artifact, how)
    if (kept := _early_one(artifact, how)) is not None:
        _early.remove(kept)
        return kept[2]
    artifact.verify()
    return _engine(artifact, how)


def _engine(artifact: Artifact, how: Plan) -> Engine:
    return engine.aoti.AotiEngine(artifact, how) if artifact.engine == "aoti" else engine.onnx.OnnxEngine(artifact, how)


def _starts_no_thread(artifact: Artifact, how: Plan) -> bool:
    """Whether neither loading nor running the model does. libtorch has threads of its own."""
    return how.threads == 1 and (artifact.engine == "onnx" or artifact.runtime == engine.aoti.STANDALONE)


def _check_cpu(artifact: Artifact) -> None:
    wanted, machine = artifact.cpu, os.uname().machine
    if wanted.machine not in ("", machine):
        fault = f"{wanted.name} of {wanted.machine}, and this machine is {machine}"
    elif missing := set(wanted.flags) - cpu.flags():
        fault = f"{wanted.name}, and this CPU lacks {', '.join(sorted(missing))}"
    else:
        return
    remedy = "export it on this machine, or for every CPU with --engine onnx"
    raise ArtifactError(f"{artifact.name} is compiled for {fault}: {remedy}")


def _load_early(artifact: Artifact, how: Plan) -> None:
    """Load and prove the model beside the imports, and not after the fork. If that fails, `load` begins anew and says why."""
    with suppress(ArtifactError, EngineError):
        artifact.verify()
        loaded = _engine(artifact, how)
        try:
            self_test.check(artifact, loaded)
        except EngineError:
            loaded.close()
            raise
        loaded.is_proven = True
        _early.append((artifact, how, loaded))


def _early_one(artifact: Artifact, how: Plan) -> tuple[Artifact, Plan, Engine] | None:
    return next((each for each in _early if each[:2] == (artifact, how)), None)
