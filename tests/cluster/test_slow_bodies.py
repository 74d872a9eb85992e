"""Bodies that come slowly, through the gateway and Knative's proxies: who is slow is answered, who pauses is told so."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from kubernetes import client
from werkzeug.datastructures import Headers

from tests.cluster.knative import Route
from tests.support.pictures import encoded, noise
from tests.support.serving import Answer

# A line of 2 Mbit/s: longer than REQUEST_TIMEOUT_MS, and under BODY_TIMEOUT_S.
SLOW_S, PIECES = 38, 76
PHOTO = encoded(noise(1779, 1779), "PNG")
# Longer than BODY_TIMEOUT_S; and then as much as the proxies read before they pass on an answer.
PAUSE_S, READ = 47, 300_000
IDLE_S = 60


@pytest.fixture(scope="module", autouse=True)
def _gateway_ends_idle_requests(api: client.ApiClient) -> Iterator[None]:
    core, place = client.CoreV1Api(api), ("config-kourier", "knative-serving")
    before = (core.read_namespaced_config_map(*place).data or {}).get("stream-idle-timeout")
    core.patch_namespaced_config_map(*place, {"data": {"stream-idle-timeout": f"{IDLE_S}s"}})
    yield
    core.patch_namespaced_config_map(*place, {"data": {"stream-idle-timeout": before}})


def _send(route: Route, pieces: list[bytes], pause_s: float, length: int) -> tuple[Answer, float]:
    """The answer, and after how many seconds it was there."""
    began = time.monotonic()
    with closing(route.connect()) as connection:
        connection.putrequest("POST", "/infer", skip_host=True)
        for name, value in (("Host", route.host), ("Content-Type", "image/png"), ("Content-Length", str(length))):
            connection.putheader(name, value)
        connection.endheaders()
        for index, piece in enumerate(pieces):
            time.sleep(pause_s if index else 0)
            connection.send(piece)
        found = connection.getresponse()
        return Answer(found.status, Headers(found.getheaders()), found.read()), time.monotonic() - began


def test_who_is_slow_is_answered_and_who_pauses_or_stalls_is_told_so(kindling: Route) -> None:
    assert 9.4e6 < len(PHOTO) < 10e6
    size = -(-len(PHOTO) // PIECES)
    pieces = [PHOTO[start : start + size] for start in range(0, len(PHOTO), size)]
    with ThreadPoolExecutor(3) as pool:
        slow = pool.submit(_send, kindling, pieces, SLOW_S / (PIECES - 1), len(PHOTO))
        paused = pool.submit(_send, kindling, [PHOTO[:1000], PHOTO[1000:READ]], PAUSE_S, len(PHOTO))
        stalled = pool.submit(_send, kindling, [PHOTO[:1000]], 0.0, len(PHOTO))
        answer, took_s = slow.result()
        refused, _ = paused.result()
        ended, ended_s = stalled.result()
    assert (answer.status, len(answer.json["labels"])) == (200, 5)
    assert took_s >= SLOW_S
    # Its time begins when its body is there.
    total_ms = float(answer.headers["Server-Timing"].rpartition("total;dur=")[2])
    assert total_ms < SLOW_S * 1e3 / 2
    assert (refused.status, refused.headers["Content-Type"]) == (408, "application/json")
    assert "BODY_TIMEOUT_S" in refused.error
    assert (ended.status, ended.body) == (408, b"stream timeout")
    assert IDLE_S - 1 < ended_s < IDLE_S + 20
