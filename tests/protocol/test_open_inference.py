"""open_inference.proto against the messages that the real clients have."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_health.v1 import health_pb2
from grpc_tools import protoc
from tritonclient.grpc import model_config_pb2 as configuration
from tritonclient.grpc import service_pb2 as triton

from service.protocol import v2_grpc


def _theirs(name: str) -> Any:
    """The real client's descriptor of a message of ours."""
    if name.startswith("HealthCheck"):
        return getattr(health_pb2, name).DESCRIPTOR
    outer, _, inner = name.partition(".")
    found = getattr(triton, outer, None) or getattr(configuration, outer)
    return (getattr(found, inner) if inner else found).DESCRIPTOR


def _messages(descriptors: Iterable[Any]) -> Iterable[Any]:
    for each in descriptors:
        yield each
        yield from _messages(each.nested_types)


def test_the_compiled_file_is_that_of_the_proto(tmp_path: Path) -> None:
    """Compared as messages, because the order of bytes is protoc's own affair."""
    folder = Path(v2_grpc.__file__).parent
    command = ["protoc", f"-I{folder}", f"--descriptor_set_out={tmp_path}/now", "open_inference.proto"]
    assert protoc.main(command) == 0
    compiled = FileDescriptorSet.FromString((folder / "open_inference.binpb").read_bytes())
    assert compiled == FileDescriptorSet.FromString((tmp_path / "now").read_bytes())


FILE = v2_grpc._POOL.FindFileByName("open_inference.proto")
MESSAGES = [*_messages(FILE.message_types_by_name.values())]


def _kind(field: Any) -> tuple[Any, ...]:
    of = field.message_type or field.enum_type
    return field.name, field.type, field.is_repeated, of.name if of else ""


@pytest.mark.parametrize("ours", MESSAGES, ids=[each.full_name for each in MESSAGES])
def test_every_field_has_the_number_and_the_type_that_clients_know(ours: Any) -> None:
    theirs = _theirs(ours.full_name.removeprefix("inference."))
    for number, field in ours.fields_by_number.items():
        assert _kind(field) == _kind(theirs.fields_by_number[number])
    for enum in ours.enum_types:
        known = {each.name: each.number for each in theirs.enum_types_by_name[enum.name].values}
        assert {each.name: each.number for each in enum.values}.items() <= known.items()


def test_the_datatypes_of_a_configuration_have_the_numbers_that_clients_know() -> None:
    (ours,) = FILE.enum_types_by_name.values()
    known = configuration.DataType.DESCRIPTOR
    assert {each.name: each.number for each in ours.values} == {each.name: each.number for each in known.values}


def test_every_method_has_the_messages_that_clients_know() -> None:
    (ours,) = FILE.services_by_name.values()
    theirs = triton.DESCRIPTOR.services_by_name[ours.name]
    for method in ours.methods:
        known = theirs.methods_by_name[method.name]
        assert (method.input_type.full_name, method.output_type.full_name) == (
            known.input_type.full_name, known.output_type.full_name
        )  # fmt: skip
