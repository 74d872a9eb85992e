r"""What five SDKs put on the wire, and what they read from it: recorded with a bare socket, binary mode, a picture as data.

All were given the same event: id "a b", subject "猫" ("é" in JavaScript, whose clients refuse to send more than Latin-1),
"é", "100%", "%C3%A9", 'a "b" \', "a b", "€ 😀", true, 7 and 2026-11-23T10:00:00.123456789Z. `READ` are the attributes that
each one found in a response with the headers `RESPONSE`, which are percent-encoded as the specification demands.
"""

from dataclasses import dataclass, field

# By the spelling of each header's name, which differs, too.
_UTF_8 = {
    "subject": b"\xe7\x8c\xab",
    "accent": b"\xc3\xa9",
    "percent": b"100%",
    "escaped": b"%C3%A9",
    "quoted": b'a "b" \\',
    "space": b"a b",
    "euro": b"\xe2\x82\xac \xf0\x9f\x98\x80",
    "flag": b"true",
    "number": b"7",
    "id": b"a b",
    "source": b"/tests",
    "specversion": b"1.0",
    "type": b"t",
    "time": b"2026-11-23T10:00:00.123456789Z",
}
_LATIN_1 = {name: value for name, value in _UTF_8.items() if name != "euro"} | {
    "subject": b"\xe9",
    "accent": b"\xe9",
    "time": b"2026-11-23T10:00:00.123Z",
}
_PERCENT_ENCODED = _UTF_8 | {
    "subject": b"%E7%8C%AB",
    "accent": b"%C3%A9",
    "percent": b"100%25",
    "escaped": b"%25C3%25A9",
    "quoted": b"a%20%22b%22%20\\",
    "space": b"a%20b",
    "euro": b"%E2%82%AC%20%F0%9F%98%80",
    "flag": b"True",
    "id": b"a%20b",
    "time": b"2026-11-23T10:00:00.123456Z",
}

RESPONSE = {
    "subject": "%E7%8C%AB", "accent": "%C3%A9", "percent": "100%25", "escaped": "%25C3%25A9", "quoted": "a%20%22b%22%20\\",
    "space": "a%20b",
}  # fmt: skip


@dataclass(frozen=True)
class Sdk:
    """`sent` is by attribute, without `ce-`; `is_decoding`: whether it reads percent-encoded values, or leaves them."""

    name: str
    sent: dict[str, bytes]
    prefix: str = "ce-"
    is_decoding: bool = False
    read: dict[str, str] = field(default_factory=lambda: dict(RESPONSE))

    @property
    def headers(self) -> dict[str, str]:
        """As WSGI has them, and as http.client sends them: one character for each byte."""
        return {"Content-Type": "image/png"} | {
            self.prefix + name: value.decode("latin-1") for name, value in self.sent.items()
        }

    @property
    def meant(self) -> dict[str, str]:
        """What the values are to the one who sent them."""
        told = {
            "subject": "猫", "accent": "é", "percent": "100%", "quoted": 'a "b" \\', "space": "a b", "euro": "€ 😀", "id": "a b",
            # Who does not encode the percent sign itself means this by it, and can not say so.
            "escaped": "%C3%A9" if self.is_decoding else "é",
        }  # fmt: skip
        as_sent = {name: value.decode("latin-1") for name, value in self.sent.items()}
        if self.name.startswith("javascript"):
            told["subject"] = "é"
        return {name: told.get(name, value) for name, value in as_sent.items()}


SDKS = (
    # github.com/cloudevents/sdk-go/v2, its HTTP client; Go 1.26.
    Sdk("go 2.16.2", _UTF_8, "Ce-"),
    # io.cloudevents:cloudevents-http-basic by HttpURLConnection; java.net.http refuses what is not Latin-1. Java 17.
    Sdk("java 4.0.1", _UTF_8),
    # cloudevents-sdk with reqwest 0.12.
    Sdk("rust 0.9.0", _UTF_8 | {"time": b"2026-11-23T10:00:00.123456789+00:00"}),
    # npm's cloudevents by node:http, fetch and its own httpTransport, on Node.js 20: the same from all three.
    Sdk("javascript 10.0.0", _LATIN_1),
    # The same by node:http when the data are text: it writes the head in the encoding of what comes first of the body.
    Sdk("javascript 10.0.0, text", _LATIN_1 | {"subject": b"\xc3\xa9", "accent": b"\xc3\xa9"}),
    # PyPI's cloudevents by http.client.
    Sdk(
        "python 2.2.0", _PERCENT_ENCODED, is_decoding=True,
        read={
            "subject": "猫", "accent": "é", "percent": "100%", "escaped": "%C3%A9", "quoted": 'a "b" \\', "space": "a b",
        },
    ),
)  # fmt: skip
