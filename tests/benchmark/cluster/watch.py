"""When pods appear and become ready, as the API tells it."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.cluster.knative import Cluster


@dataclass
class Seen:
    """A pod, and the Unix times at which it was first seen, had an address, and was Ready; 0 where it has not yet."""

    name: str
    created_s: float
    addressed_s: float = 0.0
    ready_s: float = 0.0


class Watch:
    """The pods of one service, from now on. Not a poll: what the API sends costs the cores nothing in between."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._thread = threading.Thread(target=self._read)
        self._known: dict[str, Seen] = {}
        self._thread.start()

    @property
    def pods(self) -> list[Seen]:
        """In the order of their creation."""
        return list(self._known.values())

    def close(self) -> None:
        self._response.shutdown()
        self._thread.join()
        self._response.release_conn()

    def _read(self) -> None:
        # The end of the stream, by shutdown, is an error for it.
        with suppress(Exception):
            for line in self._response:
                self._note(json.loads(line)["object"], time.time())

    def _note(self, pod: dict[str, Any], now_s: float) -> None:
        seen = self._known.setdefault(pod["metadata"]["name"], Seen(pod["metadata"]["name"], now_s))
        if pod["status"].get("podIP") and not seen.addressed_s:
            seen.addressed_s = now_s
        conditions = pod["status"].get("conditions", ())
        if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions) and not seen.ready_s:
            seen.ready_s = now_s


@contextmanager
def watching(cluster: Cluster, service: str) -> Iterator[Watch]:
    """The pods that there are count as created now."""
    response = cluster.core.list_namespaced_pod(
        cluster.namespace, label_selector=f"serving.knative.dev/service={service}", watch=True, _preload_content=False
    )
    watch = Watch(response)
    try:
        yield watch
    finally:
        watch.close()
