"""Posts an event to the application, without a server; imported late, because readiness does not need werkzeug's client."""

from collections.abc import Mapping

from flask import Flask
from werkzeug.test import Client, TestResponse


def post_event(app: Flask, body: bytes, headers: Mapping[str, str]) -> TestResponse:
    """What the service answers to a CloudEvent, as a broker would get it."""
    # The platform has checked who sends this.
    return Client(app).post("/events", data=body, headers={**headers, **app.extensions["credentials"]})
