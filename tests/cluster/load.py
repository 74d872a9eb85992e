"""Load: clients that ask all the time, and what became of every request; burst: clients that ask at the same time."""

import http.client
import io
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType

from PIL import Image

from model import pictures
from tests.cluster.knative import Route
from tests.support.eventually import eventually
from tests.support.pictures import encoded
from tests.support.serving import Answer

COFFEE = (pictures.folder() / "coffee.png").read_bytes()
# One that is decoded faster than it is run.
SMALL = encoded(Image.open(io.BytesIO(COFFEE)).convert("RGB").resize((320, 240)), "JPEG")
LABEL = "espresso"


@dataclass(frozen=True)
class Asked:
    """One request. `status` is 0 when there was no answer; then `told` says why."""

    status: int
    told: str
    began: float
    took_s: float


class Load:
    """`with Load(route, picture, "espresso", clients=4) as load:` asks until the block ends.

    Each client sends its next request as soon as it has the answer to the last one, over one connection that it keeps;
    with a pause it comes again on a new one.
    """

    def __init__(self, route: Route, picture: bytes, label: str, clients: int, pause_s: float = 0.0) -> None:
        self._route = route
        self._picture = picture
        self._label = label
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(clients)]
        self.asked: list[Asked] = []

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def failed(self) -> list[Asked]:
        """What was not answered with 200 and the right label."""
        return [each for each in self.asked if each.status != 200 or each.told != self._label]

    @property
    def statuses(self) -> Counter[int]:
        return Counter(each.status for each in self.asked)

    def wait_for(self, answers: int, deadline_s: float = 60.0) -> None:
        """Return once so many more were answered."""
        wanted = len(self.asked) + answers
        eventually(lambda: len(self.asked) >= wanted, deadline_s, f"{answers} answers")

    def _ask_on(self) -> None:
        while not self._stopping.is_set():
            with closing(self._route.connect()) as connection:
                while self._ask(connection) and not self._pause_s and not self._stopping.is_set():
                    pass
            self._stopping.wait(self._pause_s)

    def _ask(self, connection: http.client.HTTPConnection) -> bool:
        """One request; whether the connection can take another."""
        began = time.monotonic()
        try:
            answer = self._route.ask(connection, "POST", "/infer?top=1", self._picture)
        except (OSError, http.client.HTTPException) as fault:
            self.asked.append(Asked(0, repr(fault), began, time.monotonic() - began))
            return False
        told = answer.json["labels"][0]["label"] if answer.status == 200 else answer.body.decode(errors="replace")
        self.asked.append(Asked(answer.status, told, began, time.monotonic() - began))
        return answer.headers.get("Connection", "").lower() != "close"


def burst(route: Route, clients: int, requests: int = 1, picture: bytes = COFFEE) -> list[Answer]:
    """The answers to `clients` that begin together, each with so many requests, one after the other."""
    together = threading.Barrier(clients, timeout=60)

    def call(_client: int) -> list[Answer]:
        together.wait()
        return [route.call("POST", "/infer?top=1", picture) for _ in range(requests)]

    with ThreadPoolExecutor(clients) as pool:
        return [answer for each in pool.map(call, range(clients)) for answer in each]


def label(answer: Answer) -> str:
    """The top label of a photo."""
    assert answer.status == 200, (answer.status, answer.body)
    return str(answer.json["labels"][0]["label"])
