"""What of an answer is the server's form and not the model's words: what MockServer has in common with vLLM."""

import json
from collections.abc import Iterator

from nemotron_client._json import is_array, is_object

# What a model says, and what each request has of its own.
_FREE = frozenset({"id", "created", "system_fingerprint", "tokens", "count", "permission"})


def shape(status: int, content_type: str, body: bytes) -> object:
    """Return the form of an answer: of an error all of it, else its fields and the kinds of their values."""
    if status >= 400:
        return status, json.loads(body)
    if content_type.startswith("text/event-stream"):
        events = [row.removeprefix(b"data: ") for row in body.split(b"\n\n") if row.startswith(b"data: ")]
        assert events.pop() == b"[DONE]"
        parts = [json.loads(event) for event in events]
        # Of the chunks in the middle there are as many as the model has words.
        return (
            status,
            sorted({path for part in parts for path in _fields(part)}),
            *(sorted(set(_fields(part))) for part in (parts[0], parts[-1])),
        )
    return status, sorted(set(_fields(json.loads(body)))) if body else []


def _fields(value: object, path: str = "") -> Iterator[str]:
    if is_object(value):
        for name, inner in value.items():
            yield from ([f"{path}.{name}"] if name in _FREE else _fields(inner, f"{path}.{name}"))
    elif is_array(value):
        for inner in value:
            yield from _fields(inner, f"{path}[]")
    else:
        yield f"{path}: {type(value).__name__}"
