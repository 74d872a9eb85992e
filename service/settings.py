"""Settings: what the environment says, typed and checked once; the only reader of the environment."""

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service import reading

if TYPE_CHECKING:
    from service.keys import Key

# where `make serve` exports to
DEFAULT_MODEL_DIR = Path("build/efficientnet_lite0-aoti-fp32")


class SettingsError(Exception):
    """Every fault of the environment, one line each: variable, value, wanted form."""


def _api_keys(text: str) -> "tuple[Key, ...]":
    from service.keys import parse  # noqa: PLC0415 - only a service that has keys needs it

    return parse(text)


def _setting(
    default: Any,
    meaning: str,
    low: float | None = None,
    read: Callable[[str], Any] | None = None,
    *,
    secret: bool = False,
) -> Any:
    """A setting.

    Args:
        low: the smallest number allowed.
        read: turns the text into a value where the field's type does not say how.
        secret: no fault shows the text, and an empty text is a fault: an empty Secret must not switch anything off.
    """
    return field(default=default, metadata={"meaning": meaning, "low": low, "read": read, "secret": secret})


@dataclass(frozen=True)
class Settings:
    """A field's name in upper case is its environment variable; `metadata["meaning"]` is its line in docs/reference.md."""

    model_dir: Path = _setting(DEFAULT_MODEL_DIR, "the artifact to serve: a folder written by `python -m model export`")
    host: str = _setting("127.0.0.1", "address to listen on; `::` is every IPv6 and IPv4 address (the image sets it)")
    port: int = _setting(8080, "port to listen on", 1)
    grpc: bool = _setting(True, "whether to answer HTTP/2 without TLS on the same port, and gRPC by it")
    trust_forwarded_prefix: bool = _setting(
        False,
        "whether to trust `X-Forwarded-Prefix`, the path that a proxy in front took off, and to put it into `Location`",
    )
    api_keys: "tuple[Key, ...]" = _setting(
        (),
        "who may ask: `NAME=sha256:HEX` or `NAME=sha256:HEX;rate=10/s;burst=20`, commas or new lines between; unset: anybody",
        read=_api_keys,
        secret=True,
    )
    metrics_without_key: bool = _setting(False, "whether `GET /metrics` needs no key, for a Prometheus that sends none")
    cors_origins: tuple[str, ...] = _setting(
        (),
        "pages that a browser lets ask from elsewhere, by origin: `https://HOST`, `http://HOST:PORT`, commas between; `*`: all",
        read=reading.web_origins,
    )
    request_threads: int = _setting(32, "requests handled at the same time; further requests wait, without a thread", 1)
    runners: int = _setting(0, "model runs at the same time; 0: as many as the CPU quota allows", 0)
    run_threads: int = _setting(0, "threads of one run; 0: what the artifact measured as best", 0)
    max_batch_size: int = _setting(0, "most items in one run; 0: what the artifact measured as best", 0)
    max_queue_delay_ms: float = _setting(0.0, "how long an incomplete batch waits for more items", 0)
    max_queue_size: int = _setting(
        256, "items waiting for a run, and pictures waiting to be decoded; more are refused with 429", 1
    )
    request_timeout_ms: float = _setting(30_000.0, "a request not answered by then gets 504", 1)
    body_timeout_s: int = _setting(
        45,
        "a request that takes longer to arrive, from its first byte, gets 408; an answer that takes longer to read is cut",
        1,
    )
    graceful_timeout_s: int = _setting(30, "after SIGTERM, time for requests in flight to finish", 1)
    max_body_bytes: int = _setting(10 * 2**20, "a larger request body gets 413", 1)
    max_buffered_bytes: int = _setting(
        128 * 2**20,
        "memory for all requests, also those still arriving; beyond it the slowest or a new request gets 429",
        1,
    )
    max_header_bytes: int = _setting(65_536, "a request with a longer header gets 431", 256)
    max_request_items: int = _setting(64, "a request of more items (its batch dimension) gets 422", 1)
    max_image_pixels: int = _setting(25_000_000, "a picture of more pixels gets 422", 1)
    image_formats: tuple[str, ...] = _setting(
        ("JPEG", "PNG", "WebP", "AVIF"),
        "pictures of other formats get 422; GIF, BMP and TIFF can be added",
        read=reading.image_formats,
    )
    database_url: str | None = _setting(
        None, "where jobs are kept: `sqlite:///FILE` or `postgresql://...`; unset: there are no jobs"
    )
    database_pool_size: int = _setting(
        3,
        "most connections of this process to PostgreSQL; this number times the pods must fit its `max_connections`",
        1,
    )
    job_ttl_s: int = _setting(86_400, "how long a job and its result are kept after their last change", 1)
    max_job_streams: int = _setting(
        2,
        "streams of job events open at the same time, at most one for 4 threads; a further one is told to come again",
        1,
    )
    max_result_bytes: int = _setting(10 * 2**20, "a job with a larger result fails", 1)
    k_sink: str = _setting("", "the broker that delivers jobs (Knative sets it); unset: this process does")
    k_ce_overrides: str = _setting("", "JSON with attributes to add to published events (Knative sets it)")
    embedded_delivery: bool = _setting(
        True,
        "whether this process delivers jobs itself; set it to `false` if the process stands still between requests",
    )
    delivery_url: str = _setting(
        "", "where this process delivers jobs: `/events` of a worker with the same database; unset: its own"
    )
    dataref_allow: tuple[str, ...] = _setting(
        (),
        "what an event's `dataref` may name: beginnings of URLs (`https://`, `http://`, `s3://`), separated by commas",
        read=reading.urls,
    )
    dataref_allow_private: bool = _setting(
        False, "whether the hosts of those URLs may have addresses that are not public; S3's endpoint always may"
    )
    webhook_origins: tuple[str, ...] = _setting(
        (),
        "DNS names, separated by commas, of senders whose webhook handshake (`OPTIONS /events`) is granted; `*`: all",
        read=reading.origins,
    )
    aws_lambda_function_memory_size: int = _setting(
        0, "MB of memory (Lambda sets it); Lambda gives one CPU for each 1769 MB; 0: not on Lambda", 0
    )
    aws_lambda_max_concurrency: int = _setting(
        1, "processes that share the CPUs, one for each request (Lambda Managed Instances set it)", 1
    )
    libtorch_dir: Path | None = _setting(
        None, "folder of libtorch_cpu.so, for a model that needs it; unset: beside the installed torch"
    )
    onnxruntime_dir: Path | None = _setting(
        None, "folder of libonnxruntime.so; unset: beside the installed onnxruntime"
    )
    log_level: str = _setting("info", "debug, info, warning or error")
    access_log: str = _setting(
        "off",
        "a line in the log for each request: `off`, `text` or `json`; without the query and without bodies",
        read=reading.access_log,
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """The settings that `environ` asks for.

        Raises:
            SettingsError: with every fault, not only the first.
        """
        values: dict[str, Any] = {}
        faults: list[str] = []
        for setting in fields(cls):
            variable = setting.name.upper()
            read, is_secret = setting.metadata["read"], setting.metadata["secret"]
            text = environ.get(variable, "").strip()
            if not text and not (is_secret and variable in environ):
                continue
            try:
                values[setting.name] = (
                    read(text) if read else reading.scalar(text, setting.type, setting.metadata["low"])
                )
            except ValueError as wanted:
                faults.append(f"{variable}: wanted {wanted}" if is_secret else f"{variable}={text!r}: wanted {wanted}")
        if (level := values.get("log_level", "info")) not in ("debug", "info", "warning", "error"):
            faults.append(f"LOG_LEVEL={level!r}: wanted debug, info, warning or error")
        body, buffered = (values.get(name, getattr(cls, name)) for name in ("max_body_bytes", "max_buffered_bytes"))
        if buffered < body:
            faults.append(f"MAX_BUFFERED_BYTES={str(buffered)!r}: wanted at least MAX_BODY_BYTES, {body}")
        if values.get("port", 1) > 65535:
            faults.append(f"PORT={str(values['port'])!r}: wanted a port up to 65535")
        urls = {name: url for name in ("k_sink", "delivery_url") if (url := values.get(name))}
        faults += [
            f"{name.upper()}={url!r}: wanted {reading.URL}" for name, url in urls.items() if not reading.is_url(url)
        ]
        if (overrides := values.get("k_ce_overrides")) and not reading.are_overrides(overrides):
            faults.append(f'K_CE_OVERRIDES={overrides!r}: wanted {{"extensions": {{"NAME": "VALUE"}}}}')
        if faults:
            raise SettingsError("\n".join(faults))
        return cls(**values)

    @classmethod
    def table(cls) -> list[tuple[str, str, str]]:
        """(variable, default, meaning) of every setting, in the order of the table in docs/reference.md."""
        rows = []
        for setting in fields(cls):
            assert setting.default is not MISSING
            default = ",".join(setting.default) if isinstance(setting.default, tuple) else setting.default
            rows.append((setting.name.upper(), "" if default is None else str(default), setting.metadata["meaning"]))
        return rows


def authority(host: str, port: int) -> str:
    """`host:port` as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
