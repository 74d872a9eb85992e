"""What runs in the recorder's pod: keeps every event that it is sent; and sends some. Needs nothing but Python.

recorder.py serve PORT
recorder.py send BROKER EVENTS   a JSON list of attributes each; all at once, with a photo as data
"""

import json
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RECORDED = Path("/tmp/events")
PHOTO = Path("/recorder/photo")
SENDERS = 16


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


def send(broker: str, encoded: str) -> None:
    """Prints which statuses the Broker has answered."""
    photo = PHOTO.read_bytes()

    def one(event: dict[str, str]) -> int:
        headers = {f"Ce-{name}": value for name, value in event.items()}
        data = b"no picture" if event["id"].startswith("poison") else photo
        asked = urllib.request.Request(broker, data, {"Ce-Specversion": "1.0", "Content-Type": "image/jpeg", **headers})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return int(answer.status)

    with ThreadPoolExecutor(SENDERS) as pool:
        print(sorted(set(pool.map(one, json.loads(encoded)))))


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    (serve if command == "serve" else send)(*arguments)
