"""The real export: `python -m model export` in a process of its own; those that many tests share, once a session."""

import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from pathlib import Path

from tests.support.serving import ROOT

Done = subprocess.CompletedProcess[str]

ONE_THREAD = ("--threads", "1")
BATCHES = ("--batch-sizes", "1,4", *ONE_THREAD)
SINGLE = ("--batch-sizes", "1", *ONE_THREAD)
OLD = "an artifact that was there before"

# The engine aoti, with libtorch and without it.
KINDS = {
    "aoti": ("--engine", "aoti", "--runtime", "libtorch"),
    "standalone": ("--engine", "aoti", "--runtime", "standalone"),
    "onnx": ("--engine", "onnx"),
}

SHARED = {
    "tiny-aoti": ("tests/support/models.py:tiny", *KINDS["aoti"], *BATCHES),
    "tiny-onnx": ("tests/support/models.py:tiny", "--engine", "onnx", *BATCHES),
    "types-aoti": ("tests/support/models.py:types_aoti", *KINDS["aoti"], *BATCHES),
    "types-onnx": ("tests/support/models.py:types_onnx", "--engine", "onnx", *BATCHES),
}
OF_TEST_ENGINE: dict[str, tuple[str, ...]] = {
    "tiny-standalone": ("tests/support/models.py:tiny", *KINDS["standalone"], *BATCHES),
    "types-standalone": ("tests/support/models.py:types_aoti", *KINDS["standalone"], *BATCHES),
}
OF_TEST_EXPORT: dict[str, tuple[str, ...]] = {
    "imprecise": ("tests/support/models.py:tiny", "--engine", "onnx", "--tolerance", "1e-12", *SINGLE),
    **{f"branching-{kind}": ("tests/support/models.py:branching", *flags, *SINGLE) for kind, flags in KINDS.items()},
    "bf16": ("tests/support/models.py:tiny", "--precision", "bf16", *SINGLE),
    "converting": ("tests/support/models.py:converting", "--engine", "onnx", *SINGLE),
    "kernels-auto": ("tests/support/models.py:sorting", *SINGLE),
    "tiny-auto": ("tests/support/models.py:tiny", *SINGLE),
    "kernels-standalone": ("tests/support/models.py:sorting", *KINDS["standalone"], *SINGLE),
    "tiny-standalone": OF_TEST_ENGINE["tiny-standalone"],
    "auto": ("tests/support/models.py:tiny", "--engine", "auto", *SINGLE),
    "torchvision": ("torchvision:mobilenet_v3_small", "--weights", "none", "--engine", "onnx", *SINGLE),
}

OF_TEST_OWN_MODELS: dict[str, tuple[str, ...]] = {
    f"{model}-{kind}": (f"tests/support/models.py:{model}", *KINDS[kind], *plan)
    for model, plan, kinds in (
        ("twice", BATCHES, ("onnx", "aoti", "standalone")),
        ("named", SINGLE, ("onnx", "aoti", "standalone")),
        ("parts", SINGLE, ("standalone",)),
        ("segmentation", SINGLE, ("onnx", "aoti")),
    )
    for kind in kinds
}
OF_FILES = {
    "test_early.py": OF_TEST_ENGINE,
    "test_engine.py": OF_TEST_ENGINE,
    "test_measure.py": OF_TEST_ENGINE,
    "test_runtime_library.py": OF_TEST_ENGINE,
    "test_export.py": OF_TEST_EXPORT,
    "test_own_models.py": OF_TEST_OWN_MODELS,
    "test_tensor_form.py": {"segmentation-onnx": OF_TEST_OWN_MODELS["segmentation-onnx"]},
}
"""What the tests of one file alone need: begun only when some of them are to run."""


class Exports:
    """Each in a folder of its own, some at the same time; the first ones begun are the first ones done."""

    def __init__(self, pool: Executor, root: Path) -> None:
        self._pool = pool
        self._root = root
        self._done: dict[str, Future[Done]] = {}

    def begin(self, jobs: Mapping[str, tuple[str, ...]]) -> None:
        for key, arguments in jobs.items():
            if key in self._done:
                continue
            folder = self.path(key)
            folder.mkdir(parents=True)
            if key in ("imprecise", "bf16"):
                (folder / "artifact.json").write_text(OLD)
            self._done[key] = self._pool.submit(model_command, "export", *arguments, "--output", str(folder))

    def path(self, key: str) -> Path:
        return self._root / key / "artifact"

    def result(self, key: str) -> Done:
        return self._done[key].result()

    def artifact(self, key: str) -> Path:
        done = self.result(key)
        assert done.returncode == 0, done.stderr
        return self.path(key)


def model_command(*arguments: str) -> Done:
    command = [sys.executable, "-m", "model", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
