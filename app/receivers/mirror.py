"""Message types whose fields bear their JSON names, so that their constructor takes a tree of JSON's as it is.

On the wire they are the types that they mirror. Enums are plain integers, because OTLP's JSON has no names for them.
The members of a oneof are there each on its own, so that it can be seen that there were two.
"""

from functools import cache

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

__all__ = ["mirror_of"]

_POOL = DescriptorPool()


def mirror_of(message: Descriptor) -> type[Message]:
    """The mirrored type of `message`."""
    _add(message.file)
    return GetMessageClass(_POOL.FindMessageTypeByName(message.full_name))


@cache
def _add(file: FileDescriptor) -> None:
    for each in file.dependencies:
        _add(each)
    mirrored = FileDescriptorProto()
    file.CopyToProto(mirrored)
    for name, described in zip(file.message_types_by_name, mirrored.message_type, strict=True):
        _rename(file.message_types_by_name[name], described)
    _POOL.AddSerializedFile(mirrored.SerializeToString())


def _rename(message: Descriptor, mirrored: DescriptorProto) -> None:
    del mirrored.oneof_decl[:]
    for field, described in zip(message.fields, mirrored.field, strict=True):
        described.name = field.json_name
        if described.type == FieldDescriptorProto.TYPE_ENUM:
            described.type = FieldDescriptorProto.TYPE_INT32
            described.ClearField("type_name")
        if described.HasField("oneof_index"):
            described.proto3_optional = True
            described.oneof_index = len(mirrored.oneof_decl)
            mirrored.oneof_decl.add(name=f"_{field.json_name}")
    for nested, inner in zip(message.nested_types, mirrored.nested_type, strict=True):
        _rename(nested, inner)
