"""A model of plain tensors: a form from its metadata, and its outputs as tables."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.conftest import Serve
from tests.page.acting import answers, curl_line
from tests.page.conftest import Visiting
from tests.support.exporting import Exports
from tests.support.serving import Server


def _field(page: Page, name: str, datatype: str) -> Locator:
    return page.get_by_role("textbox", name=f"{name} {datatype} [1, 3]", exact=True)


def test_a_form_is_made_from_the_metadata(visit: Visiting, tensor_server: Server) -> None:
    seen = visit(tensor_server)
    inputs = tensor_server.call("GET", "/v2/models/types").json["inputs"]
    fields = seen.page.get_by_role("textbox")
    expect(fields).to_have_count(len(inputs))
    for each in inputs:
        field = _field(seen.page, each["name"], each["datatype"])
        assert len(json.loads(field.input_value())[0]) == 3
    expect(seen.page.get_by_role("heading", name="Pictures")).to_be_hidden()
    seen.check()


def test_the_example_is_answered_as_tables(visit: Visiting, tensor_server: Server) -> None:
    seen = visit(tensor_server)
    _field(seen.page, "float32", "FP32").fill("[[0.5, 1.5, -2]]")
    _field(seen.page, "int8", "INT8").fill("7")
    seen.page.get_by_role("button", name="Infer").click()
    card = answers(seen.page).first
    sent = json.loads(seen.requests[-1].post_data or "")
    assert {each["name"]: each["data"] for each in sent["inputs"]}["int8"] == [7, 7, 7]
    outputs = tensor_server.call("POST", "/v2/models/types/infer", sent).json["outputs"]
    expect(card.get_by_role("table", name="out_")).to_have_count(sum("out_" in each["name"] for each in outputs))
    for each in outputs:
        told = card.get_by_role("group", name=f"output {each['name']}", exact=True)
        assert told.get_by_role("rowheader").count() == len(each["data"])
        shown = [json.loads(cell.lower()) for cell in told.get_by_role("cell").all_inner_texts()]
        assert shown == pytest.approx(each["data"])
    seen.check()


def test_numbers_of_64_bits_are_not_rounded(visit: Visiting, tensor_server: Server) -> None:
    most = 2**64 - 1
    seen = visit(tensor_server)
    _field(seen.page, "uint64", "UINT64").fill(f"[[1, {most}, {most - 1}]]")
    seen.page.get_by_role("button", name="Infer").click()
    told = answers(seen.page).first.get_by_role("group", name="output out_uint64", exact=True)
    assert told.get_by_role("cell").all_inner_texts() == [str(most), str(most - 1), "1"]
    seen.check()


def test_text_that_is_no_json_is_told_before_it_is_sent(visit: Visiting, tensor_server: Server) -> None:
    seen = visit(tensor_server)
    field = _field(seen.page, "float32", "FP32")
    field.fill("[1, 2")
    before = len(seen.asked)
    seen.page.get_by_role("button", name="Infer").click()
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile("No JSON: "))
    assert len(seen.asked) == before
    field.fill("1")
    seen.page.get_by_role("button", name="Infer").click()
    answers(seen.page)
    expect(field).not_to_have_attribute("aria-invalid", "true")


def test_a_wrong_shape_shows_the_sentence_of_the_service(visit: Visiting, tensor_server: Server) -> None:
    seen = visit(tensor_server)
    _field(seen.page, "float32", "FP32").fill("[[1, 2]]")
    seen.page.get_by_role("button", name="Infer").click()
    error = tensor_server.call("POST", "/v2/models/types/infer", seen.requests[-1].post_data_buffer).error
    expect(answers(seen.page).first.locator(".error")).to_have_text(error)
    seen.check(422)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_curl_line_gives_the_same_outputs(visit: Visiting, tensor_server: Server) -> None:
    seen = visit(tensor_server)
    seen.page.get_by_role("button", name="Infer").click()
    line = curl_line(answers(seen.page).first)
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    outputs = json.loads(done.stdout)["outputs"]
    regions = seen.page.get_by_role("group", name="output ")
    assert regions.count() == len(outputs)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_a_long_request_is_a_file_that_the_curl_line_reads(
    visit: Visiting, serve: Serve, exports: Exports, tmp_path: Path
) -> None:
    """3072 numbers, for which the form has one."""
    seen = visit(serve(exports.artifact("segmentation-onnx")))
    expect(seen.page.get_by_label("pixels FP32 [1, 3, 32, 32]")).to_have_value("1")
    seen.page.get_by_role("button", name="Infer").click()
    card = answers(seen.page).first
    with seen.page.expect_download() as download:
        card.get_by_role("link", name="request.json").click()
    download.value.save_as(tmp_path / "request.json")
    done = subprocess.run(["bash", "-c", curl_line(card)], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["outputs"][0]["shape"] == [1, 3, 32, 32]
    expect(card.get_by_role("table").first).to_contain_text("the first 64 of 3072")
    expect(card.get_by_role("rowheader").nth(33)).to_have_text("0, 0, 1, 1")
    seen.check()
