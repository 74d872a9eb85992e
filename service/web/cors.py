"""CORS: which pages of other origins a browser lets ask here (CORS_ORIGINS); imported only if there are any.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from collections.abc import Collection

from flask import Flask, Response, current_app, request

ANY = "*"
REQUEST_HEADERS = (
    "Authorization, X-API-Key, Content-Type, Content-Encoding, Accept, Prefer, Idempotency-Key, Last-Event-ID, "
    "Inference-Header-Content-Length, X-Request-Id"
)
EXPOSED_HEADERS = (
    "Location, Retry-After, Server-Timing, Inference-Header-Content-Length, Preference-Applied, X-Request-Id, "
    "WWW-Authenticate"
)
# As long as Chromium keeps an answer to a preflight.
MAX_AGE_S = 7200


def allow(app: Flask, origins: Collection[str]) -> None:
    """Answer preflights, and let pages of these origins read every answer of `app`, errors too."""

    def preflight() -> Response | None:
        """The answer to a browser that asks before it sends; None if this is another request."""
        wanted = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if not wanted or not _granted(origins) or not request.url_rule:
            return None
        allowed = {
            "Access-Control-Allow-Methods": current_app.make_default_options_response().headers["Allow"],
            "Access-Control-Allow-Headers": REQUEST_HEADERS,
            "Access-Control-Max-Age": str(MAX_AGE_S),
        }
        return Response(status=204, headers=allowed)

    def share(response: Response) -> Response:
        if ANY not in origins:
            # Also without an Origin: a cache must not give that answer to a page.
            response.vary.add("Origin")
        if origin := _granted(origins):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        return response

    app.before_request(preflight)
    app.after_request(share)


def _granted(origins: Collection[str]) -> str | None:
    """The origin that this request's page has, as it is to be told; None if it may not read the answer."""
    origin = request.headers.get("Origin")
    if not origin:
        return None
    if ANY in origins:
        return ANY
    return origin if origin in origins else None
