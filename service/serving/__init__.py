"""Gunicorn's process model: who accepts a connection, reads its request, and ends.

server.py       Server: gunicorn's process model, one worker with many threads
worker.py       Worker: reads requests without a thread, and gives each a thread once all of it has arrived
connections.py  the worker's connections: their states, deadlines and memory
incoming.py     one request that is arriving: header, body, chunks, limits
refusal.py      what is refused before there is a request, as JSON
closing.py      the listener of a process that ends
"""

from typing import TYPE_CHECKING

from service.late import files_of

if TYPE_CHECKING:
    from service.serving import closing, connections, incoming, refusal, server, worker

__all__ = ["closing", "connections", "incoming", "refusal", "server", "worker"]
__getattr__ = files_of(__name__)
