"""The listener of a process that ends: clients that have begun to connect get in, and nobody after them."""

import select
import socket
from collections.abc import Iterator

SO_BINDTOIFINDEX = 62  # asm-generic/socket.h; Python has no name for it
NO_INTERFACE = 2**31 - 1

# Longer than a TCP handshake takes whose first packet was let in.
HANDSHAKE_S = 0.05


def last_connections(listener: socket.socket) -> Iterator[None]:
    """Yields while there is one to accept, and then closes the listener."""
    handshake_s = HANDSHAKE_S if refuse_new_connections(listener) else 0.0
    while select.select([listener], [], [], handshake_s)[0]:
        yield
    listener.close()


def refuse_new_connections(listener: socket.socket) -> bool:
    """Have the kernel refuse new connections and complete those that have begun: binds to an interface that is not there.

    Without this, a connection can be made between the last accept and the close, and is reset. It needs no privilege
    (Linux 5.7 and newer). False where the kernel does not let us; then the moment between the two is as short as it
    can be.
    """
    try:
        listener.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, NO_INTERFACE)
    except OSError:
        return False
    return True
