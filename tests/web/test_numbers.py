"""Numbers as real clients send them: lists of other nestings, NaN and Infinity; what the real service makes of them."""

import json
import math
import struct
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support import eager
from tests.support.exporting import SINGLE, Exports
from tests.support.models import SIDE
from tests.support.serving import Answer, Server

HEADER_LENGTH = "Inference-Header-Content-Length"
INFER, PREDICT = "/v2/models/tiny/infer", "/v1/models/tiny:predict"
ITEM = bytes(range(256)) * 3
PIXELS = [[list(ITEM[3 * (SIDE * y + x) :][:3]) for x in range(SIDE)] for y in range(SIDE)]
PLANES = [[[PIXELS[y][x][colour] for x in range(SIDE)] for y in range(SIDE)] for colour in range(3)]
IMAGE = {"name": "image", "shape": [1, SIDE, SIDE, 3], "datatype": "UINT8"}


@pytest.fixture(params=["aoti", "onnx"])
def odds_server(request: pytest.FixtureRequest, serve: Serve, exports: Exports) -> Server:
    """FP32 [N, 2, 3] in and out, without pictures; exported when first used."""
    key = f"odds-{request.param}"
    if not exports.path(key).parent.exists():
        exports.begin({key: ("tests/support/models.py:odds", "--engine", request.param, *SINGLE)})
    return serve(exports.artifact(key))


def _binary(server: Server, path: str, header: dict[str, Any], blob: bytes) -> Answer:
    raw = json.dumps(header).encode()
    return server.call("POST", path, raw + blob, {HEADER_LENGTH: str(len(raw))})


def _scores(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return answer.json["outputs"][0]["data"] if "outputs" in answer.json else answer.json["predictions"][0]


ROWS = [[colour for pixel in row for colour in pixel] for row in PIXELS]
RAGGED = [[*PIXELS[0][:-1], PIXELS[0][-1][:2]], *PIXELS[1:]]
SHORT = [PIXELS[0][:-1], *PIXELS[1:]]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (PLANES, "the lists are nested [3, 16, 16], wanted"),
        ([PLANES], "the lists are nested [1, 3, 16, 16], wanted"),
        (PIXELS[:-1], "the lists are nested [15, 16, 3], wanted"),
        (RAGGED, "the lists are ragged: nested [16, 16, 2 to 3], wanted"),
        (SHORT, "the lists are ragged: nested [16, 15 to 16], wanted"),
        ([*PIXELS[:-1], 0], "lists and elements are mixed"),
        ([], "0 elements, shape"),
        ([[]], "the lists are nested [1, 0], wanted"),
    ],
)
def test_lists_of_another_nesting_are_refused(tiny_server: Server, data: Any, found: str) -> None:
    answer = tiny_server.call("POST", INFER, {"inputs": [IMAGE | {"data": data}]})
    named = "[1, 16, 16, 3]" if "mixed" not in found else ""
    assert (answer.status, named in answer.error) == (422, True)
    assert answer.error.startswith(f"input 'image': {found}")
    answer = tiny_server.call("POST", PREDICT, {"instances": [data]})
    named = "[16, 16, 3]" if "mixed" not in found else ""
    assert (answer.status, named in answer.error) == (422, True)
    assert answer.error.startswith(f"instances[0]: {found}")


@pytest.mark.parametrize("data", [PIXELS, [PIXELS], list(ITEM), [list(ITEM)], ROWS])
def test_flat_lists_and_a_batch_more_or_less_are_read(tiny_server: Server, data: Any) -> None:
    wanted = pytest.approx(eager.probabilities([ITEM])[0], abs=1e-5)
    assert _scores(tiny_server.call("POST", INFER, {"inputs": [IMAGE | {"data": data}]})) == wanted
    assert _scores(tiny_server.call("POST", PREDICT, {"instances": [data]})) == wanted


def test_a_shape_without_the_batch_is_told_apart_from_a_large_batch(serve: Serve, exports: Exports) -> None:
    server = serve(exports.artifact("tiny-onnx"), MAX_REQUEST_ITEMS="4")
    answer = server.call("POST", INFER, {"inputs": [IMAGE | {"shape": [SIDE, SIDE, 3], "data": PIXELS}]})
    assert (answer.status, answer.error) == (422, "input 'image': shape [16, 16, 3], wanted [-1, 16, 16, 3]")
    answer = server.call("POST", PREDICT, {"instances": PIXELS})
    assert (answer.status, answer.error) == (422, "instances: 16 items, wanted 1 to 4")


def _floats(count: int, *numbers: float) -> tuple[dict[str, Any], bytes]:
    blob = struct.pack(f"<{6 * count}f", *(numbers * 6 * count)[: 6 * count])
    shape, parameters = [count, 2, 3], {"binary_data_size": len(blob)}
    return {"name": "logits", "shape": shape, "datatype": "FP32", "parameters": parameters}, blob


ODDS = "/v2/models/odds/infer"


@pytest.mark.parametrize(
    ("number", "odds", "chances"),
    [(math.nan, "nan", "nan"), (math.inf, "inf", "nan"), (-math.inf, "0.0", "0.0"), (1000.0, "inf", "nan")],
)
def test_every_float_goes_in_and_out_in_binary(odds_server: Server, number: float, odds: str, chances: str) -> None:
    """Items without such numbers, in the same batch, keep their answers."""
    tensor, blob = _floats(2, *[0.0] * 6, number, *[0.0] * 5)
    answer = _binary(odds_server, ODDS, {"inputs": [tensor], "parameters": {"binary_data_output": True}}, blob)
    assert answer.status == 200
    numbers = struct.unpack("<24f", answer.body[int(answer.headers[HEADER_LENGTH]) :])
    assert (str(numbers[6]), str(numbers[18]).strip("-")) == (odds, chances)
    assert [*numbers[:6], *numbers[7:12]] == [1.0] * 11
    assert [*numbers[12:18], *numbers[19:]] == [0.5] * 11


@pytest.mark.parametrize("number", [math.nan, math.inf, 1000.0])
def test_what_json_cannot_carry_is_pointed_to_the_binary_form(odds_server: Server, number: float) -> None:
    tensor, blob = _floats(1, number)
    error = "has NaN or Infinity, which JSON cannot carry: POST /v2/models/NAME/infer and ask for it with binary_data"
    for name in ("odds", "chances"):
        answer = _binary(odds_server, ODDS, {"inputs": [tensor], "outputs": [{"name": name}]}, blob)
        assert (answer.status, answer.error) == (422, f"output {name} {error}")
    if math.isfinite(number):
        answer = odds_server.call("POST", "/v1/models/odds:predict", {"instances": [[number] * 6]})
        assert (answer.status, answer.error) == (422, f"output odds {error}")


def test_nan_is_not_ranked_but_infinity_is(odds_server: Server) -> None:
    def asked(name: str) -> dict[str, Any]:
        return {"inputs": [tensor], "outputs": [{"name": name, "parameters": {"classification": 2}}]}

    tensor, blob = _floats(1, 0.0, 1.0, 1000.0)
    answer = _binary(odds_server, ODDS, asked("odds"), blob)
    assert answer.json["outputs"][0]["data"] == ["inf:2", "inf:5"]
    answer = _binary(odds_server, ODDS, asked("chances"), blob)
    error = "output chances has NaN, which cannot be ranked: ask for the tensor with binary_data"
    assert (answer.status, answer.error) == (422, error)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "3.5e38"])
def test_json_with_such_numbers_is_pointed_to_the_binary_form(odds_server: Server, number: str) -> None:
    data = f"[{number}, 1, 1, 1, 1, 1]"
    v2 = '{"inputs": [{"name": "logits", "shape": [1, 2, 3], "datatype": "FP32", "data": DATA}]}'
    v1 = '{"instances": [DATA]}'
    status = 422 if number[0].isdigit() else 400
    for path, body in ((ODDS, v2), ("/v1/models/odds:predict", v1)):
        answer = odds_server.call("POST", path, body.replace("DATA", data).encode())
        assert answer.status == status
        assert answer.error.endswith("a binary tensor (binary_data_size) of POST /v2/models/NAME/infer")
