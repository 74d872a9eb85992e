"""Pure: KServe's V1 protocol, JSON only, to and from items.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

import math
from typing import Any

from model.artifact import Artifact, TensorSpec
from service.errors import BadRequest, Unprocessable
from service.protocol.base64_text import decode_base64
from service.protocol.fields import decode_json, kind_of
from service.protocol.items import DecodeImage, picture
from service.protocol.lists import encode_values, nest, to_json
from service.protocol.tensor import Item, Tensor

FORM = '{"instances": [...]}'


def decode(body: bytes, artifact: Artifact, decode_image: DecodeImage, max_items: int) -> list[Item]:
    """V1's `{"instances": [...]}` for a model with one input; each instance is an array, or `{"b64": "..."}`, a picture.

    Raises:
        BadRequest: cannot be decoded.
        Unprocessable: decoded, but not what the model takes.
    """
    if len(artifact.inputs) != 1:
        raise Unprocessable("V1 has no names for several inputs: POST /v2/models/NAME/infer")
    (spec,) = artifact.inputs
    instances = _instances(decode_json(body, FORM), max_items)
    return [(_item(each, spec, decode_image, f"instances[{index}]"),) for index, each in enumerate(instances)]


def encode(outputs: dict[str, Tensor]) -> list[Any]:
    """V1's predictions: each item's output, or an object of outputs if there are several."""
    columns = {name: nest(to_json(tensor), tensor.shape) for name, tensor in outputs.items()}
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _instances(raw: dict[str, Any], max_items: int) -> list[Any]:
    instances = raw.get("instances")
    if instances is None:
        hint = " (inputs by name go to POST /v2/models/NAME/infer)" if "inputs" in raw else ""
        raise BadRequest(f"wanted {FORM}{hint}, the body has {_fields(raw)}")
    if not isinstance(instances, list):
        raise BadRequest(f"instances: wanted a list, got {kind_of(instances)}")
    if not 1 <= len(instances) <= max_items:
        raise Unprocessable(f"instances: {len(instances)} items, wanted 1 to {max_items}")
    return instances


def _item(instance: Any, spec: TensorSpec, decode_image: DecodeImage, where: str) -> bytes:
    value = _value(instance, spec.name, where)
    if isinstance(value, dict):
        if _fields(value) != ["b64"]:
            raise Unprocessable(f'{where}: wanted a list or {{"b64": "..."}}, it has {_fields(value)}')
        return picture(decode_base64(value["b64"], where), decode_image, where)
    if isinstance(value, str):
        raise Unprocessable(f'{where}: a string, wanted a list or {{"b64": "..."}}')
    if isinstance(value, (int, float)) and math.prod(spec.shape) == 1:
        value = [value]
    return encode_values(value, spec.datatype, spec.shape, where)


def _value(instance: Any, name: str, where: str) -> Any:
    """The value of the instance: its field with the input's name, or the instance itself."""
    if not isinstance(instance, dict) or _fields(instance) == ["b64"]:
        return instance
    if instance.get(name) is None:
        raise Unprocessable(f"{where}: the model's input is {name!r}, the instance has {_fields(instance)}")
    return instance[name]


def _fields(raw: dict[str, Any]) -> list[str]:
    """The names of the fields that are not null; a null field counts as absent."""
    return [key for key, value in raw.items() if value is not None]
