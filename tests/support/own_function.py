"""A function of one's own around ours: its init code computes, its hooks stand around ours, and its log tells of them.

Run by awslambdaric as HANDLER, with SnapStart. The hook that FAIL names fails; with IDLE, nothing is computed.
"""

import os
import sys
from pathlib import Path
from typing import Any

from snapshot_restore_py import register_after_restore, register_before_snapshot

from service.cloud.aws_lambda import app, handler, settings
from tests.support.pictures import png

__all__ = ["handler"]

HANDLER = "tests.support.own_function.handler"
PICTURE = png(40, 30)
KEY = "of the init phase"
OBJECT = "s3://photos/cat.png"


def _compute() -> None:
    """With a database, a job; with a bucket, an object of it."""
    client = app.test_client()
    headers = {"Idempotency-Key": KEY} if settings.database_url else {}
    assert client.post("/infer?top=1", data=PICTURE, headers=headers).status_code == 200
    if settings.dataref_allow:
        asked = {"specversion": "1.0", "id": "1", "source": "/own", "type": "t", "dataref": OBJECT}
        assert client.post("/events", json=asked, content_type="application/cloudevents+json").status_code == 200


def _say(what: str, *more: str) -> None:
    """A line of the log: what happens, and which files and sockets are open."""
    opened = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    sys.stdout.write(" ".join((f"own {what}", *more, "open:", *opened)) + "\n")


def _tell_imports(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "import":
        sys.stdout.write(f"own import {arguments[0]}\n")


def _before() -> None:
    if "IDLE" not in os.environ:
        _compute()
    _say("before")
    if os.environ.get("FAIL") == "before":
        raise RuntimeError("own hook before the snapshot")


def _after() -> None:
    _say("after")
    sys.addaudithook(_tell_imports)
    if os.environ.get("FAIL") == "after":
        raise RuntimeError("own hook after the restore")


register_before_snapshot(_before)
register_after_restore(_after)
_say("init")
