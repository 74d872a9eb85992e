"""Google Cloud Functions: entry points for functions-framework, which loads this file by its path."""

import base64
import logging
import os
import threading
from typing import Any

import functions_framework
from cloudevents.v1.conversion import to_structured
from cloudevents.v1.http import CloudEvent
from flask import Flask, Request
from werkzeug.wrappers import Response

from service.cloud.posting import post_event
from service.cloud.startup import start
from service.events.post import RETRIED
from service.settings import Settings

logger = logging.getLogger("kindling")

# What Eventarc makes of a Pub/Sub message: its data are {"message": {"data": base64, ...}, "subscription": ...}.
PUBSUB = "google.cloud.pubsub.topic.v1.messagePublished"
STRUCTURED = {"content-type": "application/cloudevents+json"}

logging.basicConfig()
_settings = Settings.from_env()
_starting = threading.Lock()
_started: list[Flask] = []


class EventNotAnswered(Exception):
    """Answered with 500, so that Eventarc delivers the event again; the message has the status and the reason."""


def application() -> Flask:
    """The application, loaded by whoever asks first."""
    with _starting:
        if not _started:
            _started.append(start(_settings))
        return _started[0]


def _load() -> None:
    threading.Thread(target=application, name="start", daemon=True).start()


# The framework reads this file and then forks a worker, which none of our threads would survive: it is the worker that
# loads the model, as soon as it is there.
os.register_at_fork(after_in_child=_load)


@functions_framework.http
def http(request: Request) -> Response:
    """Every endpoint of the service, by its own path."""
    return Response.from_app(application(), dict(request.environ))


@functions_framework.cloud_event
def event(given: CloudEvent) -> None:
    """A CloudEvent, or a Pub/Sub message with one. What can never be answered is logged, or it would come for ever.

    Raises:
        EventNotAnswered: it was not answered, and can be later.
    """
    headers, body = _message(given)
    answer = post_event(application(), body, headers)
    told = f"event {given['id']} of {given['source']}: {answer.status_code} {answer.text.strip()}"
    if answer.status_code in RETRIED:
        raise EventNotAnswered(told)
    if answer.status_code >= 400:
        logger.error(told)
    elif not _settings.database_url and answer.data:
        logger.info(told)


def _message(given: CloudEvent) -> tuple[dict[str, str], bytes]:
    """The event in the JSON format; of one that brings a Pub/Sub message, what that message is."""
    if given["type"] != PUBSUB:
        return to_structured(given)
    data: Any = given.get_data()
    try:
        return STRUCTURED, base64.b64decode(data["message"]["data"])
    except (TypeError, KeyError, ValueError):
        return STRUCTURED, b""
