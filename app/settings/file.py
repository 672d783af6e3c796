"""The configuration file: YAML, read as text that knows its line, so that every source is judged alike."""

import re
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from app.settings.keys import KEYS, SECTIONS, Key, Value, unknown

__all__ = ["read_file"]

_NULL = "tag:yaml.org,2002:null"
_STANDARD = "tag:yaml.org,2002:"
_QUOTED = re.compile(r"'[^<'].+'|\"[^<\"].+\"")
"""What a message of YAML's quotes: it may be a secret that begins with an asterisk. YAML's own words are '<so>'."""


def read_file(path: Path) -> tuple[dict[str, Value], list[str]]:
    """The values that a file gives, and everything that is wrong with its form."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return {}, [f"{path}: the configuration file does not exist; correct CONFIG_PATH or --config"]
    except UnicodeDecodeError:
        return {}, [f"{path}: the configuration file is not UTF-8; save it as UTF-8"]
    except OSError as error:
        return {}, [f"{path}: the configuration file cannot be read: {error.strerror}"]
    return read_text(text, str(path))


def read_text(text: str, name: str) -> tuple[dict[str, Value], list[str]]:
    """What `read_file` does, for text that is there already."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        problem = _QUOTED.sub("'…'", error.problem or error.context or "it has a mistake")
        return {}, [f"{place}: not YAML: {problem}"]
    except yaml.YAMLError as error:
        return {}, [f"{name}: not YAML: {str(error).splitlines()[0]}"]
    except RecursionError:
        return {}, [f"{name}: not YAML: lists and maps are in each other too often"]
    reader = _Reader(name)
    if root is not None and not _is_null(root):
        reader.section(root, "")
    return reader.values, reader.problems


def _takes(key: Key) -> str:
    if key.is_list:
        return "a list of text"
    if key.is_map_of_maps:
        return "a map of names to maps"
    return "a map of names to text" if key.is_map else "one value"


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == _NULL


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name
        self.values: dict[str, Value] = {}
        self.problems: list[str] = []

    def section(self, node: Node, prefix: str) -> None:
        label = prefix.rstrip(".")
        if not isinstance(node, MappingNode):
            subject = f"{label}: is a section" if label else "the configuration file: is a map of sections"
            self._problem(f"{subject}; write its keys beneath it", node)
            return
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._problem(f"{label or 'the configuration file'}: a key must be a plain word", key_node)
                continue
            key = prefix + key_node.value
            if key in lines:
                self._problem(f"{key}: is there already, in line {lines[key]}; keep one", key_node)
                continue
            lines[key] = key_node.start_mark.line + 1
            self._entry(key, key_node, value_node)

    def _entry(self, key: str, key_node: ScalarNode, node: Node) -> None:
        if key in SECTIONS:
            if not _is_null(node):
                self.section(node, f"{key}.")
        elif key not in KEYS:
            self._problem(unknown(key), key_node)
        elif not node.tag.startswith(_STANDARD):
            self._tagged(key, node)
        elif isinstance(node, ScalarNode):
            raw = None if _is_null(node) else node.value
            if raw is None and (KEYS[key].is_map or KEYS[key].is_list):
                return
            self.values[key] = Value(raw, self._place(key_node))
        elif KEYS[key].is_map and isinstance(node, MappingNode):
            self._map(key, key_node, node)
        elif KEYS[key].is_list and isinstance(node, SequenceNode):
            self._list(key, key_node, node)
        else:
            expected = _takes(KEYS[key])
            given = "a map" if isinstance(node, MappingNode) else "a list"
            self._problem(f"{key}: takes {expected}, not {given}", node)

    def _map(self, key: str, key_node: ScalarNode, node: MappingNode) -> None:
        if not KEYS[key].is_map_of_maps:
            self.values[key] = Value(self._pairs(key, _takes(KEYS[key]), node), self._place(key_node))
            return
        entries: dict[str, dict[str, str]] = {}
        for name_node, inner in node.value:
            if not isinstance(name_node, ScalarNode) or not isinstance(inner, MappingNode):
                self._problem(f"{key}: takes {_takes(KEYS[key])}; write name: {{items_per_second: 1000}}", name_node)
            elif name_node.value in entries:
                self._problem(f"{key}: {name_node.value!r} is there already; keep one", name_node)
            else:
                entries[name_node.value] = self._pairs(f"{key}.{name_node.value}", "a map of names to values", inner)
        self.values[key] = Value(entries, self._place(key_node))

    def _pairs(self, key: str, takes: str, node: MappingNode) -> dict[str, str]:
        entries: dict[str, str] = {}
        for name_node, value_node in node.value:
            if not isinstance(name_node, ScalarNode) or not isinstance(value_node, ScalarNode) or _is_null(value_node):
                self._problem(f"{key}: takes {takes}; write name: value", name_node)
            elif not value_node.tag.startswith(_STANDARD):
                self._tagged(key, value_node)
            elif name_node.value in entries:
                self._problem(f"{key}: {name_node.value!r} is there already; keep one", name_node)
            else:
                entries[name_node.value] = value_node.value
        return entries

    def _list(self, key: str, key_node: ScalarNode, node: SequenceNode) -> None:
        entries: list[str] = []
        for item in node.value:
            if not item.tag.startswith(_STANDARD):
                self._tagged(key, item)
            elif not isinstance(item, ScalarNode) or _is_null(item):
                self._problem(f"{key}: takes {_takes(KEYS[key])}; write - 'text'", item)
            else:
                entries.append(item.value)
        self.values[key] = Value(entries, self._place(key_node))

    def _tagged(self, key: str, node: Node) -> None:
        """Complain of a tag. It may be a secret that begins with an exclamation mark, and is not told then."""
        secret = key in KEYS and not KEYS[key].info.repr
        tag, remedy = ("tag", ", in quotes where it begins with !") if secret else (f"tag {node.tag}", "")
        self._problem(f"{key}: the {tag} is not known; write a plain value{remedy}", node)

    def _place(self, node: Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}"

    def _problem(self, text: str, node: Node) -> None:
        self.problems.append(f"{text} ({self._place(node)})")
