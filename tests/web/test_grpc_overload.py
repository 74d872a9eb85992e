"""gRPC calls that come when there is too much to do, or are no longer wanted when their turn comes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from grpc import StatusCode
from h2.errors import ErrorCodes

from tests.conftest import Serve
from tests.support.eventually import eventually
from tests.support.grpc import INFER, channel, framed, refusal, request
from tests.support.http2 import speaking_http2
from tests.support.serving import START_S, Server
from tests.web.test_metrics import samples

GRPC = {"content-type": "application/grpc", "te": "trailers"}
MANY = numpy.zeros((64, 224, 224, 3), numpy.uint8)


def _items_run(server: Server) -> float:
    return sum(value * int(key[1]) for key, value in samples(server).items() if key[0] == "kindling_runs_total")


def _is_queued(server: Server) -> bool:
    return samples(server)["kindling_queue_depth",] > 8


def _answered(server: Server, status: str) -> float:
    return samples(server).get(("kindling_requests_total", INFER, status), 0)


def test_a_call_whose_deadline_has_passed_is_not_run(serve: Serve, default_artifact: Path) -> None:
    """The server keeps the deadline itself: the second client never takes its call back."""
    server = serve(default_artifact, RUNNERS="1", MAX_QUEUE_SIZE="100")
    one = request(MANY[:1], "efficientnet_lite0")
    with channel(server) as opened, ThreadPoolExecutor(1) as pool, speaking_http2(server) as spoken:
        before, late = _items_run(server), _answered(server, "504")
        busy = pool.submit(opened.unary_unary(INFER), request(MANY, "efficientnet_lite0"))
        eventually(lambda: _is_queued(server), START_S, "a queue")
        patient = spoken.ask("POST", INFER, framed(one), GRPC | {"grpc-timeout": "20m"})
        fault = refusal(opened, INFER, one, timeout=0.02)
        assert fault.code() is StatusCode.DEADLINE_EXCEEDED
        assert spoken.answer(patient).trailers == {
            "grpc-status": str(StatusCode.DEADLINE_EXCEEDED.value[0]), "grpc-message": "not answered in time"
        }  # fmt: skip
        busy.result(60)
        opened.unary_unary(INFER)(one, timeout=60)
        assert _items_run(server) == before + len(MANY) + 1
        assert late + 1 <= _answered(server, "504") <= late + 2


def test_a_full_queue_is_resource_exhausted_and_says_when_to_come_again(serve: Serve, default_artifact: Path) -> None:
    server = serve(default_artifact, RUNNERS="1", MAX_QUEUE_SIZE="1")
    with channel(server) as opened, ThreadPoolExecutor(1) as pool:
        busy = pool.submit(opened.unary_unary(INFER), request(MANY, "efficientnet_lite0"))
        eventually(lambda: _is_queued(server), START_S, "a queue")
        fault = refusal(opened, INFER, request(MANY[:1], "efficientnet_lite0"))
        assert fault.code() is StatusCode.RESOURCE_EXHAUSTED
        assert fault.details().endswith("items are waiting")
        assert 1 <= int(dict(fault.initial_metadata())["retry-after"]) <= 10
        busy.result(60)


def test_a_call_that_was_taken_back_before_it_had_a_thread_is_not_run(serve: Serve, default_artifact: Path) -> None:
    """So real clients do when their deadline passes."""
    server = serve(default_artifact, RUNNERS="1", REQUEST_THREADS="1")
    one, many = (framed(request(given, "efficientnet_lite0")) for given in (MANY[:1], MANY))
    with speaking_http2(server) as spoken:
        busy = spoken.ask("POST", INFER, many, GRPC)
        taken_back = spoken.ask("POST", INFER, one, GRPC)
        spoken.frames.reset_stream(taken_back, ErrorCodes.CANCEL)
        spoken.flush()
        last = spoken.ask("POST", INFER, one, GRPC)
        assert [spoken.answer(each).trailers["grpc-status"] for each in (busy, last)] == ["0", "0"]
    assert _items_run(server) == len(MANY) + 1
    assert _answered(server, "200") == 2
