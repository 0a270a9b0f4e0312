"""Pydantic models of what servers answer: completions, their chunks, usage, log probabilities.

Lenient: unknown fields are kept, everything a server may leave out has a default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Generic, Self, TypeVar

from pydantic import AliasChoices, Field, PrivateAttr
from pydantic_core import from_json

from .errors import Attempt
from .messages import AssistantMessage, Message, Repair, ToolCall, Wire

T = TypeVar("T")

# A finish reason that says that the answer is not all there: vLLM's and OpenAI's "length", Mistral's "model_length",
# "abort" of a vLLM that was stopped, and "error" of a gateway whose own server failed in the middle
# (docs/explanation/protocol.md, "Answers").
CUT_SHORT = frozenset({"length", "model_length", "abort", "error"})


class PromptTokensDetails(Wire):
    """How the prompt's tokens divide."""

    cached_tokens: int | None = None


class CompletionTokensDetails(Wire):
    """How the answer's tokens divide."""

    reasoning_tokens: int | None = None


class Usage(Wire):
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


class TopLogprob(Wire):
    """A token that could have been chosen."""

    token: str = ""
    logprob: float = Field(default=-inf, description="Some servers send null for minus infinity.")
    bytes: list[int] | None = None


class TokenLogprob(TopLogprob):
    """A token that was chosen, with its runners-up."""

    top_logprobs: list[TopLogprob] = Field(default_factory=list[TopLogprob])


class ChoiceLogprobs(Wire):
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


class _Answer(Wire):
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


class Choice(Wire):
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
        """Whether the answer was cut short: by max_tokens, by the window, by a server that stops or fails."""
        return self.finish_reason in CUT_SHORT or any(_is_cut_off(c) for c in self.message.tool_calls or ())


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


class FunctionCallDelta(Wire):
    """A piece of a function call."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(Wire):
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


class Delta(Wire):
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


class ChunkChoice(Wire):
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


class ChatCompletionChunk(Wire):
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


class TextLogprobs(Wire):
    """Log probabilities in the older form of ``/completions``."""

    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None
    text_offset: list[int] | None = None


class TextChoice(Wire):
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
        return any(choice.finish_reason in CUT_SHORT for choice in self.choices)
