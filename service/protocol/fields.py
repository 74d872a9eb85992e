"""Pure: a JSON object and its fields, with errors that say where."""

import json
from typing import Any

from service.errors import BadRequest

MAX_OBJECTS = 64

_KINDS = {
    dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a whole number", type(None): "nothing"
}  # fmt: skip


class Fields:
    """A JSON object, and what errors call it.

    A null field counts as absent, because generated clients write null for fields that they leave out.
    """

    # Not a dataclass: making one takes 0.5 ms at every start (python -X importtime).
    __slots__ = ("raw", "where")

    def __init__(self, raw: dict[str, Any], where: str = "") -> None:
        self.raw = raw
        self.where = where

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """The field, or `default` where there is none.

        Raises:
            BadRequest: it has another kind.
        """
        value = self.raw.get(key)
        if value is None:
            return default
        if type(value) is not kind:
            raise BadRequest(f"{self.where}{key}: wanted {_KINDS[kind]}, got {kind_of(value)}")
        return value

    def require(self, key: str, kind: type) -> Any:
        """The field.

        Raises:
            BadRequest: there is none, or it is of another kind.
        """
        value = self.get(key, kind)
        if value is None:
            raise BadRequest(f"{self.where}{key}: wanted {_KINDS[kind]}, got nothing")
        return value

    def objects(self, key: str, entries: list[Any]) -> list["Fields"]:
        """The entries of that field's list as objects.

        Raises:
            BadRequest: one is no object, or there are more than any model has tensors.
        """
        if len(entries) > MAX_OBJECTS:
            raise BadRequest(f"{self.where}{key}: more than {MAX_OBJECTS} tensors")
        for index, each in enumerate(entries):
            if not isinstance(each, dict):
                raise BadRequest(f"{self.where}{key}[{index}]: wanted an object, got {kind_of(each)}")
        return [Fields(each, f"{self.where}{key}[{index}].") for index, each in enumerate(entries)]

    @property
    def parameters(self) -> "Fields":
        """The `parameters` object, which every object of the protocol may have."""
        return Fields(self.get("parameters", dict, {}), f"{self.where}parameters.")


def decode_json(body: bytes, form: str) -> dict[str, Any]:
    """A JSON object; `form` says in errors what it should look like.

    Raises:
        BadRequest: not JSON, not an object, nested too deeply, or with NaN or Infinity, which JSON does not have.
    """
    if not body:
        raise BadRequest("the body is empty")
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise BadRequest("the JSON is nested too deeply") from None
    except ValueError as fault:
        hint = " (a line break inside a string? `base64 -w0` writes none)" if "control character" in str(fault) else ""
        raise BadRequest(f"the body is not JSON: {fault}{hint}") from None
    if not isinstance(value, dict):
        raise BadRequest(f"the JSON is {kind_of(value)}, wanted {form}")
    return value


def kind_of(value: Any) -> str:
    """What JSON calls a value of this kind."""
    return "a number" if type(value) is int else _KINDS.get(type(value), "a number")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} needs a binary tensor (binary_data_size) of POST /v2/models/NAME/infer")
