"""Fetches an object from S3, or from another store with its protocol: only the one that the AWS SDK's environment names."""

import threading
import time
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from urllib3.exceptions import HTTPError

from service.errors import NotReady, Unprocessable

PART_BYTES = 64 * 1024
# The parts of the whole time that connecting, and one silence, may take.
PATIENCE = 1 / 3
# Errors of the store that would come again. Without the right to list a bucket, a store answers AccessDenied for
# an object that does not exist (docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html).
FINAL = {
    "NoSuchKey", "NoSuchBucket", "NoSuchVersion", "AccessDenied", "InvalidObjectState", "KeyTooLongError",
    "InvalidArgument",  # no version id
    "MethodNotAllowed",  # the version is a delete marker
}  # fmt: skip

_clients: dict[float, Any] = {}  # by the timeout that they are made for
_making = threading.Lock()


def get(bucket: str, key: str, max_bytes: int, timeout_s: float, version: str | None = None) -> bytes:
    """The content of the object, or of that version of it.

    Raises:
        Unprocessable: there is no such object, it may not be read, or it is too large.
        NotReady: the store does not answer in time, or refuses our credentials.
    """
    if not key:
        raise Unprocessable("dataref: wanted s3://BUCKET/KEY")
    end_s = time.monotonic() + timeout_s
    try:
        answer = _client(timeout_s).get_object(Bucket=bucket, Key=key, **({"VersionId": version} if version else {}))
        with answer["Body"] as stream:
            body = _read(stream, max_bytes, end_s)
    except ClientError as fault:
        code = str(fault.response["Error"]["Code"])[:100]
        kind = Unprocessable if code in FINAL else NotReady
        hint = ", as a version needs s3:GetObjectVersion" if version and code == "AccessDenied" else ""
        raise kind(f"dataref: the store of s3://{bucket} answers {code}{hint}") from None
    except (BotoCoreError, HTTPError) as fault:
        # Credentials are looked up once for each client, and they may come later than the process.
        if isinstance(fault, NoCredentialsError):
            _clients.clear()
        raise NotReady(f"dataref: the store of s3://{bucket} does not answer ({type(fault).__name__})") from None
    if len(body) > max_bytes:
        raise Unprocessable(f"dataref: more than {max_bytes} bytes")
    if len(body) != (wanted := answer.get("ContentLength", len(body))):
        raise NotReady(f"dataref: the store of s3://{bucket} sent {len(body)} of {wanted} bytes")
    return body


def close() -> None:
    """Close the connections, and forget the credentials; the next call makes a new client. Called while nobody calls `get`."""
    for client in _clients.values():
        client.close()
    _clients.clear()


def _client(timeout_s: float) -> Any:
    """The client, for any number of threads."""
    with _making:
        client = _clients.get(timeout_s) or _made(timeout_s)
        _clients[timeout_s] = client
        return client


def _made(timeout_s: float) -> Any:
    """The bucket is in the path, not in the host's name. There is only one try, because the event is delivered again."""
    config = Config(
        connect_timeout=timeout_s * PATIENCE,
        read_timeout=timeout_s * PATIENCE,
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"},
    )
    return botocore.session.get_session().create_client("s3", config=config)


def _read(stream: Any, max_bytes: int, end_s: float) -> bytes:
    """The whole object, or its first bytes if it is too large; `read1` waits for some bytes, not for all."""
    body = bytearray()
    while len(body) <= max_bytes and (part := stream.read1(PART_BYTES)):
        body += part
        if time.monotonic() >= end_s:
            raise NotReady("dataref: the object store sent no end in time")
    return bytes(body)
