"""JSON objects as protobuf messages, by OTLP's rules, driven by the messages' descriptors.

Objects come as tuples of pairs, so that a key that is there twice is seen; arrays are lists. Every field of a message
type is compiled once into a function that puts a value where it belongs.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from app.receivers.scalar import Convert, ConvertAll, Unfit, convert_all_for, convert_for, show, taken_by
from app.receivers.shape import DEPTH, TOO_DEEP, varint
from app.receivers.shortcut import shortcut_for

__all__ = ["IGNORED", "Field", "Plan", "plan_for", "twice"]

Put = Callable[[Message, Any, int], None]
"""Put a value, which is not null, into a message at a depth; of a repeated field's item: add it."""


Extend = Callable[[Message, list[Any], int], None]
"""Add numbers, or numbers in quotes, to a repeated field of a message; the first has an index, by which errors go."""

ReadItems = Callable[[str, int], tuple[bytes, int, int] | None]
"""See `Shortcut.read_items`."""


@dataclass(slots=True, eq=False)
class Field:
    """How one key of an object, or one item of a repeated field, is put into a message."""

    put: Put
    name: str = ""
    taken: type | None = None
    """Values of this type are set as they are, which saves a call for most of what there is."""
    head: bytes = b""
    """The tag of a message's field; empty where nothing is kept."""
    plan: "Plan | None" = None
    """How an object under this key is read; None where there must be none."""
    item: "Field | None" = None
    """How the items of an array are; None where there must be none."""
    extend: Extend | None = None
    """Of an item: how many numbers are put at once; None where there must be none."""
    read_items: ReadItems | None = None
    """Of an item: how many objects are read at once; None where there must be none."""


class Plan:
    """How objects become messages of one type."""

    def __init__(self, new: type[Message]) -> None:
        self.new = new
        self.fields: dict[str, Field] = {}
        self._oneofs: tuple[frozenset[str], ...] = ()

    def compile(self, message: Descriptor, plans: dict[str, "Plan"]) -> None:
        """Add the fields of `message`; `plans` are those of the types met so far."""
        proto = DescriptorProto()
        message.CopyToProto(proto)
        for each, described in zip(message.fields, proto.field, strict=True):
            repeated = described.label == FieldDescriptorProto.LABEL_REPEATED
            self.fields[each.json_name] = _field(each, repeated, plans)
        oneofs = [frozenset(each.json_name for each in oneof.fields) for oneof in message.oneofs]
        self._oneofs = tuple(keys for keys in oneofs if len(keys) > 1)

    def fill(self, message: Message, value: Any, depth: int) -> None:
        """Put the pairs of an object into `message`. Unknown keys are ignored, and null is as if absent."""
        if type(value) is not tuple:
            raise Unfit(f"{show(value)} is not an object")
        if depth > DEPTH:
            raise Unfit(TOO_DEEP)
        if len(value) > 1 and (self._oneofs or len(dict(value)) < len(value)):
            self.check(tuple(pair for pair in value if pair[0] in self.fields))
        fields = self.fields
        for key, inner in value:
            if key in fields and inner is not None:
                field = fields[key]
                try:
                    if type(inner) is field.taken:
                        setattr(message, field.name, inner)
                    else:
                        field.put(message, inner, depth)
                except Unfit as unfit:
                    unfit.path.append(f".{key}")
                    raise
                except ValueError as error:
                    raise _refused(inner, error, f".{key}") from error

    def check(self, pairs: tuple[tuple[str, Any], ...]) -> None:
        """Refuse keys that are there twice, and members of a oneof beside each other; `pairs` are of known keys."""
        if len(dict(pairs)) < len(pairs):
            [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
            raise twice(key)
        for keys in self._oneofs:
            given = [key for key, value in pairs if key in keys and value is not None]
            if len(given) > 1:
                raise Unfit(f"{' and '.join(given)} exclude each other")


@cache
def plan_for(message: Descriptor) -> Plan:
    """The plan of a message type."""
    return _plan(message, {})


def _plan(message: Descriptor, plans: dict[str, Plan]) -> Plan:
    plan = plans.get(message.full_name)
    if plan is None:
        plan = plans[message.full_name] = Plan(GetMessageClass(message))
        plan.compile(message, plans)
    return plan


def _field(field: FieldDescriptor, repeated: bool, plans: dict[str, Plan]) -> Field:
    name = field.name
    if field.message_type is None:
        convert = convert_for(field)
        if not repeated:
            return Field(_put_scalar(name, convert), name, taken_by(field))
        extend = _extend_scalars(name, convert, convert_all_for(field))
        return Field(_put_scalars(extend), item=Field(_add_scalar(name, convert), extend=extend))
    plan = _plan(field.message_type, plans)
    head = varint(field.number << 3 | 2)
    if not repeated:
        return Field(_put_message(name, plan), head=head, plan=plan)
    read_items = partial(shortcut_for(field.containing_type).read_items, field)
    item = Field(_add_message(name, plan), head=head, plan=plan, read_items=read_items)
    return Field(_put_messages(name, plan), item=item)


def twice(key: str) -> Unfit:
    """Tell that an object has `key` more than once."""
    return Unfit(f"{show(key)} is there twice")


def _refused(value: Any, error: ValueError, *path: str) -> Unfit:
    """Tell what only the message itself refuses.

    To be raised at once: in a variable it would be in a cycle with its own traceback, which keeps the whole text until
    the collector comes.
    """
    what = "has half of a surrogate pair" if isinstance(error, UnicodeError) else "is out of the field's range"
    unfit = Unfit(f"{show(value)} {what}")
    unfit.path += path
    return unfit


def _put_scalar(name: str, convert: Convert) -> Put:
    def put(message: Message, value: Any, _depth: int) -> None:
        try:
            setattr(message, name, convert(value))
        except ValueError as error:
            raise _refused(value, error) from error

    return put


def _add_scalar(name: str, convert: Convert) -> Put:
    def add(message: Message, value: Any, _depth: int) -> None:
        try:
            getattr(message, name).append(convert(value))
        except ValueError as error:
            raise _refused(value, error) from error

    return add


def _put_message(name: str, plan: Plan) -> Put:
    def put(message: Message, value: Any, depth: int) -> None:
        inner = getattr(message, name)
        inner.SetInParent()  # it is there even if nothing is in it
        plan.fill(inner, value, depth + 1)

    return put


def _add_message(name: str, plan: Plan) -> Put:
    def add(message: Message, value: Any, depth: int) -> None:
        plan.fill(getattr(message, name).add(), value, depth + 1)

    return add


def _put_scalars(extend: Extend) -> Put:
    def put(message: Message, value: Any, _depth: int) -> None:
        if type(value) is not list:
            raise Unfit(f"{show(value)} is not an array")
        extend(message, value, 0)

    return put


def _extend_scalars(name: str, convert: Convert, convert_all: ConvertAll) -> Extend:
    def extend(message: Message, values: list[Any], index: int) -> None:
        items = getattr(message, name)
        before = len(items)
        ready = convert_all(values)
        if ready is not None:
            try:
                items.extend(ready)
            except (ValueError, OverflowError):  # one is out of range: it is told which
                del items[before:]
            else:
                return
        try:
            for item in values:
                items.append(convert(item))
        except Unfit as unfit:
            unfit.path.append(f"[{index + len(items) - before}]")
            raise
        except ValueError as error:
            at = len(items) - before
            raise _refused(values[at], error, f"[{index + at}]") from error

    return extend


def _put_messages(name: str, plan: Plan) -> Put:
    fill = plan.fill

    def put(message: Message, value: Any, depth: int) -> None:
        if type(value) is not list:
            raise Unfit(f"{show(value)} is not an array")
        items = getattr(message, name)
        add = items.add
        try:
            for item in value:
                fill(add(), item, depth + 1)
        except Unfit as unfit:
            unfit.path.append(f"[{len(items) - 1}]")
            raise

    return put


def _ignore(_message: Message, _value: Any, _depth: int) -> None:
    """Nothing is kept of what is unknown."""


def _ignore_all(_message: Message, _values: list[Any], _index: int) -> None:
    """Nothing is kept of what is unknown."""


IGNORED: Final = Field(_ignore, plan=Plan(Empty), extend=_ignore_all)
IGNORED.item = IGNORED
