"""AWS Lambda's Runtime API, and the real awslambdaric that asks it for events (docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html)."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.serving import HOST

API = "/2018-06-01/runtime"
HANDLER = "service.cloud.aws_lambda.handler"
# As the real one refuses a response: "Exceeded maximum allowed payload size (6291556 bytes)".
MAX_RESPONSE_BYTES = 6_291_556
ERRORS = {f"{API}/init/error": "init_error", f"{API}/restore/error": "restore_error"}
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """`kind` is `response` or `error`, as the path says to which it was posted."""

    kind: str
    body: bytes

    @property
    def value(self) -> Any:
        """What the handler returned."""
        assert self.kind == "response", self.body
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """What it raised, as `Type: message`."""
        assert self.kind == "error", self.body
        found = json.loads(self.body)
        return f"{found['errorType']}: {found['errorMessage']}"


@dataclass
class RuntimeApi:
    """`polled_s` is when the first `next` came, on the clock of `time.perf_counter`; `init_error` comes in its place.

    With SnapStart, `snapshot` is when the function may be copied, and it goes on when the test sets `restored`.

    Attributes:
        asked: what the function asked for or told, in order, without the ids of events.
        error_type: what a failed init phase or a failed hook is called in the header.
    """

    port: int
    polled: threading.Event = field(default_factory=threading.Event)
    polled_s: float = 0.0
    init_error: dict[str, Any] | None = None
    snapshot: threading.Event = field(default_factory=threading.Event)
    restored: threading.Event = field(default_factory=threading.Event)
    restore_error: dict[str, Any] | None = None
    error_type: str = ""
    asked: list[str] = field(default_factory=list)
    events: "queue.Queue[tuple[str, bytes] | None]" = field(default_factory=queue.Queue)
    outcomes: "queue.Queue[tuple[str, Outcome]]" = field(default_factory=queue.Queue)
    _count: int = 0

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def invoke(self, event: Any) -> Outcome:
        """What comes of that event; one at a time, as Lambda does it."""
        self._count += 1
        request_id = f"request-{self._count}"
        self.events.put((request_id, json.dumps(event).encode()))
        answered, outcome = self.outcomes.get(timeout=DEADLINE_S)
        assert answered == request_id
        return outcome

    def note_poll(self) -> None:
        """An event is asked for."""
        if not self.polled.is_set():
            self.polled_s = time.perf_counter()
            self.polled.set()

    def note_fault(self, kind: str, error_type: str, body: bytes) -> None:
        """The init phase, or a hook, has failed."""
        self.asked.append(kind)
        self.error_type = error_type
        setattr(self, kind, json.loads(body))
        self.polled.set()


@contextmanager
def runtime_api(host: str = HOST) -> Iterator[RuntimeApi]:
    """Until the end, when requests for an event get none."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            api.asked.append(self.path.removeprefix(f"{API}/"))
            if self.path == f"{API}/restore/next":
                api.snapshot.set()
                api.restored.wait(DEADLINE_S)
                self._answer(200)
                return
            assert self.path == f"{API}/invocation/next"
            api.note_poll()
            if (found := api.events.get()) is None:
                self.close_connection = True
                return
            request_id, body = found
            self._answer(200, body, {
                "Content-Type": "application/json", "Lambda-Runtime-Aws-Request-Id": request_id,
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + DEADLINE_S) * 1e3)),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:kindling",
            })  # fmt: skip

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path in ERRORS:
                self._answer(202)
                api.note_fault(ERRORS[self.path], self.headers["Lambda-Runtime-Function-Error-Type"], body)
                return
            _, request_id, kind = self.path.removeprefix(API).rsplit("/", 2)
            if len(body) > MAX_RESPONSE_BYTES:
                refusal = {
                    "errorType": "RequestEntityTooLarge",
                    "errorMessage": "Exceeded maximum allowed payload size",
                }
                self._answer(413, json.dumps(refusal).encode())
                return
            self._answer(202)
            api.outcomes.put((request_id, Outcome(kind, body)))

        def _answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Be silent."""

    with ThreadingHTTPServer((host, 0), Handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # the function has ended
        api = RuntimeApi(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield api
        finally:
            api.events.put(None)
            server.shutdown()
            thread.join()


@contextmanager
def function(
    api: RuntimeApi, environ: Mapping[str, str], log: Any = None, handler: str = HANDLER
) -> Iterator["subprocess.Popen[bytes]"]:
    """The real awslambdaric in a process of its own, which is gone at the end, with those that it has started."""
    process = subprocess.Popen(
        [sys.executable, "-m", "awslambdaric", handler],
        env={"AWS_LAMBDA_RUNTIME_API": api.address, **environ},
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
