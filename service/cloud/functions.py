"""Google Cloud Functions: entry points for functions-framework, which loads this file by its path."""

import logging
import os
import threading
from collections.abc import Mapping

import functions_framework
from cloudevents.v1.conversion import to_structured
from cloudevents.v1.http import CloudEvent
from flask import Flask, Request, request
from werkzeug.wrappers import Response

from service.cloud.posting import post_event
from service.cloud.startup import start
from service.errors import BadRequest
from service.events import codec
from service.events.post import RETRIED
from service.settings import Settings

logger = logging.getLogger("kindling")

STRUCTURED = {"content-type": codec.JSON_TYPE}

logging.basicConfig()
_settings = Settings.from_env()
_starting = threading.Lock()
_started: list[Flask] = []


class EventNotAnswered(Exception):
    """Answered with 500, so that Eventarc delivers the event again; the message has the status and the reason."""


def application() -> Flask:
    """The application; the first caller loads it."""
    with _starting:
        if not _started:
            _started.append(start(_settings))
        return _started[0]


def _load() -> None:
    threading.Thread(target=application, name="start", daemon=True).start()


# The framework imports this file and then forks a worker. Our threads would not survive the fork, so the worker loads the
# model, as soon as it runs.
os.register_at_fork(after_in_child=_load)


@functions_framework.http
def http(asked: Request) -> Response:
    """Every endpoint of the service, at its usual path."""
    return Response.from_app(application(), dict(asked.environ))


@functions_framework.cloud_event
def event(given: CloudEvent) -> None:
    """A CloudEvent, also one of Eventarc's. An event that can never be answered is logged, or it would come for ever.

    Raises:
        EventNotAnswered: it was not answered, and can be later.
    """
    name, headers, body = _message(given)
    answer = post_event(application(), body, headers)
    told = f"event {name}: {answer.status_code} {answer.text.strip()}"
    if answer.status_code in RETRIED:
        raise EventNotAnswered(told)
    if answer.status_code >= 400:
        logger.error(told)
    elif not _settings.database_url and answer.data:
        logger.info(told)


def _message(given: CloudEvent) -> tuple[str, Mapping[str, str], bytes]:
    """What the log calls the event, and the event as headers and body for `/events`."""
    name, headers = f"{given['id']} of {given['source']}", _headers_of_event()
    if not headers:
        return name, *to_structured(given)
    body = request.get_data()
    if "content-encoding" in headers:
        return name, headers, body
    try:
        _, (asked,) = codec.decode(headers, body)
    except BadRequest:  # /events will report this too
        return name, headers, body
    return f"{asked.id} of {asked.source}", STRUCTURED, codec.to_json(asked)


def _headers_of_event() -> dict[str, str]:
    """The request's headers that belong to the event; none if the framework itself made the event.

    The framework's own reading (`given`) does not decode headers as the specification says, and its data is not bytes.
    """
    lower = {name.lower(): value for name, value in request.headers}
    if "ce-specversion" not in lower and not lower.get("content-type", "").startswith("application/cloudevents"):
        return {}
    kept = ("content-type", "content-encoding")
    return {name: value for name, value in lower.items() if name.startswith("ce-") or name in kept}
