"""The files of a form (multipart/form-data, RFC 7578), also parts that clients do not mark as files."""

from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder

from service.errors import BadRequest

MAX_PARTS = 1000
# Content types that make a part without a file name a file: clients send bytes with these.
FILE_TYPES = ("image/", "application/octet-stream")
# The part's name in our documentation. `curl -F image=<cat.jpg` gives neither a file name nor a type.
NAME = "image"


def files(body: bytes, boundary: str) -> list[bytes]:
    """The files in their order; every other part is ignored.

    Raises:
        BadRequest: it is no such form.
    """
    decoder = MultipartDecoder(boundary.encode(), max_parts=MAX_PARTS)
    found: list[bytearray] = []
    is_file = False
    try:
        decoder.receive_data(body)
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), Epilogue):
            if isinstance(event, File | Field):
                if is_file := isinstance(event, File) or _is_file(event.name, event.headers):
                    found.append(bytearray())
            elif isinstance(event, Data) and is_file:
                found[-1] += event.data
    except RequestEntityTooLarge:
        raise BadRequest(f"the form has more than {MAX_PARTS} parts") from None
    except (ValueError, AttributeError) as fault:  # the parser does not expect a form without a first line end
        raise BadRequest(f"the form is malformed: {fault}") from None
    return [bytes(each) for each in found]


def _is_file(name: str | None, headers: Headers) -> bool:
    content_type = headers.get("Content-Type", "").lower()
    return content_type.startswith(FILE_TYPES) or (name == NAME and not content_type)
