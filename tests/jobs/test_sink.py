"""To a broker: a small real HTTP server is the other side."""

import socket
import threading
import time

import pytest

from service.errors import NotReady
from service.events import codec
from service.jobs import delivery
from service.jobs.delivery import Sink
from tests.support.broker import Reply, listening
from tests.support.serving import HOST, free_port

SOON_S = 30.0
DATA = bytes(range(256))


EVENT = codec.Event(
    {"specversion": "1.0", "id": "1", "source": "/test", "type": codec.REQUESTED, "datacontenttype": "image/png",
     "inferprotocol": "image"}, DATA,
)  # fmt: skip


def _publish(url: str, overrides: str = "", timeout_s: float = SOON_S) -> None:
    Sink(url, overrides, timeout_s).publish(EVENT)


def _assert_not_published(url: str, timeout_s: float = SOON_S) -> None:
    with pytest.raises(NotReady, match="the broker does not take the request: try again"):
        _publish(url, timeout_s=timeout_s)


def test_a_broker_gets_the_event_in_binary_mode_with_the_overrides_extensions() -> None:
    with listening() as broker:
        _publish(broker.url, '{"extensions": {"colour": "blue", "inferprotocol": "v2"}}')
    (got,) = broker.received
    assert got.path == "/broker/default"
    assert got.body == DATA
    assert {name: value for name, value in got.headers.items() if name.startswith("ce-")} == {
        "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/test", "ce-type": codec.REQUESTED,
        "ce-colour": "blue", "ce-inferprotocol": "v2",
    }  # fmt: skip
    assert got.headers["content-type"] == "image/png"
    assert got.headers["prefer"] == "reply"


@pytest.mark.parametrize("overrides", ["", "{}", '{"extensions": {}}'])
def test_overrides_may_be_empty(overrides: str) -> None:
    with listening() as broker:
        _publish(broker.url, overrides)
    assert "ce-colour" not in broker.received[0].headers


def test_a_broker_that_is_full_once_gets_the_same_event_again() -> None:
    with listening(Reply(429)) as broker:
        _publish(broker.url)
    assert [each.event_id for each in broker.received] == ["1", "1"]


def test_a_broker_says_when_to_come_again() -> None:
    before = time.monotonic()
    with listening(Reply(503, {"Retry-After": "1"})) as broker:
        _publish(broker.url)
    assert time.monotonic() - before >= 1
    assert len(broker.received) == 2


def test_a_broker_that_says_to_come_later_than_the_client_waits_is_not_waited_for() -> None:
    with listening(Reply(429, {"Retry-After": "3600"})) as broker:
        _assert_not_published(broker.url, timeout_s=5)
    assert len(broker.received) == 1


def test_a_broker_that_is_always_full_is_asked_three_times() -> None:
    with listening(answer=lambda _: Reply(429, body=b"full")) as broker:
        _assert_not_published(broker.url)
    assert len(broker.received) == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 400, 401, 403, 405, 413, 422])
def test_a_broker_that_refuses_or_points_elsewhere_is_asked_once(status: int) -> None:
    with listening() as other, listening(Reply(status, {"Location": other.url})) as broker:
        _assert_not_published(broker.url)
    assert len(broker.received) == 1
    assert other.received == []


def test_a_broker_that_is_not_there_is_not_ready() -> None:
    _assert_not_published(f"http://{HOST}:{free_port()}/")
    _assert_not_published(f"https://{HOST}:{free_port()}/")


def test_a_broker_that_says_nothing_is_not_waited_for_longer_than_the_client_waits() -> None:
    with socket.create_server((HOST, 0)) as silent:
        before = time.monotonic()
        _assert_not_published(f"http://{HOST}:{silent.getsockname()[1]}", timeout_s=0.5)
        assert 0.5 <= time.monotonic() - before < SOON_S


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\nshort"])
def test_a_broker_that_breaks_off_or_speaks_no_http_is_not_ready(said: bytes) -> None:
    def speak() -> None:
        for _ in range(delivery.PUBLISH_TRIES):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)
                connection.shutdown(socket.SHUT_RDWR)

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=speak)
        thread.start()
        _assert_not_published(f"http://{HOST}:{listener.getsockname()[1]}")
        thread.join()


def test_no_proxy_gets_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://{HOST}:{free_port()}")
    with listening() as broker:
        _publish(broker.url)
    assert len(broker.received) == 1
