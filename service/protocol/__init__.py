"""Pure: bytes <-> tensors. Nothing here knows HTTP, events or an engine.

v2.py           requests and responses of the Open Inference Protocol v2, JSON and binary
v2_grpc.py      the same as gRPC's messages, which open_inference.proto describes, compiled to open_inference.binpb
v1.py           the same for KServe's V1
items.py        the tensors of a request <-> the items of a batch, checked against the artifact
classes.py      scores -> the best classes and their labels
lists.py        JSON's lists, flat or nested, to and from raw elements
fields.py       JSON's objects and their fields, with clear errors
base64_text.py  base64 as people send it -> bytes
tensor.py       numbers to and from raw elements, for every datatype
image.py        encoded picture -> UINT8 [H, W, 3], as the artifact prescribes
picture/        its formats, one by one
"""

from typing import TYPE_CHECKING

from service.late import files_of

if TYPE_CHECKING:
    from service.protocol import base64_text, classes, fields, image, items, lists, picture, tensor, v1, v2, v2_grpc

__all__ = ["base64_text", "classes", "fields", "image", "items", "lists", "picture", "tensor", "v1", "v2", "v2_grpc"]
__getattr__ = files_of(__name__)
