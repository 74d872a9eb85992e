"""Errors as JSON, also where there is no application yet that could answer."""

import json

from gunicorn.http import errors as http

from service.errors import KindlingError
from service.web.faults import cut
from service.web.metrics import REQUEST_ID, new_request_id

REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    408: "Request Timeout",
    414: "URI Too Long",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}
"""Of every status that is answered before there is a request for the application."""

_STATUSES: dict[type[Exception], int] = {
    http.InvalidResponseHeader: 500,  # the application's fault, although its base class is for the client's faults
    http.InvalidResponseHeaderName: 500,
    http.ConfigurationProblem: 500,
    http.UnsupportedTransferCoding: 501,
    http.LimitRequestLine: 414,
    http.LimitRequestHeaders: 431,
    http.ExpectationFailed: 417,
    http.ForbiddenProxyRequest: 403,
    http.ParseException: 400,
}


def status_of(fault: BaseException) -> int:
    """The HTTP status of an error of ours or of gunicorn's; 500 for any other."""
    if isinstance(fault, KindlingError):
        return fault.status
    return next((status for kind, status in _STATUSES.items() if isinstance(fault, kind)), 500)


def answer(fault: BaseException) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body for a request that never became one; an unknown fault tells the client nothing."""
    status = status_of(fault)
    message = "internal error" if status == 500 else str(fault)
    body = json.dumps({"error": cut(message)}).encode() + b"\n"
    headers = [
        ("Content-Type", "application/json"), ("Content-Length", str(len(body))), (REQUEST_ID, new_request_id()),
    ]  # fmt: skip
    if isinstance(fault, KindlingError):
        headers += fault.headers.items()
    return status, headers, body


def response(fault: BaseException) -> bytes:
    """The same as bytes of HTTP/1, the last ones of their connection."""
    status, headers, body = answer(fault)
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
