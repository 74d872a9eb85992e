"""Bodies that come slowly, through the gateway and Knative's proxies: who is slow is answered, who stalls is told so by us."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from werkzeug.datastructures import Headers

from tests.cluster.knative import Route
from tests.support.pictures import encoded, noise
from tests.support.serving import Answer

# A line of 2 Mbit/s: longer than REQUEST_TIMEOUT_MS, and under BODY_TIMEOUT_S.
SLOW_S, PIECES = 38, 76
PHOTO = encoded(noise(1779, 1779), "PNG")


def _send(route: Route, pieces: list[bytes], pause_s: float, length: int) -> tuple[Answer, float]:
    """The answer, and after how many seconds it was there."""
    began = time.monotonic()
    with closing(route.connect()) as connection:
        connection.putrequest("POST", "/infer", skip_host=True)
        for name, value in (("Host", route.host), ("Content-Type", "image/png"), ("Content-Length", str(length))):
            connection.putheader(name, value)
        connection.endheaders()
        for piece in pieces:
            connection.send(piece)
            time.sleep(pause_s)
        found = connection.getresponse()
        return Answer(found.status, Headers(found.getheaders()), found.read()), time.monotonic() - began


def test_a_slow_photo_is_answered_and_one_that_stalls_is_told_by_us(kindling: Route) -> None:
    assert 9.4e6 < len(PHOTO) < 10e6
    size = -(-len(PHOTO) // PIECES)
    pieces = [PHOTO[start : start + size] for start in range(0, len(PHOTO), size)]
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(_send, kindling, pieces, SLOW_S / PIECES, len(PHOTO))
        stalled = pool.submit(_send, kindling, [PHOTO[:1000]], 0.0, len(PHOTO))
        answer, took_s = slow.result()
        refused, refused_s = stalled.result()
    assert (answer.status, len(answer.json["labels"])) == (200, 5)
    assert took_s >= SLOW_S
    # Its time begins when its body is there.
    total_ms = float(answer.headers["Server-Timing"].rpartition("total;dur=")[2])
    assert total_ms < SLOW_S * 1e3 / 2
    assert (refused.status, refused.headers["Content-Type"]) == (408, "application/json")
    assert "BODY_TIMEOUT_S" in refused.error
    # Our 45 s, not Knative's 90.
    assert 40 < refused_s < 80
