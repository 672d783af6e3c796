"""A request in JSON becomes what protobuf's own mapping makes of it, or is refused as invalid.

What OTLP writes differently is translated by the descriptors before protobuf's mapping is asked, and what OTLP does not
allow is refused here: ids are hexadecimal, enums are numbers, keys are the JSON names and others are ignored.

It comes to the same in pieces, and by the shortcut, to the word where the text is read whole.

A byte chooses the signal, a byte the size of the pieces, the rest is the text.
"""

import base64
import json
import math
import re
from fractions import Fraction
from typing import Any, NoReturn

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError

from app.core.errors import InvalidData
from app.core.request import Signal
from app.receivers.decode import request_type
from app.receivers.otlp_json import serializing
from app.receivers.turns import at_once

SIGNALS = list(Signal)
IDS = {"trace_id", "span_id", "parent_span_id"}
DEPTH = 100  # of messages; below it nothing may be refused for its depth
BASE64 = re.compile(r"([A-Za-z0-9+/_-]*)(=*)", re.ASCII)
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
LARGEST = 1 << 70  # above every range


class RefusedError(Exception):
    """OTLP's JSON has no such thing."""


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    signal, piece, body = SIGNALS[data[0] % len(SIGNALS)], 32 + data[1], data[2:]
    whole = outcome(signal, body, 1 << 20)
    assert told(signal, body, 1 << 20) == told(signal, body, 0), "the shortcut makes it another"
    deep = nesting(body) > DEPTH
    endless = re.search(rb"[0-9.eE+-]{%d}" % (piece // 2), body)  # a number has to be within a piece
    for shortcut in (0, 3 * piece):
        pieces = outcome(signal, body, piece, shortcut)
        assert pieces == whole or deep or endless, f"the outcome in pieces of {piece}, {shortcut} is another"
    try:
        expected = reference(signal, body)
    except (RefusedError, ParseError, ValueError, RecursionError):
        assert whole is None, "taken, though it is no such request"
        return
    if whole is None:
        assert deep, "refused, though it is such a request"
    else:
        assert whole == expected, "another request came out"


def outcome(signal: Signal, body: bytes, piece: int, shortcut: int = 0) -> bytes | None:
    try:
        serialized = at_once(serializing(signal, body, piece=piece, shortcut=shortcut))
    except InvalidData:
        return None
    return request_type(signal).FromString(serialized).SerializeToString(deterministic=True)


def told(signal: Signal, body: bytes, shortcut: int) -> bytes | str:
    """What comes out when the text is read whole, or why nothing does."""
    try:
        return at_once(serializing(signal, body, piece=1 << 20, shortcut=shortcut))
    except InvalidData as refusal:
        return str(refusal)


def reference(signal: Signal, body: bytes) -> bytes:
    kind = request_type(signal)
    document = json.loads(body.decode(), object_pairs_hook=tuple, parse_constant=refuse)
    message = ParseDict(translated(document, kind.DESCRIPTOR), kind(), max_recursion_depth=10_000)
    return message.SerializeToString(deterministic=True)


def refuse(what: object) -> NoReturn:
    raise RefusedError(what)


def translated(pairs: Any, message: Descriptor) -> dict[str, Any]:
    """An object of OTLP's as one of protobuf's mapping."""
    if not isinstance(pairs, tuple):
        refuse(pairs)
    fields = {each.json_name: each for each in message.fields}
    known = [key for key, _ in pairs if key in fields]
    if len(set(known)) < len(known):
        refuse(known)
    return {key: values(inner, fields[key]) for key, inner in pairs if key in fields and inner is not None}


def values(value: Any, field: FieldDescriptor) -> Any:
    if not field.is_repeated:
        return single(value, field)
    if not isinstance(value, list):
        refuse(value)
    return [single(each, field) for each in value]


def single(value: Any, field: FieldDescriptor) -> Any:  # noqa: C901, PLR0912 - one case a type
    if field.message_type is not None:
        return translated(value, field.message_type)
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            if not isinstance(value, str):
                refuse(value)
            value.encode()
        case FieldDescriptor.TYPE_BOOL:
            if not isinstance(value, bool):
                refuse(value)
        case FieldDescriptor.TYPE_BYTES:
            if not isinstance(value, str):
                refuse(value)
            if field.name in IDS:
                if re.fullmatch(r"([0-9a-fA-F]{2})*", value, re.ASCII) is None:
                    refuse(value)
                return base64.b64encode(bytes.fromhex(value)).decode()
            found = BASE64.fullmatch(value)
            if found is None or len(found[1]) % 4 == 1 or len(found[2]) > -len(found[1]) % 4:
                refuse(value)
            return found[1]
        case FieldDescriptor.TYPE_DOUBLE:
            special = isinstance(value, str) and value in {"NaN", "Infinity", "-Infinity"}
            if isinstance(value, str) and not special and NUMBER.fullmatch(value) is None:
                refuse(value)
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                refuse(value)
            try:
                infinite = not special and math.isinf(float(value))
            except OverflowError:
                infinite = True
            if infinite:
                refuse(value)
        case _:
            text = isinstance(value, str) and field.type != FieldDescriptor.TYPE_ENUM
            if text:
                return whole(value)
            if not text and (isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1):
                refuse(value)
            return int(value)
    return value


def whole(text: str) -> int:
    """The integer that `text` is, whatever its form: protobuf's mapping would round it to a double."""
    if NUMBER.fullmatch(text) is None:
        refuse(text)
    digits, _, exponent = text.lower().partition("e")
    if not digits.strip("-0."):
        return 0
    if len(exponent) > 10 or abs(int(exponent or 0)) > len(digits) + 30:
        refuse(text)  # out of range, or no integer
    number = Fraction(text)
    if number.denominator > 1 or abs(number) > LARGEST:
        refuse(text)
    return int(number)


def nesting(body: bytes) -> int:
    """At most how deep anything in the text nests."""
    deepest = depth = 0
    for each in body:
        depth += (each in b"[{") - (each in b"]}")
        deepest = max(deepest, depth)
    return deepest
