"""The YAML files that declare sources."""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from pydantic import ValidationError

from fill_pipeline.crawl.config import ConfigError, SourceDeclaration, in_short, problem_line


def load_source_file(path: str | os.PathLike[str]) -> list[SourceDeclaration]:
    """Read the sources a YAML file declares: a list, or a mapping with the key ``sources``.

    Raises ConfigError whose lines name file, line, field, value and cure; OSError if unreadable.
    """
    name = Path(path).name
    try:
        root = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        data = yaml.SafeLoader("").construct_document(root) if root is not None else []
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError([f"{name}: is not YAML: {' '.join(str(error).split())}"]) from None
    items, items_node = data, root
    if isinstance(data, dict) and isinstance(root, yaml.MappingNode):
        if set(data) != {"sources"}:
            raise ConfigError(
                [f"{name}:1: the only key at the top is 'sources', a list; found {in_short(sorted(data))}"]
            )
        items, items_node = data["sources"], root.value[0][1]
    if not isinstance(items, list):
        raise ConfigError([f"{name}:1: is not a list of sources; start each source with '- name: …'"])
    declarations: list[SourceDeclaration] = []
    lines: list[str] = []
    for position, item in enumerate(items):
        node = items_node.value[position] if isinstance(items_node, yaml.SequenceNode) else None
        lines += [f"{name}:{line}: {key!r} is written twice; keep one" for key, line in _repeated_keys(node)]
        try:
            declarations.append(SourceDeclaration.model_validate(item))
        except ValidationError as error:
            for detail in error.errors():
                lines.append(
                    f"{name}:{_node_line(node, detail['loc'])}: {problem_line(detail, item, SourceDeclaration)}"
                )
    if lines:
        raise ConfigError(lines)
    return declarations


def _node_line(node: yaml.Node | None, location: tuple[str | int, ...]) -> int:
    """The line of the deepest YAML node on the way to a field."""
    line = node.start_mark.line + 1 if node is not None else 1
    for part in location:
        child: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    child, line = value, key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            child = node.value[part]
            line = child.start_mark.line + 1
        if child is None:
            break
        node = child
    return line


def _repeated_keys(node: yaml.Node | None) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                found.append((key.value, key.start_mark.line + 1))
            seen.add(key.value)
            found += _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            found += _repeated_keys(value)
    return found
