"""What was asked: one request as it reached a test server or a cassette, in the words that a test asserts with.

Pure, like all that stands on it.
"""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from nemotron_client._json import is_array, is_object
from nemotron_client.config import Secret
from nemotron_client.testing.counting import prompt_tokens
from nemotron_client.testing.redaction import is_secret_header

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
COMPLETIONS = (CHAT, TEXT)


class _NotSent:
    def __repr__(self) -> str:
        return "(not sent)"


_NOT_SENT = _NotSent()
_NOT_OPTIONS = frozenset({"model", "messages", "prompt", "tools", "stream"})


@dataclass(frozen=True, kw_only=True)
class RecordedRequest:
    """Hold one request as it arrived; header names are in lower case.

    What may hold a secret is not shown.
    """

    method: str
    path: str
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    @cached_property
    def json(self) -> dict[str, Any]:
        """Return the body parsed, as plain values for a test to dig into; empty of a request without one."""
        document: dict[str, Any] = json.loads(self.body) if self.body else {}
        return document

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation, as it was sent; empty for a bare prompt."""
        messages: list[dict[str, Any]] = self.json.get("messages") or []
        return messages

    @property
    def question(self) -> str:
        """The text of the last message, or the prompt."""
        return text_of(self.messages[-1].get("content") if self.messages else self.json.get("prompt"))

    @property
    def tools(self) -> list[str]:
        """The names of the tools that were offered, in their order."""
        return [tool["function"]["name"] for tool in self.json.get("tools") or ()]

    @property
    def model(self) -> str | None:
        """The model that was named."""
        model: str | None = self.json.get("model")
        return model

    @property
    def stream(self) -> bool:
        """Whether a stream was asked for."""
        return bool(self.json.get("stream"))

    @property
    def options(self) -> dict[str, Any]:
        """All else that was sent, such as `temperature`."""
        return {name: value for name, value in self.json.items() if name not in _NOT_OPTIONS}

    @cached_property
    def tokens(self) -> int:
        """How many tokens the conversation is, its tools included, or the prompt."""
        return prompt_tokens(self.json)

    def assert_asked(
        self,
        question: str | None = None,
        *,
        messages: Sequence[Mapping[str, object]] | None = None,
        tools: Sequence[str] | None = None,
        tokens: int | None = None,
        model: str | None = None,
        stream: bool | None = None,
        **options: object,
    ) -> None:
        """Fail unless the request asked just this; what is not given is not looked at.

        Args:
            question: The text of the last message, or the prompt.
            messages: The whole conversation.
            tools: The names of the tools on offer, in their order.
            tokens: How many the conversation is, its tools included, or the prompt.
            model: The model's name.
            stream: Whether a stream was asked for.
            options: Options and their values, as they are on the wire.

        Raises:
            AssertionError: It asked something else; tells each difference.
            TypeError: ``tools`` is one name, not a list of them.
        """
        __tracebackhide__ = True
        if isinstance(tools, str):
            raise TypeError(f"tools={tools!r}: give a list of names.")
        expected: dict[str, object] = {"question": question, "tokens": tokens, "model": model, "stream": stream}
        expected |= {
            "messages": None if messages is None else [*messages],
            "tools": None if tools is None else [*tools],
        }
        asked = {name: getattr(self, name) for name, value in expected.items() if value is not None}
        sent = self.options
        expected |= options
        asked |= {name: sent.get(name, _NOT_SENT) for name in options}
        wrong = "".join(_told(name, expected[name], value) for name, value in asked.items() if value != expected[name])
        if wrong:
            raise AssertionError(f"{self.method} {self.path} asked something else:\n{wrong}")


class Recorded:
    """Keep the requests that came.

    Attributes:
        requests: Every request that has come, oldest first. A client that was given no `model` asks GET /v1/models
            first; `posts` and `asked` leave that out.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.requests: list[RecordedRequest] = []

    @property
    def posts(self) -> int:
        """How many POST requests arrived."""
        return sum(request.method == "POST" for request in self.requests)

    @property
    def asked(self) -> list[RecordedRequest]:
        """The requests for completions, oldest first, each try of one for itself."""
        return [request for request in self.requests if request.method == "POST" and request.path in COMPLETIONS]

    def assert_asked(self, *questions: str) -> None:
        """Fail unless just these questions were asked, in this order.

        Args:
            questions: The text of each request's last message, or its prompt.

        Raises:
            AssertionError: Others were; tells the difference.
        """
        __tracebackhide__ = True
        asked = [request.question for request in self.asked]
        if asked != [*questions]:
            if any(question != " ".join(question.split()) for question in (*questions, *asked)):  # or it isn't seen
                questions, asked = (*map(repr, questions),), [*map(repr, asked)]
            told = difference(questions, asked, "questions expected", "questions asked")
            raise AssertionError(f"Other questions were asked, or in another order:\n{told}")


def difference(expected: Sequence[str], found: Sequence[str], expected_name: str, found_name: str) -> str:
    """Return a unified diff of lines."""
    rows = difflib.unified_diff(expected, found, expected_name, found_name, n=3, lineterm="")
    return "".join(f"{row}\n" for row in rows)


def pretty(document: object) -> str:
    """Return JSON to be read and compared line by line, its keys in alphabetical order."""
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True, default=repr)


def header_values(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by their names in lower case; a failing assertion can't print the key among them."""
    values = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
    return {name: Secret(value) if is_secret_header(name) else value for name, value in values.items()}


def text_of(content: object) -> str:
    """Return the text of a message's `content` or of a `prompt`: a str, parts, token ids (each a word) or nothing."""
    if isinstance(content, str):
        return content
    parts = content if is_array(content) else ()
    return " ".join(str(part.get("text", "") if is_object(part) else part) for part in parts)


def is_deeper(value: object, than: int) -> bool:
    """Tell whether a document has more objects and arrays within each other."""
    level = [value]
    for _ in range(than):
        inner = [[*each.values()] if is_object(each) else each for each in level if is_object(each) or is_array(each)]
        if not inner:
            return False
        level = [each for values in inner for each in values]
    return True


def _told(name: str, expected: object, sent: object) -> str:
    """Return how two values differ: as lines, but as Python writes them where lines would look the same."""
    names = f"{name} expected", f"{name} sent"
    return difference(_lines(expected), _lines(sent), *names) or difference([repr(expected)], [repr(sent)], *names)


def _lines(value: object) -> list[str]:
    if isinstance(value, _NotSent):
        return [repr(value)]
    return (value if isinstance(value, str) else pretty(value)).splitlines()
