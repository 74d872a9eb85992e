"""Routes: what browsers and crawlers ask by themselves. Constants: an answer costs nothing, and is asked once a day."""

from flask import Blueprint, Response

routes = Blueprint("robots", __name__)

DAILY = {"Cache-Control": "public, max-age=86400"}


@routes.get("/robots.txt")
def robots() -> Response:
    """Nothing here is for a search engine, and its visits would wake the service."""
    return Response("User-agent: *\nDisallow: /\n", content_type="text/plain; charset=utf-8", headers=DAILY)


@routes.get("/favicon.ico")
def favicon() -> Response:
    return Response(status=204, headers=DAILY)
