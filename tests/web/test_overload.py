"""More than the service can do: a refusal in time, and what was taken is answered rightly."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model import pictures
from tests.conftest import Serve
from tests.support.pictures import png
from tests.support.serving import Answer, Server

CLIENTS = 16
TOO_MANY = "too many pictures wait to be decoded"


def _burst(server: Server, picture: bytes) -> list[Answer]:
    """The answers to clients that begin together."""
    together = threading.Barrier(CLIENTS, timeout=60)

    def call(_client: int) -> list[Answer]:
        together.wait()
        return [server.call("POST", "/infer?top=1", picture) for _ in range(4)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [answer for each in pool.map(call, range(CLIENTS)) for answer in each]


def test_a_full_queue_answers_429_and_says_when_to_come_again(serve: Serve, default_artifact: Path) -> None:
    server = serve(default_artifact, RUNNERS="1", MAX_QUEUE_SIZE="1")
    picture = (pictures.folder() / "coffee.png").read_bytes()
    answers = _burst(server, picture)
    refused = [answer for answer in answers if answer.status == 429]
    answered = [answer for answer in answers if answer.status == 200]
    assert refused
    assert answered
    assert len(refused) + len(answered) == len(answers)
    for answer in refused:
        assert answer.error in ("1 items are waiting", TOO_MANY)
        assert 1 <= int(answer.headers["Retry-After"]) <= 10
    assert {answer.json["labels"][0]["index"] for answer in answered} == {967}
    assert server.call("POST", "/infer", picture).status == 200


def test_pictures_that_wait_to_be_decoded_are_bounded_too(serve: Serve, tiny_onnx: Path) -> None:
    """A model that is faster than the decoder: nothing ever waits for a run."""
    server = serve(tiny_onnx, MAX_QUEUE_SIZE="2")
    answers = _burst(server, png(1500, 1500))
    assert Counter(each.status for each in answers).keys() == {200, 429}
    assert {each.error for each in answers if each.status == 429} == {TOO_MANY}
    assert server.call("POST", "/infer", png(20, 20)).status == 200


def test_a_request_that_takes_too_long_gets_504(serve: Serve, default_artifact: Path) -> None:
    server = serve(default_artifact, REQUEST_TIMEOUT_MS="1")
    answer = server.call("POST", "/infer", (pictures.folder() / "coffee.png").read_bytes())
    assert (answer.status, answer.error) == (504, "not answered in time")
    assert server.call("GET", "/v2/health/ready").status == 200
