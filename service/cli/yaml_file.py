"""YAML files that people write: no code, no key twice, no more bytes than a person types."""

from pathlib import Path
from typing import Any

import yaml

from auditor.errors import InputError

Plain = dict[str, Any]

LIMIT_BYTES = 2**20


class _Loader(yaml.SafeLoader):
    """YAML without code, and without keys given twice, of which YAML keeps the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Plain:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is given twice", node.start_mark
            )
    return {str(key): value for key, value in loader.construct_mapping(node, deep=True).items()}


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_document(path: Path, *, what: str, guide: str) -> Plain:
    """Return the content of a file.

    Args:
        path: The file.
        what: What it is, for messages.
        guide: What a reader should do or read when it is wrong, as a sentence.

    Raises:
        InputError: If it cannot be read, is too large, or is no YAML mapping.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            str(path),
            expected=f"a readable {what}",
            found=error.strerror,
            remedy=f"Pass a YAML file. {guide}",
        ) from error
    if len(data) > LIMIT_BYTES:
        raise InputError(
            str(path),
            expected=f"at most {LIMIT_BYTES} bytes",
            found=f"{len(data)} bytes",
            remedy="Put data elsewhere. " + guide,
        )
    try:
        document = yaml.load(data, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise InputError(
            str(path), expected="YAML", found=" ".join(str(error).split()), remedy=guide
        ) from error
    if not isinstance(document, dict):
        raise InputError(
            str(path),
            expected="a mapping of fields",
            found=type(document).__name__,
            remedy=guide,
        )
    return document
