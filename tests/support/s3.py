"""A real server with the protocols of S3, SQS and SNS: moto's, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
from botocore.exceptions import BotoCoreError

from tests.support.eventually import eventually
from tests.support.serving import HOST, free_port

START_S = 60.0
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "kindling", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
EVERYTHING = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]


@dataclass(frozen=True)
class Queue:
    client: Any
    url: str

    def texts(self) -> list[str]:
        """The bodies of all messages that are there."""
        found = []
        while some := self.client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            found += [each["Body"] for each in some]
            for each in some:
                self.client.delete_message(QueueUrl=self.url, ReceiptHandle=each["ReceiptHandle"])
        return found


class Store:
    """`environ`: what a client's environment says of it, as for any other."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str) -> None:
        self.process = process
        self.url = url
        self.environ = {"AWS_ENDPOINT_URL_S3": url, **CREDENTIALS}
        self.client = self.of("s3")

    def of(self, service: str) -> Any:
        """A client of that service of AWS."""
        return botocore.session.get_session().create_client(
            service, "us-east-1", endpoint_url=self.url, aws_access_key_id="kindling", aws_secret_access_key="secret"
        )

    def put(self, bucket: str, key: str, body: bytes) -> str:
        """The object's URL; a bucket is made when it is first named."""
        self.client.create_bucket(Bucket=bucket)
        self.client.put_object(Bucket=bucket, Key=key, Body=body)
        return f"s3://{bucket}/{key}"

    def notifying(self, bucket: str, *, by_topic: bool = False) -> "Queue":
        """The queue that is told of everything in the bucket, by S3 itself or by a topic of SNS."""
        self.client.create_bucket(Bucket=bucket)
        sqs = self.of("sqs")
        url = sqs.create_queue(QueueName=bucket)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        places = {"QueueConfigurations": [{"QueueArn": arn, "Events": EVERYTHING}]}
        if by_topic:
            sns = self.of("sns")
            topic = sns.create_topic(Name=bucket)["TopicArn"]
            sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
            places = {"TopicConfigurations": [{"TopicArn": topic, "Events": EVERYTHING}]}
        self.client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=places)
        return Queue(sqs, url)

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
