"""YAML text as plain values that still know the line each came from.

PyYAML's own loader forgets lines, takes the last of two equal keys in silence and lets a few hundred bytes of
nested anchors stand for billions of values. `read_yaml` walks the nodes itself, so that none of it happens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from cluster.errors import UserError

# A configuration of a thousand models is a tenth of this; a bomb of anchors is stopped here.
MAX_BYTES = 1024 * 1024
MAX_VALUES = 100_000
_START = "`fenzhen config` prints a configuration to start from"

YamlPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML mapping with the lines of its parts."""

    label: str
    """What a message calls it: the file's path as the user wrote it."""
    value: dict[str, object]
    lines: Mapping[YamlPath, int]
    """Line, from 1, of each key and each list item; `()` is the document's first."""
    places: Mapping[YamlPath, str] = field(default_factory=dict)
    """What a message says instead of file and line where a part was put in from elsewhere."""

    def line(self, path: YamlPath) -> int:
        """Line of a part, or of the nearest part around it that is there."""
        return self.lines[self._nearest(path)]

    def place(self, path: YamlPath) -> str:
        """Where a part stands, for people: `fenzhen.yaml line 12`."""
        nearest = self._nearest(path)
        return self.places.get(nearest, f"{self.label} line {self.lines[nearest]}")

    def _nearest(self, path: YamlPath) -> YamlPath:
        while path not in self.lines:
            path = path[:-1]
        return path


def read_yaml(data: bytes, label: str, *, first_key: str = "models", start: str = _START) -> Document:
    """Parse one YAML mapping. Raises UserError with one sentence a line for all that is wrong with it as YAML.

    `first_key` and `start` tell somebody with an empty file what belongs there.
    """
    if len(data) > MAX_BYTES:
        raise UserError(f"{label} is larger than {MAX_BYTES // 1024} KiB, which no configuration of ours is")
    text = _decoded(data, label)
    try:
        # Not the faster CSafeLoader: it ends the whole process with a segmentation fault on 100,000 open brackets.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            raise UserError(f"{label} is empty; {start}")
        if not isinstance(root, yaml.MappingNode):
            raise UserError(
                f"{label} line {_line(root)}: expected keys such as `{first_key}:` here, found {_kind(root)}"
            )
        reader = _Reader()
        value = reader.mapping(root, (), ())
    except yaml.YAMLError as error:
        raise UserError(_yaml_sentence(error, text, label)) from error
    except RecursionError as error:
        raise UserError(f"{label}: lists or keys are nested too deep for a configuration of ours") from error
    if reader.problems:
        raise UserError("\n".join(f"{label} line {line}: {sentence}" for line, sentence in reader.problems))
    return Document(label, value, {(): _line(root), **reader.lines})


def dotted(path: YamlPath) -> str:
    """A path as people write it: `models[0].sources[1].kind`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass
class _Reader:
    """One walk over the nodes; collects problems instead of stopping at the first."""

    lines: dict[YamlPath, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    values: int = 0
    scalars: yaml.constructor.SafeConstructor = field(default_factory=yaml.constructor.SafeConstructor)

    def mapping(self, node: yaml.MappingNode, path: YamlPath, above: tuple[yaml.Node, ...]) -> dict[str, object]:
        """The keys of a node, as text, with their values."""
        found: dict[str, object] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = _line(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append((line, f"{dotted(path) or 'a key'}: a key must be plain text"))
                continue
            # The text as written: YAML 1.1 would read the key `on` as true.
            key = str(key_node.value)
            here = (*path, key)
            if key in found:
                self.problems.append((line, f"{dotted(here)}: this key already stands in line {first[key]}"))
                continue
            first[key] = self.lines[here] = line
            found[key] = self.value(value_node, here, (*above, node))
        return found

    def value(self, node: yaml.Node, path: YamlPath, above: tuple[yaml.Node, ...]) -> object:
        """The value of a node, anchors written out."""
        self.values += 1
        if any(node is other for other in above):
            raise yaml.YAMLError("an anchor (&name) holds itself (*name)")
        if self.values > MAX_VALUES:
            raise yaml.YAMLError(f"holds more than {MAX_VALUES} values, anchors (&name, *name) written out")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, above)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for number, item in enumerate(node.value):
                self.lines[*path, number] = _line(item)
                items.append(self.value(item, (*path, number), (*above, node)))
            return items
        try:
            return self.scalars.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self.problems.append((_line(node), f"{dotted(path)}: cannot read {node.value[:60]!r} as {node.tag}"))
            return None


def _decoded(data: bytes, label: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{label} line {line}: not UTF-8 text; save the file as UTF-8") from error


def _yaml_sentence(error: yaml.YAMLError, text: str, label: str) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"{label} line {line}: holds the control character {error.character!r}, which YAML forbids"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"{label}: {error}"
    line = error.problem_mark.line + 1
    lines = text.splitlines()
    written = lines[line - 1] if line <= len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())] or "'\\t'" in str(error.problem):
        return f"{label} line {line}: a tab stands where YAML wants spaces"
    reason = ", ".join(part for part in (error.context, error.problem) if part)
    return f"{label} line {line}: not valid YAML: {reason}"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else f"the plain value {str(node.value)[:60]!r}"
