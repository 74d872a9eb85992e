"""What HTTP/2 and gRPC need is imported with their first connection, in the real worker, and not at all without GRPC."""

import sys
from pathlib import Path

import pytest
import tritonclient.grpc as triton

from tests.support.grpc import pixels, speaking_grpc, tensor
from tests.support.http2 import speaking_http2
from tests.support.pictures import png
from tests.support.serving import serving

# The service as it is, with a line in its log for each of these packages that a process imports.
COMMAND = (
    sys.executable, "-c",
    """
import sys

def watch(event, args):
    if event == "import" and args[0] in ("h2", "google.protobuf"):
        print("imported", args[0], file=sys.stderr, flush=True)

sys.addaudithook(watch)
from service.__main__ import main
main()
""",
)  # fmt: skip


def _imported(log: Path) -> set[str]:
    return {line.split()[1] for line in log.read_text().splitlines() if line.startswith("imported ")}


def test_the_first_connection_imports_http2_and_the_first_call_the_messages(tiny_onnx: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(tiny_onnx, log, COMMAND) as server:
        assert server.call("POST", "/infer", png(30, 20)).status == 200
        assert _imported(log) == set()
        with speaking_http2(server) as spoken:
            assert spoken.answer(spoken.ask("GET", "/v2/health/ready")).status == 200
        assert _imported(log) == {"h2"}
        with speaking_grpc(server) as client:
            assert client.infer("tiny", [tensor(pixels(1))]).as_numpy("probabilities").shape == (1, 6)
        assert _imported(log) == {"h2", "google.protobuf"}


def test_switched_off_nothing_of_it_is_imported(tiny_onnx: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(tiny_onnx, log, COMMAND, GRPC="false") as server:
        with speaking_grpc(server) as client, pytest.raises(triton.InferenceServerException):
            client.is_server_live(client_timeout=20)
        assert server.call("POST", "/infer", png(30, 20)).status == 200
    assert _imported(log) == set()
