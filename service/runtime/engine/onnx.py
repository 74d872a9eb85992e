"""ONNX Runtime, driven through its C ABI: the graph that torch.onnx exported, optimised at export; no numpy."""

import ctypes
import os
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

from model.artifact import Artifact, ArtifactError, TensorSpec
from service.errors import EngineError
from service.protocol.tensor import Item
from service.runtime.engine import aoti_abi, installed, memory, onnx_abi
from service.runtime.engine.interface import Plan

# After so many lone items in a row, a larger batch's memory is given back. Of 228 MB after batches of 8 on two runners,
# 91 are left. This costs 8 ms, and 50 ms in the next large batch: too much to do it after each.
LONE_ITEMS = 16


class _Fault(Exception):
    """What ONNX Runtime says of a call that failed."""


def open_library(artifact: Artifact, how: Plan) -> "Library":
    """libonnxruntime, from `how.onnxruntime_dir` or from beside the installed onnxruntime, which is not imported.

    Raises:
        ArtifactError: it is not there, does not load, or is older than the one that the graph was exported with.
    """
    # Otherwise it keeps a database in the home folder, starts a thread, and reports its use to Microsoft.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    path = _path(how)
    try:
        base = onnx_abi.bind_base(aoti_abi.dlopen(path, aoti_abi.RTLD_NOW))
    except (OSError, AttributeError) as fault:
        raise ArtifactError(f"ONNX Runtime cannot be loaded: {fault}") from None
    found, wanted = base.GetVersionString().decode(), artifact.versions.get("onnxruntime", "")
    if _release(found) < _release(wanted):
        raise ArtifactError(
            f"{artifact.name} was exported with ONNX Runtime {wanted}, and {path} is {found}: "
            f"install {wanted} or newer, or export it again"
        )
    table = base.GetApi(onnx_abi.API_VERSION)
    if not table:
        raise ArtifactError(f"{path} is ONNX Runtime {found}, without version {onnx_abi.API_VERSION} of its C API")
    return Library(table)


class Library:
    """The functions of libonnxruntime in `call`, and what every session needs of it.

    A process has one environment, and each Library holds a reference to it. The first takes 20 ms, because all operators
    are registered then, and the one that is opened before the fork stays for the worker.
    """

    def __init__(self, table: int) -> None:
        self.call = onnx_abi.bind(table)
        self.env = self.made(self.call.CreateEnv, onnx_abi.LOGGING_FATAL, b"kindling")
        self.memory = self.made(self.call.CreateCpuMemoryInfo, onnx_abi.DEVICE_ALLOCATOR, onnx_abi.MEM_TYPE_DEFAULT)

    def close(self) -> None:
        self.call.ReleaseMemoryInfo(self.memory)
        self.call.ReleaseEnv(self.env)
        self.memory, self.env = c_void_p(), c_void_p()

    def check(self, status: int | None) -> None:
        """Raise what `status` says, and release it."""
        if status:
            message = self.call.GetErrorMessage(status).decode(errors="replace")
            self.call.ReleaseStatus(status)
            raise _Fault(message)

    def made(self, function: Any, *arguments: Any) -> c_void_p:
        """What `function` writes to its last argument; the caller owns it."""
        out = c_void_p()
        self.check(function(*arguments, ctypes.byref(out)))
        return out


class OnnxEngine:
    """One session; its runs are concurrent, each on `threads` threads."""

    is_proven = False

    def __init__(self, artifact: Artifact, how: Plan) -> None:
        self.batch_sizes = tuple(range(1, how.max_batch_size + 1))
        path = artifact.path / artifact.programs[0].file
        self._library = library = open_library(artifact, how)
        self._session, self._shrinking = c_void_p(), c_void_p()
        self._lone_items = LONE_ITEMS
        try:
            self._session = _session(library, path, how.threads)
            self._shrinking = _shrinking(library)
            # Matched by order, because their names in the graph differ from those in the artifact.
            self._input_names = _names(library, self._session, "Input")
            self._output_names = _names(library, self._session, "Output")
        except _Fault as fault:
            self.close()
            raise ArtifactError(f"{path} cannot be loaded: {fault}") from None
        memory.give_back()  # what the optimisation freed: 9 MB, in 1 ms
        self._inputs = [_Column(library, spec) for spec in artifact.inputs]
        self._outputs = [_Column(library, spec) for spec in artifact.outputs]
        counts = (len(self._input_names), len(self._output_names))
        wanted = (len(self._inputs), len(self._outputs))
        if counts != wanted:
            self.close()
            raise ArtifactError(f"{path} has {counts[0]} inputs and {counts[1]} outputs, not {wanted}")

    def run(self, items: Sequence[Item]) -> list[Item]:
        blobs = [b"".join(parts) for parts in zip(*items, strict=True)]
        inputs = (c_void_p * len(self._inputs))()
        outputs = (c_void_p * len(self._outputs))()
        names = (self._input_names, self._output_names)
        try:
            for index, (column, blob) in enumerate(zip(self._inputs, blobs, strict=True)):
                inputs[index] = column.wrap(blob, len(items)).value
            self._library.check(
                self._library.call.Run(
                    self._session, self._options(len(items)),
                    names[0], inputs, len(inputs), names[1], len(outputs), outputs,
                )
            )  # fmt: skip
            columns = [column.copy(value, len(items)) for column, value in zip(self._outputs, outputs, strict=True)]
        except _Fault as fault:
            raise EngineError(str(fault)) from None
        finally:
            # Each value is owned once, also where several share one tensor.
            for value in (*inputs, *outputs):
                self._library.call.ReleaseValue(value)
        return list(zip(*columns, strict=True))

    def close(self) -> None:
        self._library.call.ReleaseSession(self._session)
        self._library.call.ReleaseRunOptions(self._shrinking)
        self._session, self._shrinking = c_void_p(), c_void_p()
        self._library.close()

    def _options(self, batch: int) -> c_void_p | None:
        """The options of a run; with some, it gives back the memory that it does not need itself."""
        lone_items = self._lone_items + 1 if batch == 1 else 0
        self._lone_items = lone_items
        return self._shrinking if lone_items == LONE_ITEMS else None


class _Column:
    """One input or output of all items of a run."""

    def __init__(self, library: Library, spec: TensorSpec) -> None:
        self._library = library
        self._spec = spec
        self._dtype = onnx_abi.DTYPES[spec.datatype]

    def wrap(self, blob: bytes, batch: int) -> c_void_p:
        """A new value over `blob`, which it borrows and only reads: a run never writes to what it was given."""
        shape = (c_int64 * (1 + len(self._spec.shape)))(batch, *self._spec.shape)
        return self._library.made(
            self._library.call.CreateTensorWithDataAsOrtValue,
            self._library.memory, blob, len(blob), shape, len(shape), self._dtype,
        )  # fmt: skip

    def copy(self, value: int, batch: int) -> list[bytes]:
        """Each item's bytes, copied out of the value."""
        dtype, shape, rank, address = c_int(), POINTER(c_int64)(), c_size_t(), c_void_p()
        call, size = self._library.call, self._spec.item_bytes
        self._library.check(
            call.GetTensorElementTypeAndShapeDataReference(
                value, ctypes.byref(dtype), ctypes.byref(shape), ctypes.byref(rank)
            )
        )
        if (dtype.value, shape[: rank.value]) != (self._dtype, [batch, *self._spec.shape]):
            raise EngineError(f"output {self._spec.name} is not what the artifact says")
        self._library.check(call.GetTensorMutableData(value, ctypes.byref(address)))
        # Without elements there is no address.
        return [ctypes.string_at((address.value or 0) + index * size, size) for index in range(batch)]


def _session(library: Library, path: Path, threads: int) -> c_void_p:
    """A new session of the graph at `path`."""
    call = library.call
    options = library.made(call.CreateSessionOptions)
    try:
        library.check(call.SetIntraOpNumThreads(options, threads))
        library.check(call.SetInterOpNumThreads(options, 1))
        # Threads that spin while they wait take cores from threads that work.
        library.check(call.AddSessionConfigEntry(options, b"session.intra_op.allow_spinning", b"0"))
        # The pattern of a run's memory, kept for each batch size, takes 15 MB after batches of 8, and no run is faster.
        library.check(call.DisableMemPattern(options))
        # Export made the optimisations for all CPUs. Only the layout for this CPU is left: 15 ms a run instead of 26.
        library.check(call.SetSessionGraphOptimizationLevel(options, onnx_abi.ENABLE_ALL))
        return library.made(call.CreateSession, library.env, bytes(path), options)
    finally:
        call.ReleaseSessionOptions(options)


def _shrinking(library: Library) -> c_void_p:
    """New options for a run that gives back memory at its end."""
    options = library.made(library.call.CreateRunOptions)
    library.check(library.call.AddRunConfigEntry(options, b"memory.enable_memory_arena_shrinkage", b"cpu:0"))
    return options


def _names(library: Library, session: c_void_p, kind: str) -> Any:
    """The names of the graph's inputs or outputs, in their order, as `Run` wants them."""
    call = library.call
    count = c_size_t()
    library.check(getattr(call, f"SessionGet{kind}Count")(session, ctypes.byref(count)))
    allocator = library.made(call.GetAllocatorWithDefaultOptions)
    names = []
    for index in range(count.value):
        name = library.made(getattr(call, f"SessionGet{kind}Name"), session, index, allocator)
        names.append(ctypes.string_at(name.value or 0))
        library.check(call.AllocatorFree(allocator, name))
    return (c_char_p * len(names))(*names)


def _path(how: Plan) -> Path:
    """The newest libonnxruntime in the folder; its file is named after its version."""
    folder = how.onnxruntime_dir
    if folder is None:
        package = installed.folder("onnxruntime")
        if package is None:
            raise ArtifactError("ONNX Runtime is not here: install onnxruntime, or set ONNXRUNTIME_DIR to its folder")
        folder = package / "capi"
    paths = sorted(folder.glob("libonnxruntime.so*"))
    if not paths:
        raise ArtifactError(f"ONNX Runtime cannot be loaded: there is no libonnxruntime.so in {folder}")
    return paths[-1]


def _release(version: str) -> tuple[int, ...]:
    """Of `1.32.0` the numbers 1 and 32: graphs are the same in all patches of a release."""
    return tuple(int(each) for each in version.split(".")[:2] if each.isdigit())
