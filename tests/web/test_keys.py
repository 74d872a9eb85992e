"""A service with API_KEYS: who gets in, and what the others are told."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy
import pytest
import tritonclient.http as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.utils import InferenceServerException

from service.events.codec import COMPLETED
from service.settings import Settings
from service.web.app import create_app
from tests.conftest import OnLambda, Serve
from tests.support.aws import VERSIONS, as_json
from tests.support.events import event
from tests.support.grpc import channel, speaking_grpc, tensor
from tests.support.keys import API_KEYS, MOBILE, MOBILE_NEXT, WEB, WRONG, bearer
from tests.support.models import SIDE
from tests.support.pictures import png
from tests.support.serving import ROOT, Answer, Server
from tests.web.test_metrics import samples

PICTURE = png(20, 20)
REFUSAL = {"error": "a valid key is needed: send Authorization: Bearer KEY, or X-API-Key: KEY"}
NO_KEY: tuple[dict[str, str], ...] = (
    {}, bearer(WRONG), bearer(""), {"Authorization": MOBILE}, {"Authorization": f"Basic {MOBILE}"}, {"X-API-Key": ""},
    {"X-API-Key": WRONG}, {"X-API-Key": f"Bearer {MOBILE}"}, bearer(MOBILE[:-1]), bearer(f"{MOBILE},{WEB}"), bearer("ä"),
)  # fmt: skip


@pytest.fixture
def server(serve: Serve, tiny_onnx: Path) -> Server:
    return serve(tiny_onnx, API_KEYS=API_KEYS)


def _told(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """All of an answer but its time and its own id."""
    headers = sorted(each for each in answer.headers if each[0] not in ("Date", "X-Request-Id"))
    return answer.status, headers, answer.body


@pytest.mark.parametrize(
    "headers",
    [bearer(MOBILE), bearer(MOBILE_NEXT), bearer(WEB), {"X-API-Key": MOBILE}, {"authorization": f"bearer  {WEB}"},
     {"X-API-Key": WEB, "Authorization": "Bearer of-the-proxy-in-front"}],
)  # fmt: skip
def test_a_key_is_let_in(server: Server, headers: dict[str, str]) -> None:
    assert server.call("POST", "/infer", PICTURE, headers).status == 200
    assert server.call("GET", "/v2/models/tiny", headers=headers).status == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "/infer", PICTURE), ("PUT", "/infer", PICTURE), ("POST", "/v2/models/tiny/infer", b"{}"), ("GET", "/v2", None),
     ("POST", "/v1/models/tiny:predict", b"{}"), ("GET", "/v2/models/tiny", None), ("GET", "/v1/models", None),
     ("POST", "/events", b"{}"), ("POST", "/", b"{}"), ("POST", "/dead-letters", b"{}"), ("GET", "/events/schema", None),
     ("GET", "/jobs", None), ("GET", f"/jobs/{'0' * 32}", None), ("DELETE", f"/jobs/{'0' * 32}", None), ("GET", "/metrics", None),
     ("POST", f"/jobs/{'0' * 32}/retry", b""), ("GET", "/nowhere", None), ("DELETE", "/infer", None), ("HEAD", "/v2", None)],
)  # fmt: skip
def test_nobody_else_learns_anything(server: Server, method: str, path: str, body: bytes | None) -> None:
    """No key and any wrong key get the same answer, byte by byte, whatever was asked."""
    answers = [server.call(method, path, body, {k: v.encode() for k, v in each.items()}) for each in NO_KEY]  # type: ignore[misc]
    assert len({str(_told(each)) for each in answers}) == 1
    assert answers[0].status == 401
    assert answers[0].headers["WWW-Authenticate"] == "Bearer"
    if method != "HEAD":
        assert answers[0].json == REFUSAL


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready", "/v1/models/tiny"])
@pytest.mark.parametrize("headers", [{}, bearer(WRONG)])
def test_a_probe_needs_no_key(server: Server, path: str, headers: dict[str, str]) -> None:
    for method in ("GET", "HEAD"):
        assert server.call(method, path, headers=headers).status == 200


@pytest.mark.parametrize("path", ["/infer", "/events", "/v2/models/tiny/infer"])
def test_options_need_no_key(server: Server, path: str) -> None:
    """Neither a webhook's handshake nor a browser's preflight can send one."""
    assert server.call("OPTIONS", path).status == 200


def test_a_page_needs_no_key(tiny_onnx: Path) -> None:
    app = create_app(Settings.from_env({"MODEL_DIR": str(tiny_onnx), "API_KEYS": API_KEYS}))
    for path in ("/", "/page/style.css", "/robots.txt", "/favicon.ico"):
        assert app.test_client().get(path, headers={"Accept": "text/html"}).status_code in (200, 204)
    assert app.test_client().get("/v2").status_code == 401
    app.extensions["runtime"].close()


def test_metrics_are_open_only_if_a_setting_says_so(serve: Serve, tiny_onnx: Path, server: Server) -> None:
    assert server.call("GET", "/metrics", headers=bearer(WEB)).status == 200
    opened = serve(tiny_onnx, API_KEYS=API_KEYS, METRICS_WITHOUT_KEY="true")
    assert opened.call("GET", "/metrics").status == 200
    assert opened.call("GET", "/v2").status == 401


def test_requests_are_counted_by_the_name_of_their_key(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx, API_KEYS=API_KEYS, METRICS_WITHOUT_KEY="true", LOG_LEVEL="warning")
    for key, body in ((MOBILE, PICTURE), (MOBILE_NEXT, PICTURE), (WEB, b"no picture"), (WRONG, PICTURE)):
        server.call("POST", "/infer", body, bearer(key))
    server.call("GET", "/v2/health/live", headers=bearer(WEB))
    found = samples(server)
    by_key = {key[1:]: count for key, count in found.items() if key[0] == "kindling_key_requests_total"}
    assert by_key == {("mobile", "200"): 2, ("web", "422"): 1}
    assert found["kindling_requests_total", "/infer", "401"] == 1


def test_no_key_and_no_hash_is_in_the_log(server: Server) -> None:
    server.call("POST", "/infer", PICTURE, bearer(MOBILE))
    server.call("POST", "/infer", PICTURE, bearer(WRONG))
    for text in (MOBILE, WRONG, "sha256"):
        assert text not in server.log


@pytest.mark.parametrize("expect", [{}, {"Expect": "100-continue"}], ids=["sent", "announced"])
def test_a_large_body_is_refused_by_its_key_before_it_is_kept(
    serve: Serve, tiny_onnx: Path, expect: dict[str, str]
) -> None:
    """A client that waits for our word need not send it; what others send is read over, and the connection lives on."""
    server = serve(tiny_onnx, API_KEYS=API_KEYS, MAX_BODY_BYTES="3000000", MAX_BUFFERED_BYTES="3000000")
    body = bytes(2_900_000)
    with closing(server.connect()) as connection, closing(server.connect()) as second:
        connection.putrequest("POST", "/infer")
        for name, text in {"Content-Length": str(len(body)), **bearer(WRONG), **expect}.items():
            connection.putheader(name, text)
        connection.endheaders()
        if not expect:
            connection.send(body[:2_800_000])
            # Were the first body kept, there would be no memory for a second one.
            second.request("POST", "/infer", PICTURE + bytes(1_000_000), bearer(MOBILE))
            assert second.getresponse().status in (200, 422)
            connection.send(body[2_800_000:])
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (401, REFUSAL)
        if not expect:
            connection.request("GET", "/v2", headers=bearer(WEB))
            assert connection.getresponse().status == 200


def test_a_body_over_its_limit_is_refused_by_its_key_first(server: Server) -> None:
    assert server.call("POST", "/infer", bytes(11 * 2**20), bearer(WRONG)).status == 401
    assert server.call("POST", "/infer", bytes(11 * 2**20), bearer(WEB)).status == 413


def test_tritonclient_sends_its_key(server: Server) -> None:
    tensor = triton.InferInput("image", [1, SIDE, SIDE, 3], "UINT8")
    tensor.set_data_from_numpy(numpy.zeros((1, SIDE, SIDE, 3), numpy.uint8))
    client: Any = triton.InferenceServerClient(server.address)
    with closing(client):
        assert client.is_model_ready("tiny")
        for headers in (bearer(MOBILE), {"X-API-Key": WEB}):
            answer = client.infer("tiny", [tensor], headers=headers)
            assert answer.as_numpy("probabilities").shape[0] == 1
        with pytest.raises(InferenceServerException, match="a valid key is needed"):
            client.infer("tiny", [tensor])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_function_on_lambda_asks_for_keys_too_but_not_of_the_platform(
    on_lambda: OnLambda, tiny_onnx: Path, version: str
) -> None:
    function = on_lambda(tiny_onnx, API_KEYS=API_KEYS)
    assert function.http(version, "POST", "/infer", PICTURE, headers=bearer(MOBILE)).status == 200
    refused = function.http(version, "POST", "/infer", PICTURE, headers=bearer(WRONG))
    assert (refused.status, refused.headers["WWW-Authenticate"], refused.json) == (401, "Bearer", REFUSAL)
    given = function.invoke(as_json(event(PICTURE, "image/png")))
    assert given.value["type"] == COMPLETED


def test_nothing_of_keys_is_imported_without_them(tiny_onnx: Path) -> None:
    script = (
        "import sys; from service.settings import Settings; from service.web.app import create_app\n"
        "app = create_app(Settings.from_env({'MODEL_DIR': sys.argv[1]}))\n"
        "print(*(name for name in sys.modules if name.startswith('service.')))\n"
        "app.extensions['runtime'].close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tiny_onnx], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "service.web.app" in done.stdout.split()
    assert not {"service.keys", "service.web.keys", "service.web.cors"} & set(done.stdout.split())


def _lower(headers: dict[str, str]) -> dict[str, str]:
    """As gRPC wants the names of its metadata."""
    return {name.lower(): value for name, value in headers.items()}


def test_a_call_by_grpc_needs_a_key_too(server: Server) -> None:
    pixels = numpy.zeros((1, SIDE, SIDE, 3), numpy.uint8)
    with speaking_grpc(server) as client:
        assert client.infer("tiny", [tensor(pixels)], headers=_lower(bearer(MOBILE))).as_numpy(
            "probabilities"
        ).shape == (1, 6)
        for headers in ({}, bearer(WRONG)):
            with pytest.raises(InferenceServerException, match="a valid key is needed") as raised:
                client.infer("tiny", [tensor(pixels)], headers=_lower(headers))
            assert raised.value.status() == "StatusCode.UNAUTHENTICATED"


def test_grpcs_health_check_needs_no_key(server: Server) -> None:
    with channel(server) as opened:
        assert health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest()).status == 1
