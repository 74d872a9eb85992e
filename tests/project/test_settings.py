import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest

from service.keys import Key, Rate, digest_of
from service.protocol.picture import formats
from service.reading import IMAGE_FORMATS
from service.settings import Settings, SettingsError

A, B = (digest_of(key).hex() for key in "ab")
FORM = "NAME=sha256:HEX or NAME=sha256:HEX;rate=10/s;burst=20, and commas or new lines between them"


def _faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as fault:
        Settings.from_env(environ)
    return str(fault.value).splitlines()


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env({"UNKNOWN": "1", "PORT": "", "RUNNERS": "  "}) == Settings()


def test_every_setting_is_read_from_the_variable_of_its_name() -> None:
    wanted: dict[str, Any] = {
        "model_dir": Path("elsewhere"), "host": "0.0.0.0", "port": 65535, "grpc": False, "request_threads": 7, "runners": 3,
        "run_threads": 2, "max_batch_size": 8, "max_queue_delay_ms": 2.5, "max_queue_size": 11,
        "request_timeout_ms": 1500.0, "graceful_timeout_s": 9, "body_timeout_s": 8, "max_body_bytes": 1000,
        "max_buffered_bytes": 5000, "max_header_bytes": 600, "trust_forwarded_prefix": True, "max_request_items": 5,
        "max_image_pixels": 100, "image_formats": ("PNG", "TIFF"), "database_url": "sqlite:///jobs",
        "database_pool_size": 4, "job_ttl_s": 60, "max_job_streams": 5,
        "max_result_bytes": 2000, "k_sink": "http://broker/ns/default", "k_ce_overrides": "{}",
        "delivery_url": "http://worker/events", "dataref_allow": ("https://bucket/",),
        "dataref_allow_private": True, "libtorch_dir": Path("lib"), "onnxruntime_dir": Path("ort"), "log_level": "debug", "access_log": "json",
        "embedded_delivery": False, "aws_lambda_function_memory_size": 1769, "aws_lambda_max_concurrency": 2,
        "webhook_origins": ("eventgrid.azure.net", "*"), "metrics_without_key": True,
        "cors_origins": ("https://app.example.com", "http://[::1]:5173", "*"),
        "api_keys": (Key("mobile", digest_of("a")), Key("web", digest_of("b"), Rate(0.5, 3))),
    }  # fmt: skip
    names = {field.name for field in dataclasses.fields(Settings)}
    assert names == wanted.keys()
    environ = {name.upper(): f" {value} " for name, value in wanted.items()}
    environ["DATAREF_ALLOW"] = " https://bucket/ , "
    environ["IMAGE_FORMATS"] = " png , TIFF,png, "
    environ["API_KEYS"] = f" mobile=sha256:{A},\n web=sha256:{B.upper()};rate=30/m;burst=3\n"
    environ["CORS_ORIGINS"] = " https://App.example.com:443,, http://[::1]:5173 , *"
    environ["WEBHOOK_ORIGINS"] = " EventGrid.azure.net,, *"
    settings = Settings.from_env(environ)
    assert settings == Settings(**wanted)
    for name, value in wanted.items():
        assert type(getattr(settings, name)) is type(value), name


def test_all_faults_are_told_together() -> None:
    environ = {"PORT": "http", "RUNNERS": "-1", "MAX_QUEUE_DELAY_MS": "soon", "LOG_LEVEL": "loud", "HOST": "::1"}
    assert _faults(environ) == [
        "PORT='http': wanted a whole number of at least 1",
        "RUNNERS='-1': wanted a whole number of at least 0",
        "MAX_QUEUE_DELAY_MS='soon': wanted a number of at least 0",
        "LOG_LEVEL='loud': wanted debug, info, warning or error",
    ]


@pytest.mark.parametrize(
    "value", ["x", "1.5", "0", "-1", "1e3", "0x10", "inf", "nan", "65536", "8080 9090", "+-1", "1,000"]
)
def test_a_malformed_port_is_never_replaced(value: str) -> None:
    (fault,) = _faults({"PORT": value})
    assert fault.startswith(f"PORT={value!r}: wanted a ")


@pytest.mark.parametrize("value", ["bucket", "ftp://bucket/", "https://", "https://bucket:0/", "https://b, http://[x"])
def test_a_url_that_could_never_be_fetched_is_told_at_start(value: str) -> None:
    url = "http://HOST/PATH or https://HOST/PATH"
    assert _faults({"DATAREF_ALLOW": value}) == [
        f"DATAREF_ALLOW={value!r}: wanted {url} or s3://BUCKET/PATH, and commas between them"
    ]
    for name in ("K_SINK", "DELIVERY_URL"):
        assert _faults({name: value}) == [f"{name}={value!r}: wanted {url}"]


@pytest.mark.parametrize(
    "value", ["https://events.example.com", "*.example.com", "a b", "a..b", "a.com:443", "é.example"]
)
def test_an_origin_that_no_webhook_has_is_told_at_start(value: str) -> None:
    assert _faults({"WEBHOOK_ORIGINS": f"a.example, {value}"}) == [
        f"WEBHOOK_ORIGINS={f'a.example, {value}'!r}: wanted names of DNS, and commas between them, or *"
    ]


@pytest.mark.parametrize(
    "value",
    ["s3:", "s3://", "s3:///key", "s3://ab", "s3://Photos/", "s3://photos:443/", "s3://user@photos/", "s3://photos?a",
     "s3://arn:aws:s3:eu-west-1:1:accesspoint/a", "s3://photos/a b", "s3://photos/?a", "s3://photos/#a", "S3://photos"],
)  # fmt: skip
def test_what_is_no_bucket_is_told_at_start(value: str) -> None:
    (fault,) = _faults({"DATAREF_ALLOW": value})
    assert "wanted http://HOST/PATH or https://HOST/PATH or s3://BUCKET/PATH" in fault
    assert Settings.from_env({"DATAREF_ALLOW": "s3://photos, s3://a.b-c/d/"}).dataref_allow == (
        "s3://photos",
        "s3://a.b-c/d/",
    )


def test_s3_without_its_package_is_told_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.reading.find_spec", lambda _: None)
    assert _faults({"DATAREF_ALLOW": "s3://photos/"}) == [
        "DATAREF_ALLOW='s3://photos/': wanted for s3:// the package botocore: install it, or build the image with EXTRA=s3"
    ]


@pytest.mark.parametrize("value", ["HEIC", "JPEG PNG", "JPEG,HEIC", ",", "jpg", "*"])
def test_a_format_that_is_none_of_the_known_is_told_at_start(value: str) -> None:
    assert _faults({"IMAGE_FORMATS": value}) == [
        f"IMAGE_FORMATS={value!r}: wanted some of JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF, and commas between them"
    ]


def test_the_formats_are_those_that_pictures_know() -> None:
    assert Settings().image_formats == formats.DEFAULT
    assert IMAGE_FORMATS == formats.FORMATS


@pytest.mark.parametrize(
    "value",
    [",", "app.example.com", "https://", "https://a/", "https://a/path", "https://*.a.com", "ftp://a", "https://a b", "null",
     "https://a:", "https://a:https", "https://user@a", "https://é"],
)  # fmt: skip
def test_an_origin_that_no_page_has_is_told_at_start(value: str) -> None:
    assert _faults({"CORS_ORIGINS": value}) == [
        f"CORS_ORIGINS={value!r}: wanted https://HOST or http://HOST:PORT, and commas between them, or *"
    ]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("", FORM), ("  ", FORM), (",", FORM), ("kindling_plain-key", FORM), (f"mobile={A}", FORM), (f"mobile=sha256:{A}0", FORM),
     (f"=sha256:{A}", FORM), (f"a b=sha256:{A}", FORM), (f"-a=sha256:{A}", FORM), (f"{'a' * 64}=sha256:{A}", FORM),
     (f"mobile=sha256:{A};burst=3", FORM), (f"mobile=sha256:{A};rate=3", FORM), (f"mobile=sha256:{A};rate=-1/s", FORM),
     (f"mobile=sha256:{A};rate=1/d", FORM), (f"mobile=sha256:{A};rate=1/s;burst=1.5", FORM), (f"ä=sha256:{A}", FORM),
     (f"mobile=sha256:{A};rate=0/s", "a rate and a burst of more than 0 for mobile"),
     (f"mobile=sha256:{A};rate=1/s;burst=0", "a rate and a burst of more than 0 for mobile"),
     (f"mobile=sha256:{A},web=sha256:{A}", "each hash once"),
     (f"mobile=sha256:{A},mobile=sha256:{B};rate=1/s", "the same rate and burst in all entries of mobile"),
     (f"web=sha256:{hashlib.sha256().hexdigest()}", "the hash of a key, but that of web is the hash of an empty text")],
)  # fmt: skip
def test_keys_that_are_none_are_told_at_start_and_never_shown(value: str, wanted: str) -> None:
    """Also an empty Secret: it must not open the service to everybody."""
    assert _faults({"API_KEYS": value}) == [f"API_KEYS: wanted {wanted}"]


def test_a_rate_has_a_burst_of_a_second_unless_told() -> None:
    rates = {
        "10/s": Rate(10, 10),
        "1.5/s": Rate(1.5, 2),
        "30/m": Rate(0.5, 1),
        "7200/h": Rate(2, 2),
        "1/h;burst=9": Rate(1 / 3600, 9),
    }
    for text, rate in rates.items():
        assert Settings.from_env({"API_KEYS": f"a=sha256:{A};rate={text}"}).api_keys == (
            Key("a", digest_of("a"), rate),
        )


@pytest.mark.parametrize("value", ["{", "[]", '{"extensions": []}', '{"extensions": {"a": 1}}'])
def test_overrides_that_are_none_are_told_at_start(value: str) -> None:
    assert _faults({"K_CE_OVERRIDES": value}) == [
        f'K_CE_OVERRIDES={value!r}: wanted {{"extensions": {{"NAME": "VALUE"}}}}'
    ]


@pytest.mark.parametrize("value", ["x", "-0.5", "inf", "-inf", "nan", "1,5"])
def test_a_malformed_number_is_never_replaced(value: str) -> None:
    assert _faults({"MAX_QUEUE_DELAY_MS": value}) == [f"MAX_QUEUE_DELAY_MS={value!r}: wanted a number of at least 0"]


@pytest.mark.parametrize(
    "variable", ["REQUEST_THREADS", "MAX_QUEUE_SIZE", "REQUEST_TIMEOUT_MS", "GRACEFUL_TIMEOUT_S", "MAX_BODY_BYTES",
                 "BODY_TIMEOUT_S", "MAX_REQUEST_ITEMS", "MAX_IMAGE_PIXELS"]
)  # fmt: skip
def test_zero_is_refused_where_nothing_would_work(variable: str) -> None:
    (fault,) = _faults({variable: "0"})
    assert fault.startswith(f"{variable}='0': wanted a ")
    assert fault.endswith(" of at least 1")


def test_one_body_fits_into_the_memory_for_all() -> None:
    assert _faults({"MAX_BODY_BYTES": "200000000"}) == [
        "MAX_BUFFERED_BYTES='134217728': wanted at least MAX_BODY_BYTES, 200000000"
    ]
    assert Settings.from_env({"MAX_BODY_BYTES": "200000000", "MAX_BUFFERED_BYTES": "200000000"})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_the_table_has_a_row_for_every_setting() -> None:
    table = Settings.table()
    assert [variable for variable, _, _ in table] == [field.name.upper() for field in dataclasses.fields(Settings)]
    assert all(meaning for _, _, meaning in table)
    defaults = {variable: default for variable, default, _ in table if default}
    assert Settings.from_env(defaults) == Settings()
