"""Pydantic models of everything that crosses the wire: input messages, tool calls, completions, chunks, usage, models.

Lenient on the way in: unknown fields are kept, everything a server may leave out has a default. On the way out,
:func:`read_messages` checks the shape of what the caller gave; rules about conversations are in ``_engine/mistral.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import ClassVar, Generic, Literal, Self, TypeAlias, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from pydantic_core import from_json

from ._json import is_array, is_object
from .errors import Attempt, InvalidRequestError

_ROLES = ("system", "developer", "user", "assistant", "tool")

T = TypeVar("T")

# A finish reason that says that the answer is not all there: vLLM's and OpenAI's "length", Mistral's "model_length",
# and "abort" of a vLLM that was stopped (docs/explanation/protocol.md, "Answers").
_CUT_SHORT = frozenset({"length", "model_length", "abort"})


class _Wire(BaseModel):
    # Built when the first answer is read, which half of importing this library would otherwise go to.
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", defer_build=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        """Leave out what is None: servers send a dozen such fields."""
        return ((name, value) for name, value in super().__repr_args__() if value is not None)


class FunctionCall(_Wire):
    """The function that the model wants to have called.

    Attributes:
        name: Of one of the functions that were offered, if the model keeps to them.
        arguments: JSON text as the model wrote it; it may be malformed.
    """

    name: str = ""
    arguments: str = Field(default="", description="JSON text as the model wrote it; it may be malformed.")


class ToolCall(_Wire):
    """One call of a tool, whole.

    Attributes:
        id: To be given back as the ``tool_call_id`` of the result.
        type: ``"function"``.
        function: What to call, and with what.
    """

    id: str = ""
    type: str = "function"
    function: FunctionCall = Field(default_factory=FunctionCall)


class SystemMessage(_Wire):
    """What the model should keep to.

    Attributes:
        role: ``"system"``.
        content: Text, or OpenAI's parts: ``[{"type": "text", "text": "..."}]``.
    """

    role: Literal["system"] = "system"
    content: str | Sequence[Mapping[str, object]]


class UserMessage(_Wire):
    """What the user says.

    Attributes:
        role: ``"user"``.
        content: Text, or OpenAI's parts: ``[{"type": "text", "text": "..."}]``.
    """

    role: Literal["user"] = "user"
    content: str | Sequence[Mapping[str, object]]


class AssistantMessage(_Wire):
    """What the model said: the message of an answer, and just as well an input message.

    As an input it is sent without its reasoning, and with its refusal as the content, where it has no other.

    Attributes:
        role: ``"assistant"``.
        content: The text; None beside tool calls, mostly.
        tool_calls: What the model wants to have called; None for nothing.
        reasoning: Of servers that keep it apart; also read as ``reasoning_content``.
        refusal: Why the model won't answer, in OpenAI's own field for that.
    """

    role: Literal["assistant"] = "assistant"
    content: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning: str | None = Field(default=None, validation_alias=AliasChoices("reasoning", "reasoning_content"))
    refusal: str | None = None

    @model_validator(mode="after")
    def _take_other_name(self) -> Self:
        other = other_reasoning(self)
        if other and not self.reasoning:
            self.reasoning = other
        return self


def other_reasoning(part: AssistantMessage | Delta) -> str | None:
    """Return the reasoning of a server that sends it as ``reasoning_content``, beside a null by the other name."""
    other: object = (part.model_extra or {}).get("reasoning_content")
    return other if isinstance(other, str) else None


class ToolMessage(_Wire):
    """What a tool returned.

    Attributes:
        role: ``"tool"``.
        content: The result, as text or as parts.
        tool_call_id: The ``id`` of the call that it answers.
        name: Of the function; no server needs it.
    """

    role: Literal["tool"] = "tool"
    content: str | Sequence[Mapping[str, object]]
    tool_call_id: str
    name: str | None = None


Message: TypeAlias = SystemMessage | UserMessage | AssistantMessage | ToolMessage | Mapping[str, object]
"""An input message: one of the classes, or a plain dict of the same shape."""


Repairing: TypeAlias = Literal["auto", "fill", "strict", "off"]
"""How far a conversation is put right before it is sent: ``repair=``."""


Rule: TypeAlias = Literal[
    "role",
    "empty_content",
    "prefix",
    "tool_call_id",
    "tool_call_type",
    "tool_name",
    "arguments",
    "order",
    "missing_result",
    "user_after_tool",
    "parameters",
]


@dataclass(frozen=True, slots=True)
class Repair:
    """Something that was put right in what was sent; the caller's own messages and tools stay as they are.

    Attributes:
        rule: Which of the model's rules it is about.
        message: The index in the caller's messages; None for one about the tools.
        detail: What was wrong and what was sent instead, in a sentence.
    """

    rule: Rule
    message: int | None
    detail: str


def read_messages(messages: object) -> list[Mapping[str, object]]:
    """Check a conversation, and read it as it will be sent; dicts stay the caller's own.

    Args:
        messages: The conversation; a string is one user message.

    Raises:
        InvalidRequestError: There is none, or one of them is no message.
    """
    if isinstance(messages, str) and messages:
        return [{"role": "user", "content": messages}]
    if not isinstance(messages, str) and not is_array(messages):
        msg = f"messages is a {type(messages).__name__}: give a string or a list of messages."
        raise InvalidRequestError(msg, parameter="messages")
    if not messages:
        msg = "messages is empty: give at least one message."
        raise InvalidRequestError(msg, parameter="messages")
    return [read_message(message, index) for index, message in enumerate(messages)]


def read_message(message: object, index: int) -> Mapping[str, object]:
    """Check and read the message at an index of a conversation."""
    if not is_object(message):
        message = _wire_fields(message, index)
    role = message.get("role")
    if role not in _ROLES:
        msg = f"messages[{index}] has role {role!r}: give one of {', '.join(_ROLES)}."
        raise InvalidRequestError(msg, parameter=f"messages[{index}].role")
    content = message.get("content")
    missing = content is None and role != "assistant" and "content" not in message
    # Asking an abstract class takes long, so it is the last thing to be asked.
    if missing or not (isinstance(content, str) or content is None or isinstance(content, Sequence)):
        what = "no content" if missing else f"content of type {type(content).__name__}"
        msg = f"messages[{index}] (role {role}) has {what}: give a string or a list of parts."
        raise InvalidRequestError(msg, parameter=f"messages[{index}].content")
    return message


def _wire_fields(message: object, index: int) -> dict[str, object]:
    if isinstance(message, AssistantMessage):
        return _wire_answer(message)
    if isinstance(message, SystemMessage | UserMessage | ToolMessage):
        return message.model_dump(exclude_none=True)
    what = "its choices[0].message" if isinstance(message, ChatCompletion) else "a dict or one of the message classes"
    msg = f"messages[{index}] is a {type(message).__name__}: give {what}."
    raise InvalidRequestError(msg, parameter=f"messages[{index}]")


def _wire_answer(message: AssistantMessage) -> dict[str, object]:
    # Only what a server takes back: some refuse any further field, and reasoning is not part of a history
    # (docs/explanation/protocol.md, "Answers made by the gateway" and "Mistral's conversation rules"). A refusal is
    # taken back as content by all of them; beside content only by those that send it there, as OpenAI's API does.
    wire: dict[str, object] = {"role": "assistant", "content": message.content or message.refusal or ""}
    if message.content and message.refusal:
        wire["refusal"] = message.refusal
    if (message.model_extra or {}).get("prefix"):
        wire["prefix"] = True
    if message.tool_calls:
        wire["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
            for c in message.tool_calls
        ]
    return wire


class PromptTokensDetails(_Wire):
    """How the prompt's tokens divide."""

    cached_tokens: int | None = None


class CompletionTokensDetails(_Wire):
    """How the answer's tokens divide."""

    reasoning_tokens: int | None = None


class Usage(_Wire):
    """Tokens that a request took, as the server counted them.

    Attributes:
        prompt_tokens: Read.
        completion_tokens: Written, over all choices.
        total_tokens: Both.
        prompt_tokens_details: How many came from a cache, where the server tells.
        completion_tokens_details: How many were reasoning, where the server tells.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


class TopLogprob(_Wire):
    """A token that could have been chosen."""

    token: str = ""
    logprob: float = Field(default=-inf, description="Some servers send null for minus infinity.")
    bytes: list[int] | None = None


class TokenLogprob(TopLogprob):
    """A token that was chosen, with its runners-up."""

    top_logprobs: list[TopLogprob] = Field(default_factory=list[TopLogprob])


class ChoiceLogprobs(_Wire):
    """Log probabilities of a choice's tokens."""

    content: list[TokenLogprob] | None = None


@dataclass(frozen=True, slots=True)
class ResponseInfo:
    """What is known of the HTTP answer behind a result.

    Attributes:
        status_code: The HTTP status.
        request_id: The id to quote to whoever runs the server (``nvcf-reqid`` or ``x-request-id``).
        headers: Response headers, names in lower case, without cookies.
        attempts: Every try, in order; the last is the one that this answer came from.
        elapsed: Seconds from the call to the answer (to its headers, for a stream), waits included.
        repairs: What was put right in the conversation that was sent.
        dropped: The messages that were left out of it, to make it fit the window.
    """

    status_code: int = 200
    request_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    attempts: tuple[Attempt, ...] = ()
    elapsed: float = 0.0
    repairs: tuple[Repair, ...] = ()
    dropped: tuple[Message, ...] = ()


class _Answer(_Wire):
    """An answer of the server, with the HTTP answer it came in."""

    _response: ResponseInfo = PrivateAttr(default_factory=ResponseInfo)

    @property
    def response(self) -> ResponseInfo:
        """Request id, headers, attempts and elapsed time."""
        return self._response

    def answered_by(self, response: ResponseInfo) -> Self:
        """Note the HTTP answer that this came in; for the library."""
        self._response = response
        return self


class Choice(_Wire):
    """One of the ``n`` answers.

    Attributes:
        index: Its number, from 0.
        message: What the model said.
        finish_reason: Why it ended: ``"stop"``, ``"length"``, ``"tool_calls"``, ...; None if it broke off.
        logprobs: Log probabilities of its tokens, if asked for.
    """

    index: int = 0
    message: AssistantMessage = Field(default_factory=AssistantMessage)
    finish_reason: str | None = None
    logprobs: ChoiceLogprobs | None = None

    @property
    def truncated(self) -> bool:
        """Whether the answer was cut short: by max_tokens, by the window, by a stopping server."""
        return self.finish_reason in _CUT_SHORT or any(_is_cut_off(c) for c in self.message.tool_calls or ())


def _is_cut_off(call: ToolCall) -> bool:
    # vLLM says finish_reason "tool_calls" for a call that max_tokens cut, its arguments ending in the middle
    # (docs/explanation/protocol.md, "Tool calls in streams").
    text = call.function.arguments
    if not text:
        return False
    try:
        from_json(text)
    except ValueError as error:
        return str(error).startswith("EOF")  # anything else is malformed, which is another matter
    return False


class ChatCompletion(_Answer):
    """A chat answer, as OpenAI shapes it, with what one mostly wants within reach.

    Attributes:
        id: The server's name for the answer.
        object: ``"chat.completion"``.
        created: When, in seconds since 1970.
        model: Who answered, as the server calls it.
        choices: The answers; one, unless ``n`` asked for more.
        usage: The tokens it took, where the server tells.
        system_fingerprint: The server's name for its setup.
    """

    id: str = ""
    object: str = "chat.completion"
    created: int = 0
    model: str = ""
    choices: list[Choice] = Field(default_factory=list[Choice])
    usage: Usage | None = None
    system_fingerprint: str | None = None

    @property
    def text(self) -> str:
        """The first choice's text; empty if it has none."""
        return (self.choices[0].message.content or "") if self.choices else ""

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The first choice's tool calls; empty if there are none."""
        return (self.choices[0].message.tool_calls or []) if self.choices else []

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """What was put right in the conversation that was sent; the caller's own messages stay as they are."""
        return self._response.repairs

    @property
    def truncated(self) -> bool:
        """Whether any choice was cut short; a server may clamp max_tokens to its window without an error."""
        return any(choice.truncated for choice in self.choices)


class ParsedCompletion(ChatCompletion, Generic[T]):
    """A chat answer of a given form.

    Attributes:
        parsed: The value.
        discarded: The answers before it that were not of the form, with what they cost.
    """

    _parsed: T = PrivateAttr()
    _discarded: tuple[ChatCompletion, ...] = PrivateAttr(default=())

    @property
    def parsed(self) -> T:
        """The answer's value, validated."""
        return self._parsed

    @property
    def discarded(self) -> tuple[ChatCompletion, ...]:
        """The answers before it that were not of the form."""
        return self._discarded

    def holding(self, parsed: T, discarded: Sequence[ChatCompletion]) -> Self:
        """Note the value; for the library."""
        self._parsed, self._discarded = parsed, tuple(discarded)
        return self


def with_value(completion: ChatCompletion, parsed: T, discarded: Sequence[ChatCompletion] = ()) -> ParsedCompletion[T]:
    """Add the value to an answer; for the library."""
    whole = ParsedCompletion[T].model_construct(**dict(completion))  # with the class's own T it is the class itself
    return whole.holding(parsed, discarded).answered_by(completion.response)


class FunctionCallDelta(_Wire):
    """A piece of a function call."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(_Wire):
    """A piece of a tool call.

    Attributes:
        index: Which call of the answer it belongs to, where the server sends it.
        id: With the first piece of a call.
        type: ``"function"``, with the first piece.
        function: A piece of its name and arguments.
    """

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: FunctionCallDelta | None = None


class Delta(_Wire):
    """What a chunk adds to a choice.

    Attributes:
        role: With the first piece.
        content: A piece of the text.
        tool_calls: Pieces of tool calls.
        reasoning: A piece of it; also read as ``reasoning_content``.
        refusal: A piece of it.
    """

    role: str | None = None
    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    reasoning: str | None = Field(default=None, validation_alias=AliasChoices("reasoning", "reasoning_content"))
    refusal: str | None = None


class ChunkChoice(_Wire):
    """A chunk's part of one choice.

    Attributes:
        index: Which of the ``n`` answers it belongs to, from 0.
        delta: What it adds.
        finish_reason: Why the answer ended, in its last chunk.
        logprobs: Log probabilities of its tokens, if asked for.
    """

    index: int = 0
    delta: Delta = Field(default_factory=Delta)
    finish_reason: str | None = None
    logprobs: ChoiceLogprobs | None = None


class ChatCompletionChunk(_Wire):
    """One piece of a streamed chat answer.

    Attributes:
        id: The server's name for the answer.
        object: ``"chat.completion.chunk"``.
        created: When, in seconds since 1970.
        model: Who answered, as the server calls it.
        choices: What is added to which answer; empty in a chunk that only has the usage.
        usage: The tokens it took; in the last chunk, if asked for.
        system_fingerprint: The server's name for its setup.
    """

    id: str = ""
    object: str = "chat.completion.chunk"
    created: int = 0
    model: str = ""
    choices: list[ChunkChoice] = Field(default_factory=list[ChunkChoice])
    usage: Usage | None = None
    system_fingerprint: str | None = None


class TextLogprobs(_Wire):
    """Log probabilities in the older form of ``/completions``."""

    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None
    text_offset: list[int] | None = None


class TextChoice(_Wire):
    """One of the ``n`` continuations, or a chunk's part of one.

    Attributes:
        index: Its number, from 0.
        text: What continues the prompt.
        finish_reason: Why it ended: ``"stop"``, ``"length"``, ...; None before that.
        logprobs: Log probabilities of its tokens, if asked for.
    """

    index: int = 0
    text: str = ""
    finish_reason: str | None = None
    logprobs: TextLogprobs | None = None


class Completion(_Answer):
    """A continuation of a prompt; a streamed one comes as several of these.

    Attributes:
        id: The server's name for the answer.
        object: ``"text_completion"``.
        created: When, in seconds since 1970.
        model: Who answered, as the server calls it.
        choices: The continuations; one, unless ``n`` asked for more.
        usage: The tokens it took, where the server tells.
        system_fingerprint: The server's name for its setup.
    """

    id: str = ""
    object: str = "text_completion"
    created: int = 0
    model: str = ""
    choices: list[TextChoice] = Field(default_factory=list[TextChoice])
    usage: Usage | None = None
    system_fingerprint: str | None = None

    @property
    def text(self) -> str:
        """The first choice's text; empty if it has none."""
        return self.choices[0].text if self.choices else ""

    @property
    def truncated(self) -> bool:
        """Whether any choice was cut short."""
        return any(choice.finish_reason in _CUT_SHORT for choice in self.choices)


class Model(_Wire):
    """A model that a server offers.

    Attributes:
        id: Its name, for ``model=``.
        object: ``"model"``.
        created: When, in seconds since 1970; not to be relied on.
        owned_by: Who the server says made it.
        max_model_len: The window in tokens; only vLLM-based servers say it.
    """

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = ""
    max_model_len: int | None = Field(default=None, description="The window in tokens; only vLLM-based servers say it.")


class ModelList(list[Model]):
    """The models that a server offers; also as ``.data``, as OpenAI has it."""

    @property
    def data(self) -> list[Model]:
        """The same models."""
        return self


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a server can answer requests now; true or false in a condition.

    Attributes:
        ready: Whether it can.
        detail: What it said, or why it could not be asked.
        status_code: The HTTP status of the answer; None when none came.
    """

    ready: bool
    detail: str
    status_code: int | None = None

    def __bool__(self) -> bool:
        """Return whether the server is ready."""
        return self.ready


class ServerVersion(_Wire):
    """What a server says of its version: vLLM sends ``version``, NIM sends ``release`` and ``api``.

    Attributes:
        version: vLLM's version, or the NIM's release.
        api: The version of NIM's API; None elsewhere.
    """

    version: str | None = Field(default=None, validation_alias=AliasChoices("version", "release"))
    api: str | None = None
