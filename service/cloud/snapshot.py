"""AWS Lambda SnapStart: the init phase ends in a snapshot, and many processes go on from it, hours later and elsewhere.

init phase -> before: close -> GET /restore/next ~ snapshot, restored ~> after: be unique -> the first event

The model stays loaded and warmed up, which is the gain. awslambdaric calls the hooks, in a function with SnapStart only
(docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html).
"""

import importlib
import logging
import os
import random
import ssl
import sys
from typing import TYPE_CHECKING

from snapshot_restore_py import register_after_restore, register_before_snapshot

from service import events
from service.settings import Settings
from service.telemetry import ledger

if TYPE_CHECKING:
    from flask import Flask

logger = logging.getLogger("kindling")

S3 = "service.events.s3"
# As much as OpenSSL's generator takes from the kernel for its own seed (SP 800-90A, 10.2.1: AES-256 without derivation).
SEED_BYTES = 48


def register(app: "Flask") -> None:
    """Have these hooks called. Those of your own that are registered later run before `before`, and after `after`."""
    register_before_snapshot(before, app)
    register_after_restore(after)


def before(app: "Flask") -> None:
    """Close what would be dead in a restored process, or shared by all: connections, files, credentials, a lease's owner.

    Whatever needs them opens them again.
    """
    _import_late(app.extensions["settings"])
    app.extensions["jobs"].close()
    if S3 in sys.modules:
        events.s3.close()


def after() -> None:
    """Draw other random numbers than the processes that were restored from the same snapshot, and begin a new ledger.

    Ids come from the kernel, whose generator Lambda takes care of. But Python's `random` and OpenSSL's generator (keys and
    nonces of TLS) are part of the snapshot. Debian's OpenSSL does not notice; Amazon Linux has one (openssl-snapsafe-libs).
    """
    ledger.begin_again()
    random.seed()
    ssl.RAND_add(os.urandom(SEED_BYTES), SEED_BYTES)
    ledger.mark("restored")
    ledger.mark("ready")
    logger.info("restored from a snapshot")


def _import_late(settings: Settings) -> None:
    """Import what only some requests need: once, for all processes that are restored.

    Nothing is connected: the database may be out of reach when a version is published, and a connection would use the
    random numbers of the OpenSSL inside psycopg, which `after` does not reach.
    """
    importlib.import_module("service.events.codec")
    if settings.database_url:
        importlib.import_module("service.jobs.database").import_driver(settings.database_url)
        importlib.import_module("service.jobs.opening")
    if any(url.startswith("s3:") for url in settings.dataref_allow):
        importlib.import_module(S3)
