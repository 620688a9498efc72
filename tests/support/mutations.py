"""Changes of a signed bundle that must never verify, drawn by a seeded generator.

Each mutation takes a bundle and a generator and returns other bytes; all of them together reach the
file, its JSON, its base64, the payload below it and the time-stamp token. None can sign.
"""

import base64
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import rfc8785

Mutation = Callable[[bytes, random.Random], bytes]

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
ODD_TEXTS = (
    b"NaN", b"Infinity", b"-Infinity", b"-0", b"1e999", b"9" * 400, b"9007199254740993", b"1.0",
    b"[" * 2000, b'{"a":' * 500, b"[" * 40 + b"]" * 40, b"\\u0000", b"\xff\xfe", b"\x00", b"null",
    b"true", b'""', b" ", b"\n", b"\xef\xbb\xbf", b"\\ud800", b'"a":1,',
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**53 - 1, "", "A", "AA==", "\x00", [], {}, [[]], {"": ""}, ["A"] * 9,
    "0" * 64, "\U0001f600", [{}] * 9,
)  # fmt: skip


def flip(bundle: bytes, drawn: random.Random) -> bytes:
    """Change bits of one byte."""
    changed = bytearray(bundle)
    changed[drawn.randrange(len(changed))] ^= drawn.randint(1, 255)
    return bytes(changed)


def insert(bundle: bytes, drawn: random.Random) -> bytes:
    """Put a few bytes in."""
    place = drawn.randint(0, len(bundle))
    return bundle[:place] + drawn.randbytes(drawn.randint(1, 4)) + bundle[place:]


def delete(bundle: bytes, drawn: random.Random) -> bytes:
    """Leave some bytes out."""
    start = drawn.randrange(len(bundle))
    return bundle[:start] + bundle[start + drawn.choice((1, 1, 2, 4, 64)) :]


def repeat(bundle: bytes, drawn: random.Random) -> bytes:
    """Write some bytes twice, anywhere."""
    start, place = drawn.randrange(len(bundle)), drawn.randint(0, len(bundle))
    return bundle[:place] + bundle[start : start + drawn.randint(1, 200)] + bundle[place:]


def odd_text(bundle: bytes, drawn: random.Random) -> bytes:
    """Put NaN, huge numbers, deep nesting and the like between two bytes of the structure."""
    places = [i for i, byte in enumerate(bundle) if byte in b'{}[],:"']
    place = drawn.choice(places) + drawn.randint(0, 1)
    return bundle[:place] + drawn.choice(ODD_TEXTS) + bundle[place:]


def twice_named(bundle: bytes, drawn: random.Random) -> bytes:
    """Give an object a second member of one name, before or after the first."""
    document = json.loads(bundle)
    path = drawn.choice([p for p in _paths(document) if isinstance(p[-1], str)])
    value = _at(document, path)
    place = bundle.find(json.dumps(path[-1]).encode() + b":")
    other = drawn.choice((value, *ODD_VALUES))
    member = json.dumps(path[-1]).encode() + b":" + json.dumps(other).encode() + b","
    return bundle[:place] + member + bundle[place:]


def other_value(bundle: bytes, drawn: random.Random) -> bytes:
    """Put another value into a member, in canonical JSON."""
    document = json.loads(bundle)
    path = drawn.choice(_paths(document))
    _at(document, path[:-1])[path[-1]] = drawn.choice(ODD_VALUES)
    return rfc8785.dumps(document)


def other_member(bundle: bytes, drawn: random.Random) -> bytes:
    """Remove, rename or add a member, in canonical JSON."""
    document = json.loads(bundle)
    path = drawn.choice([p for p in _paths(document) if isinstance(p[-1], str)])
    parent = _at(document, path[:-1])
    match drawn.randrange(3):
        case 0:
            del parent[path[-1]]
        case 1:
            parent[f"{path[-1]}s"] = parent.pop(path[-1])
        case _:
            parent[drawn.choice(("x", "keyid", "kid", "tlogEntries"))] = drawn.choice(ODD_VALUES)
    return rfc8785.dumps(document)


def respelled(bundle: bytes, drawn: random.Random) -> bytes:
    """Write the same JSON in another way."""
    document = json.loads(bundle)
    match drawn.randrange(3):
        case 0:
            return json.dumps(document, indent=drawn.randint(0, 2)).encode()
        case 1:
            return rfc8785.dumps(document) + drawn.choice((b"\n", b" ", b"\x00"))
        case _:
            place = bundle.index(b'"', drawn.randrange(len(bundle) - 64)) + 1
            return bundle[:place] + b"\\u%04x" % bundle[place] + bundle[place + 1 :]


def base64_alias(bundle: bytes, drawn: random.Random) -> bytes:
    """Write some base64 in another way that lenient readers decode to the same or like bytes."""
    document = json.loads(bundle)
    parent, name = drawn.choice(_texts(document))
    text = parent[name]
    match drawn.randrange(6):
        case 0:  # unused bits before the padding
            bare = text.rstrip("=")
            last = ALPHABET.index(bare[-1]) ^ drawn.randint(1, 3)
            parent[name] = bare[:-1] + ALPHABET[last] + "=" * (len(text) - len(bare))
        case 1:
            parent[name] = text.rstrip("=") + "=" * drawn.choice((0, 3, 4))
        case 2:
            parent[name] = text.replace("+", "-").replace("/", "_") + drawn.choice(("", "="))
        case 3:
            place = drawn.randint(0, len(text))
            parent[name] = text[:place] + drawn.choice(("\n", " ", "\r\n", "=", "-")) + text[place:]
        case 4:
            parent[name] = text + drawn.choice(("A", "AAAA", "===="))
        case _:
            parent[name] = text.swapcase()
    return rfc8785.dumps(document)


def inside(bundle: bytes, drawn: random.Random) -> bytes:
    """Change bytes of payload, signature or token, and write them in the only spelling."""
    document = json.loads(bundle)
    parent, name = drawn.choice(_texts(document))
    data = base64.b64decode(parent[name])
    change = drawn.choice((flip, flip, insert, delete, repeat))
    parent[name] = base64.b64encode(change(data, drawn)).decode()
    return rfc8785.dumps(document)


MUTATIONS: Mapping[str, Mutation] = {
    "byte changed": flip,
    "bytes inserted": insert,
    "bytes deleted": delete,
    "bytes repeated": repeat,
    "odd text": odd_text,
    "member twice": twice_named,
    "other value": other_value,
    "other member": other_member,
    "other spelling": respelled,
    "base64 alias": base64_alias,
    "inside base64": inside,
}


def mutated(bundle: bytes, drawn: random.Random) -> tuple[str, bytes]:
    """Return a mutation's name and the changed bundle, which differs from the bundle."""
    while True:
        name = drawn.choice(tuple(MUTATIONS))
        changed = MUTATIONS[name](bundle, drawn)
        if changed != bundle:
            return name, changed


def _paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to every value below a document."""
    below: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        below = list(value.items())
    elif isinstance(value, list):
        below = list(enumerate(value))
    return [
        path for name, child in below for path in [(*before, name), *_paths(child, (*before, name))]
    ]


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        document = document[part]
    return document


def _texts(document: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Return where base64 stands: payload, signatures, tokens."""
    envelope = document["dsseEnvelope"]
    material = document["verificationMaterial"].get("timestampVerificationData", {})
    return [
        (envelope, "payload"),
        *((signature, "sig") for signature in envelope["signatures"]),
        *((token, "signedTimestamp") for token in material.get("rfc3161Timestamps", [])),
    ]
