"""The process model: one worker with many threads, which loads its model itself."""

from service.settings import Settings
from service.telemetry import ledger

_settings = Settings.from_env()

wsgi_app = "service.app:application()"
bind = f"{_settings.host}:{_settings.port}"
# One model in memory; the runners inside the worker use all of the CPU quota.
workers = 1
worker_class = "gthread"
threads = _settings.request_threads
# After the fork: a thread pool and a loaded library do not survive one.
preload_app = False
# Longer than the 90 s for which Go's HTTP clients, Knative's queue-proxy among them, keep an idle connection:
# the side that reuses a connection must be the one to close it.
keepalive = 100
graceful_timeout = _settings.graceful_timeout_s
# The heartbeat file: a memory file system, also where the root file system is read-only.
worker_tmp_dir = "/dev/shm"  # noqa: S108
control_socket_disable = True
loglevel = _settings.log_level
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": _settings.log_level.upper()},
    "loggers": {"gunicorn.error": {"level": "WARNING"}},
}


def when_ready(_server: object) -> None:
    ledger.mark("gunicorn")


def post_fork(_server: object, _worker: object) -> None:
    ledger.mark("fork")
