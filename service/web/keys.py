"""Who may ask: a request's key is looked up in API_KEYS; imported only if there are any."""

import math
from collections.abc import Callable, Mapping

from flask import Flask, Response, current_app, g, request

from service.errors import OverRate, Unauthorized
from service.keys import OWN, Key, Keyring, digest_of, make
from service.settings import Settings

# Routes that need no key: probes of the kubelet and of Knative cannot send one.
OPEN_ENDPOINTS = frozenset(("inference.live", "inference.ready", "inference.model_ready"))
# As an endpoint, and as a path: its body is read, so it must be kept.
HEALTH, HEALTH_PATH = "grpc.health", "/grpc.health.v1.Health/Check"
# And all routes of these blueprints: a browser loads a page and its files before anybody can type a key.
OPEN_BLUEPRINTS = frozenset(("page", "robots"))
METRICS = "metrics.metrics"
# What may cost a run of the model, and so counts against a rate. Reading a job costs none.
COUNTED = ("POST", "PUT")


class Gate:
    """Tells callers by their keys. Called by any number of threads.

    `credentials` are the headers of the requests that this process sends to itself: a key that only it knows.
    """

    def __init__(self, settings: Settings) -> None:
        own = make()
        self.credentials = {"X-API-Key": own}
        self._keyring = Keyring((*settings.api_keys, Key(OWN, digest_of(own))))
        self._open = OPEN_ENDPOINTS | {HEALTH} | ({METRICS} if settings.metrics_without_key else frozenset())

    def guard(self, app: Flask) -> None:
        """Check every request of `app`, and count it by its key."""
        app.before_request(self._check)
        app.after_request(_count)

    def refusal(self, path: str, headers: Mapping[str, str]) -> Unauthorized | None:
        """Why the body of a request need not be kept; the names of its headers are in upper case."""
        if path == HEALTH_PATH or self._keyring.name_of(_sent(headers.get)) is not None:
            return None
        return Unauthorized()

    def _check(self) -> None:
        if request.method == "OPTIONS" or request.endpoint in self._open or request.blueprint in OPEN_BLUEPRINTS:
            return
        name = self._keyring.name_of(_sent(request.headers.get))
        if name is None:
            raise Unauthorized
        if name == OWN:
            return
        g.caller = name
        if request.method in COUNTED and (wait_s := self._keyring.wait_s(name)):
            raise OverRate("this key has sent more requests than its rate allows", max(1, math.ceil(wait_s)))


def _sent(header: Callable[[str], str | None]) -> str:
    """The key of a request. Authorization may be that of a proxy in front, so X-API-Key comes first."""
    if key := header("X-API-KEY"):
        return key.strip()
    scheme, _, key = (header("AUTHORIZATION") or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _count(response: Response) -> Response:
    if name := g.get("caller"):
        current_app.extensions["requests"].count_key(name, response.status_code)
    return response
