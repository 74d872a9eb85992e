"""A real server with the protocol of S3: moto's, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.session
from botocore.exceptions import BotoCoreError

from tests.support.eventually import eventually
from tests.support.serving import HOST, free_port

START_S = 60.0
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "kindling", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


class Store:
    """`environ`: what a client's environment says of it, as for any other."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str) -> None:
        self.process = process
        self.url = url
        self.environ = {"AWS_ENDPOINT_URL_S3": url, **CREDENTIALS}
        self.client: Any = botocore.session.get_session().create_client(
            "s3", "us-east-1", endpoint_url=url, aws_access_key_id="kindling", aws_secret_access_key="secret"
        )

    def put(self, bucket: str, key: str, body: bytes) -> str:
        """The object's URL; a bucket is made when it is first named."""
        self.client.create_bucket(Bucket=bucket)
        self.client.put_object(Bucket=bucket, Key=key, Body=body)
        return f"s3://{bucket}/{key}"

    def is_there(self) -> bool:
        assert self.process.poll() is None, "the store ended"
        try:
            self.client.list_buckets()
        except BotoCoreError:
            return False
        return True


@contextmanager
def store(log_file: Path) -> Iterator[Store]:
    """The server, once it answers; stopped by its own id at the end."""
    port = free_port()
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "--host", HOST, "--port", str(port)], stdout=log, stderr=log
        )
    try:
        found = Store(process, f"http://{HOST}:{port}")
        eventually(found.is_there, START_S, "the object store")
        yield found
    finally:
        process.terminate()
        process.wait()
