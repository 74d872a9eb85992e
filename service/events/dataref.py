"""Claim check: fetches the data of an event from its `dataref`, if that is allowed.

https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/dataref.md
"""

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from urllib.parse import SplitResult, unquote, urlsplit

from service import events
from service.errors import NotReady, Unprocessable
from service.reading import is_of_s3

# From the first packet to the last byte.
TIMEOUT_S = 10.0

_PORTS = {"https": 443, "http": 80}
# An S3 object's version, percent-encoded; `null` in a bucket whose versioning is suspended.
_VERSION = re.compile(r"\?versionId=[\w.~%-]{1,1024}\Z", re.ASCII)
# IPv6 addresses that stand for an IPv4 one, in their last 32 bits: mapped, and as NAT64 translates (RFC 4291, RFC 6052).
_OF_IPV4 = (ipaddress.ip_network("::ffff:0:0/96"), ipaddress.ip_network("64:ff9b::/96"))
# All addresses for public use (RFC 4291, 2.4), and among these the range that stands for IPv4 (6to4, RFC 3056).
_GIVEN_IPV6, _SIX_TO_FOUR = ipaddress.ip_network("2000::/3"), ipaddress.ip_network("2002::/16")


def fetch(url: str, allowed: Sequence[str], max_bytes: int, *, private: bool) -> bytes:
    """The content of `url`. Redirects are not followed, because their target has not been checked.

    Args:
        allowed: beginnings of URLs: scheme, host (or bucket) and port must be equal, and the path equal or below.
        private: whether the host may have an address that is not public. The addresses are looked up once, and the
            connection goes to one of them, so the name cannot change in between. Not checked for S3, whose host we
            choose ourselves.

    Raises:
        Unprocessable: it is not allowed, is too large, or does not exist.
        NotReady: its server does not answer, or not in time.
    """
    parts = _split(url)
    if not any(_begins(parts, _split(each)) for each in allowed):
        raise Unprocessable(f"dataref: {parts.scheme}://{parts.netloc[:100]}{parts.path[:100]} is not in DATAREF_ALLOW")
    if parts.scheme == "s3":
        version = unquote(parts.query.removeprefix("versionId=")) or None
        return events.s3.get(parts.netloc, unquote(parts.path[1:]), max_bytes, TIMEOUT_S, version)
    addresses, end_s = _addresses(parts, private=private), time.monotonic() + TIMEOUT_S
    try:
        with _connected(parts, addresses, end_s) as connection:
            return _get(connection, parts, max_bytes, end_s)
    except ssl.SSLCertVerificationError as fault:
        raise Unprocessable(f"dataref: the certificate of {parts.hostname}: {fault.verify_message}") from None
    except (OSError, http.client.HTTPException) as fault:
        raise NotReady(f"dataref: {parts.hostname} does not answer ({fault})") from None


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        valid = is_of_s3(_VERSION.sub("", url)) or (parts.scheme in _PORTS and parts.hostname and parts.port != 0)
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url or parts.username is not None:
        raise Unprocessable("dataref: wanted http://HOST/PATH or https://HOST/PATH, and no user, or s3://BUCKET/KEY")
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS.get(parts.scheme, 0)


def _begins(parts: SplitResult, allowed: SplitResult) -> bool:
    same = (parts.scheme, parts.hostname, _port(parts)) == (allowed.scheme, allowed.hostname, _port(allowed))
    # A server may resolve dots, plain or encoded (even twice), to a folder above the allowed one; some ignore ";...".
    decoded = unquote(unquote(parts.path)).replace("\\", "/")
    climbs = any(step.partition(";")[0] == ".." for step in decoded.split("/"))
    below = parts.path == allowed.path or (parts.path or "/").startswith(allowed.path.rstrip("/") + "/")
    return same and below and not climbs


def _addresses(parts: SplitResult, *, private: bool) -> list[str]:
    """All addresses of the host. Every one of them must be allowed."""
    try:
        found = socket.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as fault:
        raise NotReady(f"dataref: {parts.hostname} has no address ({fault})") from None
    addresses = [str(each[4][0]) for each in found]
    if not private and not all(map(_is_public, addresses)):
        raise Unprocessable(f"dataref: {parts.hostname} has an address that is not public, see DATAREF_ALLOW_PRIVATE")
    return addresses


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if any(parsed in each for each in _OF_IPV4):
        parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)
    if parsed.version == 6 and (parsed not in _GIVEN_IPV6 or parsed in _SIX_TO_FOUR):
        return False
    return parsed.is_global and not parsed.is_multicast


@contextmanager
def _connected(parts: SplitResult, addresses: Sequence[str], end_s: float) -> Iterator[http.client.HTTPConnection]:
    """A connection to one of these addresses, whatever the name resolves to now; TLS still checks the name's certificate."""
    with closing(http.client.HTTPConnection(str(parts.hostname), _port(parts))) as connection:
        connection.sock = sock = _connect(addresses, _port(parts), end_s)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            sock = context.wrap_socket(sock, server_hostname=parts.hostname, do_handshake_on_connect=False)
            connection.sock = sock
        # A socket's timeout begins again with every byte, so this cuts off servers that only drip.
        timer = threading.Timer(end_s - time.monotonic(), _cut, (sock,))
        timer.start()
        try:
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
            yield connection
        finally:
            timer.cancel()


def _connect(addresses: Sequence[str], port: int, end_s: float) -> socket.socket:
    """A connection to the first address that accepts one."""
    *others, last = addresses
    for address in others:
        with suppress(OSError):
            return socket.create_connection((address, port), max(0.001, end_s - time.monotonic()))
    return socket.create_connection((last, port), max(0.001, end_s - time.monotonic()))


def _cut(sock: socket.socket) -> None:
    """End the connection below TLS, so that a blocked read returns."""
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _get(connection: http.client.HTTPConnection, parts: SplitResult, max_bytes: int, end_s: float) -> bytes:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", path, headers={"Host": parts.netloc})
    with connection.getresponse() as response:
        if response.status >= 500 or response.status in (408, 429):
            raise NotReady(f"dataref: {parts.hostname} answers {response.status}")
        if response.status != 200:
            raise Unprocessable(f"dataref: {parts.hostname} answers {response.status}")
        body = response.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise Unprocessable(f"dataref: more than {max_bytes} bytes")
    if response.length or time.monotonic() >= end_s:
        raise NotReady(f"dataref: {parts.hostname} sent no end in {TIMEOUT_S:g} s")
    return body
