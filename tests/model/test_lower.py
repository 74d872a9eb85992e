"""What AOTInductor makes of a module: vector code, without a word about headers that it does not need."""

import re
import subprocess
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor import config, cpu_vec_isa

from model import cpus
from model.lower import Target, lower_aoti
from tests.support.models import Smooth


@pytest.fixture
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads_as_before")
def test_the_compiled_code_is_vector_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Though Inductor holds the CPU to have no vectors, by a check that failed, and Python's headers are missing."""
    cpu_vec_isa.valid_vec_isa_list.cache_clear()
    with config.patch({"cpp.vec_isa_ok": False}):
        assert cpu_vec_isa.valid_vec_isa_list() == []
    get_path = sysconfig.get_path

    def without_headers(name: str, *arguments: Any, **options: Any) -> str | None:
        return str(tmp_path / "gone") if name == "include" else get_path(name, *arguments, **options)

    monkeypatch.setattr(sysconfig, "get_path", without_headers)
    library = tmp_path / "model.so"
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        lower_aoti(Smooth().eval(), (torch.randn(1, 64, 256),), library, Target(cpus.resolve("x86-64-v3")))
    assert [str(each.message) for each in heard if "Python.h" in str(each.message)] == []
    code = subprocess.run(["objdump", "-d", "-T", library], capture_output=True, text=True, check=True).stdout
    # Scalar code has none of both: 12 products of whole vectors, and the exponential of eight numbers at once.
    assert len(re.findall(r"\bvfn?m(?:add|sub)\d+ps .*%ymm", code)) > 5
    assert "Sleef_expf8" in code


def test_the_cpu_that_the_code_needs_is_told_by_the_artifact() -> None:
    assert {"avx2", "fma", "f16c"} <= set(cpus.resolve("x86-64-v3").flags)
    assert {"avx2", "fma", "f16c"} <= set(cpus.resolve("native").flags)
