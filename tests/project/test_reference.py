"""What docs/reference.md says of settings, endpoints, errors and metrics is what there is."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from grpc import StatusCode

from service.settings import Settings
from service.web import events, grpc, inference, metrics, page, robots, triton
from service.web import jobs as job_routes
from tests.conftest import Serve
from tests.support.pictures import png
from tests.support.serving import ROOT

REFERENCE = (ROOT / "docs" / "reference.md").read_text()
CODES = {each.value[0]: each.name for each in StatusCode}
VERSIONED = "/v2/models/NAME/versions/1"


def _rows(*header: str) -> list[list[str]]:
    """The rows of the table with these column heads."""
    head = "| " + " | ".join(header) + " |\n"
    assert REFERENCE.count(head) == 1, f"one table headed {head!r}"
    lines = REFERENCE[REFERENCE.index(head) :].splitlines()[2:]
    end = next((index for index, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[:end]]


def test_the_settings_table_is_that_of_the_settings() -> None:
    wanted = [
        [f"`{variable}`", f"`{default}`" if default else "", meaning] for variable, default, meaning in Settings.table()
    ]
    assert _rows("variable", "default", "meaning") == wanted


def _app() -> Flask:
    app = Flask("routes", static_folder=None)
    for each in (events, inference, job_routes, metrics, page, robots, triton):
        app.register_blueprint(each.routes)
    return app


def _endpoints() -> Iterator[tuple[str, str]]:
    """(method, path) of every route, as the page writes it; a PUT beside a POST is the same endpoint."""
    for rule in _app().url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "NAME", rule.rule.replace("<job_id>", "ID"))
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS", "PUT"}:
            if not path.startswith(VERSIONED):
                yield method, path


def test_the_endpoints_table_is_that_of_the_routes() -> None:
    documented = [row[0] for row in _rows("endpoint", "answer")]
    calls = {f"`gRPC {path.removeprefix('/')}`" for path in grpc.METHODS}
    assert sorted(documented) == sorted({f"`{method} {path}`" for method, path in _endpoints()} | calls)


def test_every_model_route_has_its_versioned_twin() -> None:
    assert VERSIONED in REFERENCE
    paths = {re.sub(r"<[^>]+>", "NAME", rule.rule) for rule in _app().url_map.iter_rules()}
    model = {path.removeprefix("/v2/models/NAME") for path in paths if path.startswith("/v2/models/NAME")}
    assert {f"/versions/1{path}" for path in model if not path.startswith("/versions")} <= model


def test_the_table_of_grpcs_codes_is_that_of_the_errors() -> None:
    documented = {status: code for code, statuses in _rows("code of gRPC", "status") for status in statuses.split(", ")}
    wanted = {str(status): f"`{CODES[code]}`" for status, code in grpc.STATUSES.items()}
    assert documented == wanted | {"200": "`OK`"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 431, 500, 501, 503, 504])
def test_the_errors_table_has_every_status(status: int) -> None:
    assert str(status) in {row[0] for row in _rows("status", "when")}


def test_put_is_documented_beside_its_post() -> None:
    (row,) = (row for row in _rows("endpoint", "answer") if row[0] == "`POST /infer`")
    assert "`PUT` too" in row[1]


def test_the_metrics_table_has_every_metric(serve: Serve, tiny_onnx: Path) -> None:
    server = serve(tiny_onnx)
    server.call("POST", "/infer", png(20, 20))
    told = server.call("GET", "/metrics").body.decode()
    ours = set(re.findall(r"^# HELP (kindling_\w+)", told, re.MULTILINE))
    assert {row[0].strip("`").partition("{")[0] for row in _rows("metric", "meaning")} == ours
