"""What of an answer is the server's form and not the model's words: what MockServer has in common with vLLM."""

import json
import re
from collections.abc import Iterator, Mapping

from nemotron_client._json import is_array, is_object

# What a model says, and what each request has of its own.
_FREE = frozenset({"id", "created", "system_fingerprint", "tokens", "count", "permission"})
# Objects whose keys are tokens, of which there are as many as a model has ideas.
_OF_TOKENS = (".top_logprobs[]", ".prompt_logprobs[]")


def shape(status: int, headers: Mapping[str, str], body: bytes) -> object:
    """Return the form of an answer: of an error all of it, else its fields and the kinds of their values."""
    kind = headers.get("content-type", "")
    head = (status, kind, headers.get("allow"))
    if "location" in headers:
        return *head, re.sub("^http://[^/]+", "", headers["location"])
    if not body:
        return head
    if status >= 400:
        return *head, json.loads(body)
    if kind.startswith("text/event-stream"):
        events = [row.removeprefix(b"data: ") for row in body.split(b"\n\n") if row.startswith(b"data: ")]
        assert events.pop() == b"[DONE]"
        parts = [json.loads(event) for event in events]
        if "error" in parts[-1]:
            return *head, parts[-1]
        # Of the chunks in the middle there are as many as the model has words.
        return (
            *head,
            sorted({path for part in parts for path in _fields(part)}),
            *(sorted(set(_fields(part))) for part in (parts[0], parts[-1])),
        )
    return *head, sorted(set(_fields(json.loads(body))))


def _fields(value: object, path: str = "") -> Iterator[str]:
    if is_object(value):
        is_of_tokens = (
            path.endswith(_OF_TOKENS) and "token" not in value
        )  # a chat's has entries with names of their own
        for key, inner in value.items():
            name = "*" if is_of_tokens else key
            yield from ([f"{path}.{name}"] if name in _FREE else _fields(inner, f"{path}.{name}"))
    elif is_array(value):
        for inner in value:
            yield from _fields(inner, f"{path}[]")
    else:
        yield f"{path}: {type(value).__name__}"
