"""What the service must not import: torch costs more than its whole start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.serving import ROOT

ASK = """
import io, sys
from PIL import Image
from service.web.app import create_app
from service.settings import Settings

app = create_app(Settings.from_env({"MODEL_DIR": sys.argv[1]}))
runtime = app.extensions["runtime"]
runtime.wait_until_ready(60)
file = io.BytesIO()
Image.new("RGB", (30, 20)).save(file, "PNG")
answer = app.test_client().post("/infer", data=file.getvalue())
assert answer.status_code == 200, answer.data
runtime.close()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def _modules(code: str, *arguments: str) -> set[str]:
    """The packages that a fresh interpreter has loaded at the end."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_service_leaves_torch_and_numpy_out() -> None:
    modules = _modules("import service.web.app, sys; print(*sys.modules)")
    assert "service.web.app" in modules
    assert not modules & {"torch", "torchvision", "numpy", "onnxruntime"}
    assert not modules & {"service.cloud", "awslambdaric", "apig_wsgi", "functions_framework"}
    assert not modules & {"h2", "hpack", "google.protobuf"}


@pytest.mark.parametrize(
    "module", ["model.artifact", "service.serving.server", "service.__main__", "service.protocol.v2"]
)
def test_importing_one_module_leaves_torch_and_numpy_out(module: str) -> None:
    modules = _modules(f"import {module}, sys; print(*sys.modules)")
    assert module in modules
    assert not modules & {"torch", "torchvision", "numpy", "onnxruntime"}


def test_answering_leaves_torch_and_numpy_out(tiny: Path) -> None:
    modules = _modules(ASK, str(tiny))
    assert "flask" in modules
    assert not modules & {"torch", "torchvision", "numpy", "onnxruntime"}


def test_the_function_on_lambda_leaves_out_what_only_some_events_need(tiny_aoti: Path) -> None:
    modules = _modules(
        "import os, sys; os.environ['MODEL_DIR'] = sys.argv[1]; import service.cloud.aws_lambda as function\n"
        "assert function.app.extensions['runtime'].is_ready\n"
        "print(*sys.modules)",
        str(tiny_aoti),
    )
    assert modules >= {"flask", "apig_wsgi"}
    assert not modules & {"torch", "torchvision", "numpy", "onnxruntime", "gunicorn", "cloudevents", "sqlalchemy"}


@pytest.mark.parametrize(
    ("before", "beside"),
    [("service.__main__", "service.serving.server"), ("service.cloud.startup", "service.web.app"),
     ("awslambdaric.bootstrap", "service.web.app")],
)  # fmt: skip
def test_no_extension_waits_for_the_libraries(before: str, beside: str) -> None:
    """The loader opens one library at a time: all that the imports need are opened before libtorch."""
    script = (
        "import sys\n"
        f"import {before}\n"
        "from service.runtime import preparation\n"
        "for name in preparation.EXTENSIONS: preparation.import_if_there(name)\n"
        "opened = {name for name, module in sys.modules.items() if str(getattr(module, '__file__', '')).endswith('.so')}\n"
        f"import service.protocol.image, {beside}\n"
        "print(*(name for name, module in sys.modules.items() if name not in opened\n"
        "    and str(getattr(module, '__file__', '')).endswith('.so')))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
