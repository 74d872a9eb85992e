"""Gunicorn's process model: who accepts a connection, reads its request, and ends.

server.py        Server: gunicorn's process model, one worker with many threads
worker.py        Worker: reads requests without a thread, and gives each a thread once all of it has arrived
connections.py   the worker's connections: their states, deadlines and memory
incoming.py      one request that is arriving: header, body, chunks, limits
multiplexer.py   Multiplexer: the worker's HTTP/2 connections; imported with the first one
http2.py         Http2: the frames of one HTTP/2 connection
http2_stream.py  Stream: one request of an HTTP/2 connection, and its answer
refusal.py       what is refused before there is a request, as JSON
closing.py       the listener of a process that ends
"""

from typing import TYPE_CHECKING

from service.late import files_of

if TYPE_CHECKING:
    from service.serving import (
        closing,
        connections,
        http2,
        http2_stream,
        incoming,
        multiplexer,
        refusal,
        server,
        worker,
    )

__all__ = [
    "closing",
    "connections",
    "http2",
    "http2_stream",
    "incoming",
    "multiplexer",
    "refusal",
    "server",
    "worker",
]
__getattr__ = files_of(__name__)
