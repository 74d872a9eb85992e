"""AOTInductor: the compiled library, driven through its C ABI; neither torch nor numpy is imported.

The compiled library calls functions of libtorch, or only those that the artifact's own runtime library has.
"""

import ctypes
import os
from collections.abc import Sequence
from ctypes import c_char_p, c_int32, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

from model.artifact import ITEM_BYTES, Artifact, ArtifactError, Program, TensorSpec
from service.errors import EngineError
from service.protocol.tensor import Item
from service.runtime.engine import aoti_abi, installed, memory
from service.runtime.engine.interface import Plan

STANDALONE = "standalone"
"""`Artifact.runtime` of programs that call no function of libtorch."""


def open_libraries(artifact: Artifact, how: Plan) -> Any:
    """The functions that the artifact's programs call: those of libtorch, or of the artifact's runtime library.

    Raises:
        ArtifactError: the libraries are not there, do not load, or are others than the programs need.
    """
    memory.keep_large_blocks()
    return _open_standalone(artifact) if artifact.runtime == STANDALONE else _open_libtorch(artifact, how)


def _open_standalone(artifact: Artifact) -> Any:
    """The artifact's runtime library, and OpenMP's, which it needs.

    They are verified here, because they are opened before the other files are verified.
    """
    artifact.verify(aoti_abi.STANDALONE, aoti_abi.OPENMP)
    folder = artifact.path.resolve()
    path = folder / aoti_abi.STANDALONE
    try:
        aoti_abi.dlopen(folder / aoti_abi.OPENMP, aoti_abi.RTLD_NOW)
        library = aoti_abi.dlopen(path, aoti_abi.RTLD_NOW)
        told = aoti_abi.bind_built_for(library)().decode()
        functions = aoti_abi.bind_torch(library)
    except (OSError, AttributeError) as fault:
        raise ArtifactError(f"{path} cannot be loaded: {fault}") from None
    wanted = aoti_abi.built_for(artifact.versions.get("torch", ""))
    if told != wanted:
        raise ArtifactError(f"{path} is built for {told}, and the model needs {wanted}: export it again")
    return functions


def _open_libtorch(artifact: Artifact, how: Plan) -> Any:
    """libc10 and libtorch_cpu, from `how.libtorch_dir` or from beside the installed torch, which is not imported."""
    # The weights are packed for the kernels of this ISA. By default oneDNN uses the best ISA of the CPU; if that is
    # another one, it packs the weights again in every run.
    os.environ["ONEDNN_MAX_CPU_ISA"] = artifact.cpu.onednn_isa
    folder = how.libtorch_dir
    if folder is None:
        torch = installed.folder("torch")
        if torch is None:
            raise ArtifactError("libtorch_cpu.so is not here: install torch, or set LIBTORCH_DIR to its folder")
        folder = torch / "lib"
    # Lazy binding: libtorch_cpu has 43,000 functions to bind, a model calls a few hundred of them (205 ms, not 295).
    mode = aoti_abi.RTLD_LAZY | aoti_abi.RTLD_GLOBAL
    try:
        aoti_abi.dlopen(folder / "libc10.so", mode)
        return aoti_abi.bind_torch(aoti_abi.dlopen(folder / "libtorch_cpu.so", mode))
    except OSError as fault:
        raise ArtifactError(f"libtorch cannot be loaded from {folder}: {fault}") from None


class AotiEngine:
    """One container for each compiled batch size; each holds as many models as there are runners."""

    is_proven = False

    def __init__(self, artifact: Artifact, how: Plan) -> None:
        programs = _choose(artifact, how)
        torch = open_libraries(artifact, how)
        self._containers = {program.batch: _Container(torch, artifact, program, how.runners) for program in programs}
        self.batch_sizes = tuple(sorted(self._containers))

    def run(self, items: Sequence[Item]) -> list[Item]:
        return self._containers[len(items)].run(items)

    def close(self) -> None:
        for container in self._containers.values():
            container.close()


class _Container:
    """One compiled program: exactly `batch` items a run."""

    def __init__(self, torch: Any, artifact: Artifact, program: Program, models: int) -> None:
        self._torch = torch
        self._batch = program.batch
        self._handle = c_void_p()
        path = artifact.path / program.file
        try:
            self._model = aoti_abi.bind_model(aoti_abi.dlopen(path.resolve(), _mode(artifact)))
        except OSError as fault:
            raise ArtifactError(f"{path} cannot be loaded ({fault}): {_remedy(artifact)}") from None
        self._inputs = [_Signature(torch, spec, program.batch) for spec in artifact.inputs]
        self._outputs = [_Signature(torch, spec, program.batch) for spec in artifact.outputs]
        if self._model.AOTInductorModelContainerCreateWithDevice(ctypes.byref(self._handle), models, b"cpu", None):
            raise ArtifactError(f"{path} cannot be started: {self._last_error()}")
        memory.drop_copied_weights(path)
        self._check_signature(path)

    def run(self, items: Sequence[Item]) -> list[Item]:
        blobs = [b"".join(parts) for parts in zip(*items, strict=True)]
        inputs = (c_void_p * len(self._inputs))()
        outputs = (c_void_p * len(self._outputs))()
        for index, (signature, blob) in enumerate(zip(self._inputs, blobs, strict=True)):
            inputs[index] = signature.wrap(blob)
        if self._model.AOTInductorModelContainerRun(
            self._handle, inputs, len(inputs), outputs, len(outputs), None, None
        ):
            raise EngineError(self._last_error())
        try:
            columns = [signature.copy(handle) for signature, handle in zip(self._outputs, outputs, strict=True)]
        finally:
            # A tensor that is in two outputs has the same handle in both, which is owned once.
            for handle in set(outputs):
                self._torch.aoti_torch_delete_tensor_object(handle)
        return list(zip(*columns, strict=True))

    def close(self) -> None:
        if self._handle:
            self._model.AOTInductorModelContainerDelete(self._handle)
            self._handle = c_void_p()

    def _check_signature(self, path: Path) -> None:
        counts = (c_size_t(), c_size_t())
        self._model.AOTInductorModelContainerGetNumInputs(self._handle, ctypes.byref(counts[0]))
        self._model.AOTInductorModelContainerGetNumOutputs(self._handle, ctypes.byref(counts[1]))
        wanted = (len(self._inputs), len(self._outputs))
        if (counts[0].value, counts[1].value) != wanted:
            raise ArtifactError(f"{path} has {counts[0].value} inputs and {counts[1].value} outputs, not {wanted}")

    def _last_error(self) -> str:
        message = c_char_p()
        self._model.AOTInductorGetLastError(ctypes.byref(message))
        return (message.value or b"the compiled model gave no reason").decode(errors="replace").strip()


class _Signature:
    """One input or output at one batch size, as the C ABI wants it."""

    def __init__(self, torch: Any, spec: TensorSpec, batch: int) -> None:
        self._torch = torch
        self._name = spec.name
        shape = (batch, *spec.shape)
        strides = [1] * len(shape)
        for axis in range(len(shape) - 2, -1, -1):
            strides[axis] = strides[axis + 1] * shape[axis + 1]
        self._ndim = len(shape)
        self._sizes = (c_int64 * len(shape))(*shape)
        self._strides = (c_int64 * len(shape))(*strides)
        self._dtype = getattr(torch, f"aoti_torch_dtype_{aoti_abi.DTYPES[spec.datatype]}")()
        self._item_bytes = spec.item_bytes
        self._batch = batch
        self._numel = batch * spec.item_bytes // ITEM_BYTES[spec.datatype]

    def wrap(self, blob: bytes) -> int | None:
        """A new tensor handle over `blob`, which it borrows."""
        handle = c_void_p()
        if self._torch.aoti_torch_create_tensor_from_blob(
            blob, self._ndim, self._sizes, self._strides, 0, self._dtype, 0, 0, ctypes.byref(handle)
        ):
            raise EngineError(f"input {self._name}: no tensor could be made of it")
        return handle.value

    def copy(self, handle: int) -> list[bytes]:
        """Each item's bytes, copied out of the tensor."""
        numel, dtype, contiguous, address = c_int64(), c_int32(), ctypes.c_bool(), c_void_p()
        failed = (
            self._torch.aoti_torch_get_numel(handle, ctypes.byref(numel))
            or self._torch.aoti_torch_get_dtype(handle, ctypes.byref(dtype))
            or self._torch.aoti_torch_is_contiguous(handle, ctypes.byref(contiguous))
            or self._torch.aoti_torch_get_data_ptr(handle, ctypes.byref(address))
        )
        if failed or not contiguous or (numel.value, dtype.value) != (self._numel, self._dtype) or not address.value:
            raise EngineError(f"output {self._name} is not what the artifact says")
        size = self._item_bytes
        return [ctypes.string_at(address.value + index * size, size) for index in range(self._batch)]


def _mode(artifact: Artifact) -> int:
    return aoti_abi.RTLD_NOW | (aoti_abi.RTLD_DEEPBIND if artifact.runtime == STANDALONE else 0)


def _remedy(artifact: Artifact) -> str:
    if artifact.runtime == STANDALONE:
        return f"it needs the {aoti_abi.STANDALONE} that it was exported with"
    return f"it was compiled with torch {artifact.versions.get('torch')}, and needs the libraries of that version"


def _choose(artifact: Artifact, how: Plan) -> list[Program]:
    """The programs compiled for this number of threads, up to the largest batch wanted."""
    fitting = [each for each in artifact.programs if each.threads == how.threads]
    if not fitting:
        compiled = sorted({each.threads for each in artifact.programs})
        raise ArtifactError(
            f"{artifact.name} is compiled for runs of {' or '.join(map(str, compiled))} threads, not {how.threads}: "
            "leave RUN_THREADS unset, or export with --threads"
        )
    return [each for each in fitting if each.batch <= max(how.max_batch_size, 1)]
