"""Engine: load an artifact, run it, close it; one interface, two engines.

interface.py  Engine, and the Plan by which it is loaded
loading.py    an artifact's engine, loaded; only the one that it needs is imported
aoti.py       AOTInductor: the compiled library, through its C ABI
aoti_abi.py   that C ABI: declarations only
onnx.py       ONNX Runtime, through its C ABI
onnx_abi.py   that C ABI: declarations only
installed.py  where an installed package is
self_test.py  the answer that a model must give before it may give others
memory.py     what glibc and the kernel are told about this process's memory
"""

from typing import TYPE_CHECKING

from service.late import files_of

if TYPE_CHECKING:
    from service.runtime.engine import aoti, aoti_abi, installed, interface, loading, memory, onnx, onnx_abi, self_test

__all__ = ["aoti", "aoti_abi", "installed", "interface", "loading", "memory", "onnx", "onnx_abi", "self_test"]
__getattr__ = files_of(__name__)
