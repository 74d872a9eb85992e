"""What AWS sends to a function: payloads as its services make them; and the function itself, past its init phase."""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus

from cloudevents.core.v1.event import CloudEvent
from werkzeug.datastructures import Headers

from tests.support.events import FORMAT
from tests.support.runtime_api import DEADLINE_S, HANDLER, Outcome, RuntimeApi, function, runtime_api
from tests.support.serving import Answer

VERSIONS = ("1.0", "2.0")
QUEUE = "arn:aws:sqs:us-east-1:123456789012:kindling"


@dataclass(frozen=True)
class Function:
    """awslambdaric with our handler; `init_s` is how long its init phase took."""

    api: RuntimeApi
    pid: int
    log_file: Path
    init_s: float

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def invoke(self, event: Any) -> Outcome:
        return self.api.invoke(event)

    def http(
        self, version: str, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to a request through API Gateway; a dict as `body` is sent as JSON."""
        raw = json.dumps(body).encode() if isinstance(body, dict) else body or b""
        return http_answer(self.invoke(http_event(version, method, path, raw, headers or {})).value)


@contextmanager
def running(environ: Mapping[str, str], log_file: Path, handler: str = HANDLER) -> Iterator[Function]:
    """The function, as soon as it asks for its first event."""
    with runtime_api() as api, log_file.open("wb") as log:
        began_s = time.perf_counter()
        with function(api, environ, log, handler) as process:
            assert api.polled.wait(DEADLINE_S), log_file.read_text()
            assert api.init_error is None, api.init_error
            yield Function(api, process.pid, log_file, api.polled_s - began_s)


@contextmanager
def snapshotted(environ: Mapping[str, str], log_file: Path, handler: str = HANDLER) -> Iterator[Function]:
    """The function with SnapStart, as it is in the snapshot; it goes on when the test sets `api.restored`."""
    with runtime_api() as api, log_file.open("wb") as log:
        began_s = time.perf_counter()
        with function(api, {**environ, "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}, log, handler) as process:
            assert api.snapshot.wait(DEADLINE_S), log_file.read_text()
            try:
                yield Function(api, process.pid, log_file, time.perf_counter() - began_s)
            finally:
                api.restored.set()


def http_event(version: str, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html

    2.0 is also what a function URL sends, and 1.0 what a REST API does. Text stays text, all else is in base64.
    """
    path, _, query = path.partition("?")
    headers = {"Host": "abc.execute-api.us-east-1.amazonaws.com", "X-Forwarded-Proto": "https", **headers}
    try:
        encoded: dict[str, Any] = {"body": body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        encoded = {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    if version == "2.0":
        http = {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "curl"}
        return {
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query,
            "headers": {name.lower(): value for name, value in headers.items()},
            "requestContext": {"http": http, "stage": "$default", "requestId": "id"}, **encoded,
        }  # fmt: skip
    parameters: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters.setdefault(name, []).append(value)
    return {
        "version": "1.0", "resource": "/{proxy+}", "path": path, "httpMethod": method,
        "headers": headers, "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": {name: values[-1] for name, values in parameters.items()} or None,
        "multiValueQueryStringParameters": parameters or None,
        "requestContext": {"httpMethod": method, "path": path, "stage": "prod"}, **encoded,
    }  # fmt: skip


def http_answer(value: Mapping[str, Any]) -> Answer:
    """What API Gateway makes of a function's answer."""
    headers = Headers(value.get("headers") or {})
    for name, several in value.get("multiValueHeaders", {}).items():
        headers.setlist(name, several)
    body = base64.b64decode(value["body"]) if value["isBase64Encoded"] else value["body"].encode()
    return Answer(value["statusCode"], headers, body)


def as_json(event: CloudEvent) -> dict[str, Any]:
    """A CloudEvent in the JSON format."""
    return json.loads(FORMAT.write(event))  # type: ignore[no-any-return]


def message(message_id: str, body: Any, queue: str = QUEUE) -> dict[str, Any]:
    """One that SQS delivers; a dict as its body is JSON."""
    return {
        "messageId": message_id, "receiptHandle": "handle", "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {"ApproximateReceiveCount": "1"}, "messageAttributes": {}, "md5OfBody": "",
        "eventSource": "aws:sqs", "eventSourceARN": queue, "awsRegion": "us-east-1",
    }  # fmt: skip


def envelope(detail: Any, **attributes: Any) -> dict[str, Any]:
    """As EventBridge delivers an event."""
    return {
        "version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "detail-type": "org.example.picture.taken",
        "source": "org.example.camera", "account": "123456789012", "time": "2026-11-23T12:00:00Z",
        "region": "us-east-1", "resources": [], "detail": detail, **attributes,
    }  # fmt: skip


def notification(key: str, bucket: str = "photos", name: str = "ObjectCreated:Put", **stored: Any) -> dict[str, Any]:
    """A record of it: docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html."""
    return {
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-west-2", "eventTime": "2026-11-27T20:15:42.123Z",
        "eventName": name, "userIdentity": {"principalId": "AWS:EXAMPLE"},
        "requestParameters": {"sourceIPAddress": "192.0.2.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5"},
        "s3": {
            "s3SchemaVersion": "1.0", "configurationId": "kindling",
            "bucket": {"name": bucket, "ownerIdentity": {"principalId": "EXAMPLE"}, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {"key": quote_plus(key, safe="/"), "size": 1024, "eTag": "d41d8cd9", "sequencer": "0055AED6DCD9", **stored},
        },
    }  # fmt: skip


def bridged(key: str, kind: str = "Object Created", **stored: Any) -> dict[str, Any]:
    """docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html"""
    told = {
        "key": key,
        "size": 5,
        "etag": "b1946ac92492d2347c6235b4d2611184",
        "sequencer": "617f08299329d189",
        **stored,
    }
    detail = {"version": "0", "bucket": {"name": "photos"}, "object": told, "request-id": "N4N7GDK58NMKJ12R"}
    return envelope(detail, **{"source": "aws.s3", "detail-type": kind})


def by_sns(text: str) -> dict[str, Any]:
    """As SNS puts it into a queue, or posts it."""
    return {
        "Type": "Notification", "MessageId": "22b80b92", "TopicArn": "arn:aws:sns:us-east-1:123456789012:photos",
        "Subject": "Amazon S3 Notification", "Message": text, "Timestamp": "2026-11-27T20:15:42.123Z",
    }  # fmt: skip
