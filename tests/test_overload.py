"""More than the service can do: a refusal in time, and what was taken is answered rightly."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model import pictures
from tests.conftest import Serve
from tests.serving import Answer

CLIENTS = 16


def test_a_full_queue_answers_429_and_says_when_to_come_again(serve: Serve, default_artifact: Path) -> None:
    server = serve(default_artifact, RUNNERS="1", MAX_QUEUE_SIZE="1")
    picture = (pictures.folder() / "coffee.png").read_bytes()
    together = threading.Barrier(CLIENTS, timeout=60)

    def call(_client: int) -> list[Answer]:
        together.wait()
        return [server.call("POST", "/infer?top=1", picture) for _ in range(4)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = [answer for each in pool.map(call, range(CLIENTS)) for answer in each]
    refused = [answer for answer in answers if answer.status == 429]
    answered = [answer for answer in answers if answer.status == 200]
    assert refused
    assert answered
    assert len(refused) + len(answered) == len(answers)
    for answer in refused:
        assert answer.error == "1 items are waiting"
        assert 1 <= int(answer.headers["Retry-After"]) <= 10
    assert {answer.json["labels"][0]["index"] for answer in answered} == {967}
    assert server.call("POST", "/infer", picture).status == 200


def test_a_request_that_takes_too_long_gets_504(serve: Serve, default_artifact: Path) -> None:
    server = serve(default_artifact, REQUEST_TIMEOUT_MS="1")
    answer = server.call("POST", "/infer", (pictures.folder() / "coffee.png").read_bytes())
    assert (answer.status, answer.error) == (504, "not answered in time")
    assert server.call("GET", "/v2/health/ready").status == 200
