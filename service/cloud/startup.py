"""The application for a function: loaded and self-tested before the first request."""

import gc
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from model.artifact import Artifact
from service import runtime, web
from service.runtime.preparation import Preparation
from service.settings import Settings
from service.telemetry import ledger

if TYPE_CHECKING:
    from flask import Flask

logger = logging.getLogger("kindling")


def start(settings: Settings) -> "Flask":
    """The application, once its model has given eager PyTorch's answer.

    Between invocations the platform stops the process, so it delivers no jobs itself.

    Raises:
        ArtifactError: there is no artifact to serve.
        NotReady: the artifact cannot be served here, or has not passed its self-test.
    """
    logger.setLevel(settings.log_level.upper())
    ledger.mark("python")
    gc.disable()  # imports make no garbage
    settings = replace(settings, embedded_delivery=False)
    artifact = Artifact.read(settings.model_dir)
    # Nothing but the runtime waits for this, and the runtime would meet the same fault, because no fork follows.
    Preparation(artifact, settings)
    loading = runtime.runtime.Runtime(artifact, settings, on_failure=lambda: None)
    create_app = web.app.create_app  # imports Flask, while the model loads
    ledger.mark("imports")
    app = create_app(settings, runtime=loading)
    loading.wait_until_ready(timeout_s=None)
    gc.freeze()
    gc.enable()
    return app
