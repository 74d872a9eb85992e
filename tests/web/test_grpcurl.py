"""grpcurl, a client written in Go that knows nothing but our .proto file."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import eager, required
from tests.support.pictures import png
from tests.support.serving import ROOT, Server

MODULE = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"
NOT_FOUND = 64 + 5  # its exit code has gRPC's status


@pytest.fixture(scope="module")
def grpcurl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from its source."""
    go = shutil.which("go", path=f"{os.environ['PATH']}:/usr/local/go/bin")
    if go is None:
        missing = "there is no go: see https://go.dev/doc/install"
        required.skip(missing, "REQUIRE_GO")
    folder = tmp_path_factory.mktemp("go")
    done = subprocess.run(
        [go, "install", MODULE], env={**os.environ, "GOBIN": str(folder)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "grpcurl"


def _run(grpcurl: Path, *arguments: str, asked: Any = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [grpcurl, "-plaintext", *arguments],
        cwd=ROOT, input=json.dumps(asked or {}), capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_grpcurl(grpcurl: Path, tiny_server: Server) -> None:
    proto = ("-import-path", "service/protocol", "-proto", "open_inference.proto", "-d", "@", tiny_server.address)
    ready = _run(grpcurl, *proto, "inference.GRPCInferenceService/ServerReady")
    assert json.loads(ready.stdout) == {"ready": True}, ready.stderr
    picture = png(30, 20)
    contents = {"bytes_contents": [base64.b64encode(picture).decode()]}
    asked = {
        "model_name": "tiny",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "contents": contents}],
        "outputs": [{"name": "probabilities", "parameters": {"classification": {"int64_param": "1"}}}],
    }
    answer = _run(grpcurl, *proto, "inference.GRPCInferenceService/ModelInfer", asked=asked)
    assert answer.returncode == 0, answer.stderr
    (output,) = json.loads(answer.stdout)["outputs"]
    (best,) = output["contents"]["bytesContents"]
    ((label, index, _),) = eager.labels(picture, 1)
    assert base64.b64decode(best).decode().split(":")[1:] == [str(index), label]
    unknown = _run(grpcurl, *proto, "inference.GRPCInferenceService/ModelInfer", asked=asked | {"model_name": "huge"})
    assert unknown.returncode == NOT_FOUND
    assert "no model 'huge', this service has 'tiny'" in unknown.stderr
    listed = _run(grpcurl, tiny_server.address, "list")
    assert listed.stderr == "Failed to list services: server does not support the reflection API\n"
