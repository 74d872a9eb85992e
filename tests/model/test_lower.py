"""What AOTInductor makes of a module: vector code, without a word about headers that it does not need."""

import os
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
from model.artifact import CpuSpec
from model.lower import Target, lower_aoti, vectors_of
from tests.support.models import Smooth

# A product of whole vectors, and the exponential of one.
VECTOR_CODE = {
    "x86_64": (r"\bvfn?m(?:add|sub)\d+ps .*%ymm", "Sleef_expf8"),
    "aarch64": (r"\bfml[as]\s+v\d+\.4s", "Sleef_expf4"),
}


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
        assert not any(cpu_vec_isa.valid_vec_isa_list())
    get_path = sysconfig.get_path

    def without_headers(name: str, *arguments: Any, **options: Any) -> str | None:
        return str(tmp_path / "gone") if name == "include" else get_path(name, *arguments, **options)

    monkeypatch.setattr(sysconfig, "get_path", without_headers)
    library = tmp_path / "model.so"
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        lower_aoti(Smooth().eval(), (torch.randn(1, 64, 256),), library, Target(cpus.resolve()))
    assert [str(each.message) for each in heard if "Python.h" in str(each.message)] == []
    code = subprocess.run(["objdump", "-d", "-T", library], capture_output=True, text=True, check=True).stdout
    # Scalar code has none of both: products of whole vectors (12 with AVX2), and the exponential of several numbers at once.
    products, exponential = VECTOR_CODE[os.uname().machine]
    assert len(re.findall(products, code)) > 5
    assert exponential in code


def test_on_arm64_the_vectors_are_those_of_the_baseline() -> None:
    """Where Inductor by itself finds others: this machine's here, and SVE's on a CPU that has them."""
    find = cpu_vec_isa.valid_vec_isa_list
    wanted = {"cpp.vec_isa_ok": True, "cpp.simdlen": 128}
    with vectors_of(CpuSpec("armv8.2-a", machine="aarch64")), config.patch(wanted):
        assert isinstance(cpu_vec_isa.pick_vec_isa(), cpu_vec_isa.VecNEON)
    assert cpu_vec_isa.valid_vec_isa_list is find
