"""What runs in the recorder's pod: keeps every event that it is sent; and sends some. Needs nothing but Python.

recorder.py serve PORT
recorder.py send BROKER EVENTS   a JSON list of attributes each; all at once, with a photo as data; one that the Broker
    could not take (5xx) is sent again
recorder.py load URL CLIENTS SECONDS [TYPE]   each client posts the photo again as soon as it has the answer; with a TYPE
    it is sent as an event of that type, and who only takes it (202) has it answered when the reply is recorded. Prints
    the times, in ms, as JSON
"""

import json
import sys
import threading
import time
import urllib.request
import uuid
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from os import SEEK_END
from pathlib import Path
from urllib.error import HTTPError

RECORDED = Path("/tmp/events")
PHOTO = Path("/recorder/photo")
SENDERS = 16
POLL_S = 0.001
TRIES, RETRY_S = 5, 1.0
LARGE = 12 * 2**20


class Recorder(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        attributes = {name.lower()[3:]: value for name, value in self.headers.items() if name.lower().startswith("ce-")}
        with RECORDED.open("a") as file:
            file.write(json.dumps({"attributes": attributes, "data": body.decode()}) + "\n")
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def serve(port: str) -> None:
    RECORDED.touch()
    ThreadingHTTPServer(("", int(port)), Recorder).serve_forever()


def _post(url: str, body: bytes, event: dict[str, str]) -> int:
    headers = {f"Ce-{name}": value for name, value in event.items()}
    asked = urllib.request.Request(url, body, {"Content-Type": "image/jpeg", **headers})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        answer.read()
        return int(answer.status)


def _sent(url: str, body: bytes, event: dict[str, str]) -> int:
    """As CloudEvents' senders do: a Broker's ingress answers 500, or nothing, when it is overrun for a moment."""
    for _ in range(TRIES - 1):
        try:
            return _post(url, body, event)
        except HTTPError as fault:
            if fault.code < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
        except OSError:
            pass
        time.sleep(RETRY_S)
    return _post(url, body, event)


def send(broker: str, encoded: str) -> None:
    """Prints which statuses the Broker has answered in the end."""
    photo = PHOTO.read_bytes()

    def one(event: dict[str, str]) -> int:
        data = b"no picture" if event["id"].startswith("poison") else photo
        if event["id"].startswith("large"):
            data += bytes(LARGE)
        return _sent(broker, data, {"Specversion": "1.0", **event})

    with ThreadPoolExecutor(SENDERS) as pool:
        print(sorted(set(pool.map(one, json.loads(encoded)))))


def load(url: str, clients: str, seconds: str, event_type: str = "") -> None:
    photo = PHOTO.read_bytes()
    ask: Callable[[], object] = partial(_post, url, photo, {})
    if event_type:
        ask = partial(_publish, url, photo, event_type, _replies())
    end = time.monotonic() + float(seconds)

    def client(_: int) -> list[float]:
        times = []
        while (began := time.monotonic()) < end:
            ask()
            times.append((time.monotonic() - began) * 1e3)
        return times

    with ThreadPoolExecutor(int(clients)) as pool:
        print(json.dumps([each for times in pool.map(client, range(int(clients))) for each in times]))


def _publish(url: str, photo: bytes, event_type: str, replied: dict[str, threading.Event]) -> None:
    """Return once the reply is there."""
    asked = uuid.uuid4().hex
    status = _post(url, photo, {"Specversion": "1.0", "Id": asked, "Source": "/load", "Type": event_type})
    if status == HTTPStatus.ACCEPTED and not replied[asked].wait(60):
        raise TimeoutError(f"no reply to event {asked}")
    replied.pop(asked, None)


def _replies() -> dict[str, threading.Event]:
    """Of each request id whether its reply was recorded, from now on."""
    replied: dict[str, threading.Event] = defaultdict(threading.Event)

    def follow() -> None:
        with RECORDED.open() as file:
            file.seek(0, SEEK_END)
            while True:
                # A line that is not written to its end is read again.
                begin, line = file.tell(), file.readline()
                if line.endswith("\n"):
                    replied[json.loads(line)["attributes"]["requestid"]].set()
                else:
                    file.seek(begin)
                    time.sleep(POLL_S)

    threading.Thread(target=follow, daemon=True).start()
    return replied


COMMANDS: dict[str, Callable[..., None]] = {"serve": serve, "send": send, "load": load}

if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    COMMANDS[command](*arguments)
