"""Ask for an answer of a given form, in the way that the server knows, and ask again where it isn't of that form.

Servers differ: some refuse a parameter, some ignore it without a word (docs/explanation/protocol.md, "Structured
output"). So every answer is validated here, and what has worked is remembered by the client.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from nemotron_client._json import is_array
from nemotron_client.checking import picked, refuse_taken, without
from nemotron_client.completions import ChatCompletion, ParsedCompletion, ResponseInfo, with_value
from nemotron_client.errors import (
    APIError,
    BadRequestError,
    ContextOverflowError,
    InvalidRequestError,
    ResponseFormatError,
    UnprocessableEntityError,
)
from nemotron_client.messages import Message, read_messages
from nemotron_client.options import FormOptions, FormSettings, Method, ParseOptions
from nemotron_client.structured import Format, InvalidAnswerError, for_grammar

from . import calls, flows
from .sending import Client

if TYPE_CHECKING:
    from nemotron_client._tools.schemas import Schema

    from .exchange import Flow

T = TypeVar("T")

_OWN: tuple[Method, ...] = ("json_schema", "structured_outputs", "json_object", "prompt")
_HOSTED: tuple[Method, ...] = ("json_schema", "guided_json", "json_object", "prompt")
_IN_WORDS = frozenset({"json_object", "prompt"})  # those that don't tell the server the schema
# For vLLM, whose grammars would else allow blanks without end between two values, and some models take that way.
_NO_BLANKS: Schema = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
# What a refusal speaks of when it is the way of asking that is refused: for good, or for this schema.
_PARAMETERS = ("response_format", "json_schema", "json_object", "structured_outputs", "guided_json", "nvext")
_SCHEMAS = ("schema", "grammar", "guided", "structured")


class Asking(Generic[T]):
    """One question for an answer of a given form, which may take several requests.

    Attributes:
        form: What the answer must look like.
        call: What to send next.
        discarded: The answers that were not of the form.
    """

    def __init__(
        self,
        client: Client,
        messages: str | Sequence[Message],
        form: Format[T],
        options: Mapping[str, object],
        *,
        stream: bool = False,
    ) -> None:
        """Check everything; nothing is sent yet.

        Args:
            client: Who asks.
            messages: The conversation.
            form: What the answer must look like.
            options: What the caller gave beside it.
            stream: Whether to ask for a stream, whose answer can't be asked for again.

        Raises:
            InvalidRequestError: Something is not possible.
        """
        refuse_taken(options, ParseOptions, "the form is asked for in a way of its own, and for one answer")
        settings = FormSettings(**picked(options, FormOptions))
        if stream and options.get("reasks"):
            msg = "reasks can't be given to stream_parse(): its answer is never asked for again."
            raise InvalidRequestError(msg, parameter="reasks")
        self.form = form
        self.discarded: list[ChatCompletion] = []
        self._client, self._stream = client, stream
        self._options = without(options, FormOptions)
        self._messages: list[Mapping[str, object]] = [*read_messages(messages)]
        self._reasks = settings.reasks
        self._kept = 1  # exchanges: a complaint is no use without the question before it
        self._complaints = 0
        self._final: ParsedCompletion[T] | None = None
        self._model = str(options.get("model") or client.config.model or "")
        self._remembers = settings.method == "auto"
        self._methods = deque(self._in_turn() if settings.method == "auto" else (settings.method,))
        self.call = self._call()

    def refused(self, error: APIError) -> bool:
        """Take a refusal; tell whether there is another way to ask."""
        about = _about(error)
        if len(self._methods) == 1 or about is None:
            return False
        if about == "schema":
            self._remembers = False  # the next schema may do
        self._methods.popleft()
        self.call = self._call()
        return True

    def parsed(self, completion: ChatCompletion) -> ParsedCompletion[T] | None:
        """Take an answer.

        Returns:
            The answer with its value; None if it has to be asked for again, by the new :attr:`call`.

        Raises:
            ResponseFormatError: It is not of the form, and won't be.
        """
        try:
            return self._read(completion)
        except InvalidAnswerError as error:
            if len(self._methods) > 1 and self._is_ignored(completion, error):
                self._methods.popleft()
            elif self._reasks:
                self._reasks -= 1
                self._complain(completion, error)
            else:
                raise self._failed(completion, error.problems) from None
        self.discarded.append(completion)
        self.call = self._call()
        return None

    def final(self, completion: ChatCompletion) -> ParsedCompletion[T]:
        """Take the answer of a stream, once, and return it with its value each time.

        Raises:
            ResponseFormatError: It is not of the form.
        """
        if self._final is None:
            try:
                self._final = self._read(completion)
            except InvalidAnswerError as error:
                raise self._failed(completion, error.problems) from None
        return self._final

    def _read(self, completion: ChatCompletion) -> ParsedCompletion[T]:
        try:
            value = self.form.read(completion.text)
        except InvalidAnswerError:
            why = _why_none(completion)
            if why is not None:
                raise self._failed(completion, [why]) from None
            raise
        if self._remembers:
            self._client.shared.methods[self._model] = self._methods[0]
        return with_value(completion, value, self.discarded)

    def _is_ignored(self, completion: ChatCompletion, error: InvalidAnswerError) -> bool:
        """Tell whether the server has ignored the way in which it was asked."""
        if self._methods[0] in _IN_WORDS:
            return not error.is_json
        return not self.form.has_keys(completion.text)

    def _complain(self, completion: ChatCompletion, error: InvalidAnswerError) -> None:
        """Let the next question tell the model what is wrong, and what is wanted."""
        complaint = "That is not valid:\n" + "\n".join(f"- {problem}" for problem in error.problems)
        self._messages += [
            {"role": "assistant", "content": completion.text},
            {"role": "user", "content": f"{complaint}\nAnswer again, with the corrected JSON only."},
        ]
        self._complaints += 1
        self._kept += 1

    def _failed(self, completion: ChatCompletion, problems: Sequence[str]) -> ResponseFormatError:
        asked = f", asked {len(self.discarded) + 1} times" if self.discarded else ""
        msg = f"The answer is not of the form {self.form.name}{asked}: {'; '.join(problems)}."
        return ResponseFormatError(msg, completion=completion, errors=problems, discarded=self.discarded)

    def _in_turn(self) -> tuple[Method, ...]:
        methods = _HOSTED if self._client.config.hosted else _OWN
        known = self._client.shared.methods.get(self._model)
        return methods if known is None else methods[methods.index(known) :]

    def _call(self) -> calls.Call:
        method = self._methods[0]
        in_words = self._stream or self._complaints or method in _IN_WORDS
        messages = _told(self._messages, self.form.schema) if in_words else self._messages
        schema = for_grammar(self.form.schema)
        if not self._client.config.hosted:
            schema |= _NO_BLANKS
        options: Mapping[str, object] = {**self._options, **_fields(method, self.form.name, schema)}
        if self._stream:
            options = calls.asking_usage(options)
        return flows.chat_call(self._client, messages, options, stream=self._stream, kept=self._kept)


def _about(error: APIError) -> Literal["parameter", "schema"] | None:
    """Tell whether a refusal is about the way of asking at all, or about this schema only; None for anything else."""
    if isinstance(error, ContextOverflowError) or not isinstance(error, BadRequestError | UnprocessableEntityError):
        return None
    _, _, words = error.message.partition(": ")  # what is before it holds the URL
    about = (error.param or words).lower()
    if any(name in about for name in _PARAMETERS):
        return "parameter"
    return "schema" if any(word in about for word in _SCHEMAS) else None


def parse(client: Client, asking: Asking[T], *, now: float, began: float | None = None) -> Flow[ParsedCompletion[T]]:
    """Ask until the answer is of the form.

    Args:
        client: Who asks.
        asking: What for.
        now: The time, in seconds of the driver's clock.
        began: When the caller began, if something was asked before.

    Raises:
        ResponseFormatError: It never was.
        APIError: The server refused, or no whole answer came.
    """
    began = now if began is None else began
    while True:
        try:
            completion = yield from flows.chat(client, asking.call, now=now, began=began)
        except APIError as error:
            now += error.took
            if not asking.refused(error):
                raise
            continue
        parsed = asking.parsed(completion)
        if parsed is not None:
            return parsed
        now = began + completion.response.elapsed


def open_stream(client: Client, asking: Asking[T], *, now: float, began: float | None = None) -> Flow[ResponseInfo]:
    """Begin a streamed answer of the form; arguments as for :func:`parse`."""
    began = now if began is None else began
    while True:
        try:
            return (yield from flows.open_stream(client, asking.call, now=now, began=began))
        except APIError as error:
            now += error.took
            if not asking.refused(error):
                raise


def _fields(method: Method, name: str, schema: Schema) -> dict[str, object]:
    match method:
        case "json_schema":
            inner = {"name": name, "schema": schema, "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": inner}}
        case "structured_outputs":
            return {"structured_outputs": {"json": schema}}
        case "guided_json":
            return {"nvext": {"guided_json": schema}}
        case "json_object":
            return {"response_format": {"type": "json_object"}}
        case _:  # "prompt"
            return {}


def _told(messages: Sequence[Mapping[str, object]], schema: Schema) -> list[Mapping[str, object]]:
    """Tell the model the schema in words, at the end of what the user says: no message's place changes."""
    words = (
        "Answer with JSON only, without any other word. It must match this JSON schema:\n"
        f"{json.dumps(schema, ensure_ascii=False)}"
    )
    told = [*messages]
    for index in reversed(range(len(told))):
        if told[index].get("role") == "user":
            content = told[index].get("content")
            said = [*content, {"type": "text", "text": words}] if is_array(content) else f"{content or ''}\n\n{words}"
            told[index] = {**told[index], "content": said}
            return told
    return [*told, {"role": "user", "content": words}]


def _why_none(completion: ChatCompletion) -> str | None:
    """Say why there is no point in asking again; None if there is."""
    choice = completion.choices[0]
    if choice.truncated:
        return "it was cut short by max_tokens or by the window; raise max_tokens, or ask for less"
    if choice.message.refusal:
        return f"the model refused: {choice.message.refusal}"
    return None if completion.text else f"it has no text (finish_reason {choice.finish_reason!r})"
