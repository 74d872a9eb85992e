"""create_app: the only place where objects are connected."""

from collections.abc import Callable

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from model.artifact import Artifact
from service import __version__, web
from service.jobs.service import Jobs
from service.runtime.runtime import Runtime
from service.settings import Settings
from service.telemetry import ledger
from service.web import events, grpc, inference, metrics, page, robots, triton
from service.web import jobs as job_routes
from service.web.faults import answer_error


def create_app(
    settings: Settings, on_failure: Callable[[], None] = lambda: None, runtime: Runtime | None = None
) -> Flask:
    """The WSGI application; its model loads in the background, or is `runtime`, which has begun to load before.

    Raises:
        ArtifactError: there is no artifact to serve.
    """
    runtime = runtime or Runtime(Artifact.read(settings.model_dir), settings, on_failure)
    app = Flask("service", static_folder=None)
    # `/infer/` is the same as `/infer`. A redirect would not do: few clients follow one with a body.
    app.url_map.strict_slashes = False
    if settings.trust_forwarded_prefix:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=0, x_proto=0, x_prefix=1)  # type: ignore[method-assign]
    app.config.update(MAX_CONTENT_LENGTH=settings.max_body_bytes, VERSION=__version__)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    gate = web.keys.Gate(settings) if settings.api_keys else None
    credentials = gate.credentials if gate else {}
    jobs = Jobs(runtime, settings, credentials)
    app.extensions.update(runtime=runtime, settings=settings, jobs=jobs, gate=gate, credentials=credentials)
    metrics.observe(app)
    if settings.cors_origins:
        web.cors.allow(app, settings.cors_origins)
    if gate:
        gate.guard(app)
    app.register_blueprint(inference.routes)
    app.register_blueprint(events.routes)
    app.register_blueprint(job_routes.routes)
    app.register_blueprint(metrics.routes)
    app.register_blueprint(triton.routes)
    app.register_blueprint(robots.routes)
    app.register_blueprint(page.routes)
    if settings.grpc:
        app.register_blueprint(grpc.routes)
    app.register_error_handler(Exception, answer_error)
    jobs.resume()
    ledger.mark("app")
    return app
