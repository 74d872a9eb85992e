"""Base64 in the forms that tools and people write, and what is none."""

import base64
import random
from contextlib import suppress
from typing import Any

import pytest

from service.errors import BadRequest
from service.protocol.base64_text import decode_base64

RAW = bytes(range(256)) + b"\xfb\xff\xfe"
PLAIN = base64.b64encode(RAW).decode()
FORMS = {
    "plain": PLAIN,
    "line breaks of MIME": base64.encodebytes(RAW).decode(),
    "line breaks of Windows": base64.encodebytes(RAW).decode().replace("\n", "\r\n"),
    "a line break at the end": PLAIN + "\n",
    "URL-safe": base64.urlsafe_b64encode(RAW).decode(),
    "without padding": PLAIN.rstrip("="),
    "URL-safe without padding": base64.urlsafe_b64encode(RAW).decode().rstrip("="),
    "data URI": "data:image/jpeg;base64," + PLAIN,
    "data URI in capitals": "DATA:image/jpeg;charset=utf-8;BASE64," + PLAIN,
    "data URI without a type": "data:;base64," + PLAIN.rstrip("="),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_has_one_meaning_is_read(form: str) -> None:
    assert ("-" in FORMS["URL-safe"], "+" in PLAIN, PLAIN[-1]) == (True, True, "=")
    assert decode_base64(FORMS[form], "x") == RAW


@pytest.mark.parametrize("size", range(20))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
def test_every_length_with_and_without_padding(encode: Any, size: int) -> None:
    raw = random.Random(size).randbytes(size)
    text = encode(raw).decode()
    assert decode_base64(text, "x") == decode_base64(text.replace("=", ""), "x") == raw


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, "x: wanted a string with base64, got nothing"),
        (7, "x: wanted a string with base64, got a number"),
        (["YQ=="], "x: wanted a string with base64, got a list"),
        ("ab c", "x: not base64: character 3 is ' ', perhaps a + that was read as a form"),
        ("YQ==YQ==", "x: not base64: character 3 is '=', the padding, and more follows"),
        ("ab%2B", "x: not base64: character 3 is '%'"),
        ("é", "x: not base64: character 1 is 'é'"),
        ("\ud800", "x: not base64: character 1 is '\\ud800'"),
        ("https://example.com/cat.jpg", "x: not base64: character 6 is ':'"),
        ("b'/9j/4AAQ'", "x: not base64: it is written as Python writes bytes, b'...': decode() them first"),
        ("+a-a", "x: not base64: it mixes + and / with - and _"),
        ("YWJjZ", "x: not base64: 5 characters are one too many, or it is cut off"),
        ("YWJj\r\nZ\r\n", "x: not base64: 5 characters are one too many, or it is cut off"),
        ("data:image/png,abc", "x: a data URI without ;base64"),
        ("data:image/png;base64,YQ==!", "x: not base64: character 3 is '=', the padding, and more follows"),
    ],
)
def test_the_error_says_why_it_is_none(text: Any, error: str) -> None:
    with pytest.raises(BadRequest) as fault:
        decode_base64(text, "x")
    assert str(fault.value) == error


def test_any_text_is_read_or_refused() -> None:
    source = random.Random(1)
    for _ in range(5000):
        with suppress(BadRequest):
            decode_base64("".join(source.choices("AZaz09+/-_=\r\n ,:;data:;base64,", k=source.randint(0, 12))), "x")
