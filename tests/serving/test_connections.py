"""The worker's connections, one by one, without a service."""

import selectors
import socket
import time
from collections import deque

from gunicorn.config import Config
from gunicorn.util import close_graceful

from service.serving.connections import ClientSocket, Connection, Connections, State
from service.telemetry import Requests


def _connected() -> tuple[Connection, socket.socket]:
    """A connection, and its client's end."""
    accepted, client = socket.socketpair()
    return Connection(Config(), ClientSocket.of(accepted, patience_s=1.0), ("client", 1), ("server", 2)), client


def test_what_gunicorn_closes_in_a_thread_keeps_its_number_until_the_poller_has_forgotten_it() -> None:
    """After a stream that broke off. Else the next connection had that number, and the main loop ended with KeyError."""
    with selectors.DefaultSelector() as poller:
        connections = Connections(poller, deque(), lambda *_: None, Requests())
        (broken, its_client), later_s = _connected(), time.monotonic() + 60
        connections.move(broken, State.IDLE, later_s)
        connections.move(broken, State.HANDLED)
        close_graceful(broken.sock)
        assert its_client.recv(1) == b""  # the client is told at once
        following, client = _connected()
        assert following.sock.fileno() != broken.sock.fileno() >= 0
        connections.move(following, State.RECEIVING, later_s)
        for each in (broken, following):
            connections.unwatch(each)
            each.close()
            assert each.sock.fileno() == -1
        its_client.close()
        client.close()
