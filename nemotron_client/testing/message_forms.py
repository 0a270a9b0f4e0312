"""The form of messages, by vLLM's own names: it tells of each kind of message why one is none of that kind. Pure."""

from collections.abc import Iterable
from typing import Any, Literal, NotRequired, TypeAlias

from pydantic import BaseModel
from typing_extensions import TypedDict


class _CalledFunction(TypedDict):
    name: str
    arguments: str


class ChatCompletionMessageFunctionToolCallParam(TypedDict):
    """A call of a function, by vLLM's name, which is in its words."""

    id: str
    function: _CalledFunction
    type: Literal["function"]


class ChatCompletionMessageCustomToolCallParam(TypedDict):
    """A call of another kind, by vLLM's name."""

    id: str
    custom: dict[str, Any]
    type: Literal["custom"]


Calls: TypeAlias = list[ChatCompletionMessageFunctionToolCallParam | ChatCompletionMessageCustomToolCallParam]


class ChatCompletionContentPartTextParam(TypedDict):
    """A text in a message, by vLLM's name."""

    text: str
    type: Literal["text"]


class _URL(TypedDict):
    url: str


class ChatCompletionContentPartImageParam(TypedDict):
    """An image in a message, by vLLM's name."""

    image_url: _URL
    type: Literal["image_url"]


class _Audio(TypedDict):
    data: str
    format: Literal["wav", "mp3"]


class ChatCompletionContentPartInputAudioParam(TypedDict):
    """A sound in a message, by vLLM's name."""

    input_audio: _Audio
    type: Literal["input_audio"]


class File(TypedDict):
    """A file in a message, by vLLM's name."""

    file: dict[str, Any]
    type: Literal["file"]


Parts: TypeAlias = Iterable[
    ChatCompletionContentPartTextParam
    | ChatCompletionContentPartImageParam
    | ChatCompletionContentPartInputAudioParam
    | File
]
TextParts: TypeAlias = Iterable[ChatCompletionContentPartTextParam]


class ChatCompletionContentPartRefusalParam(TypedDict):
    """A refusal in an answer, by vLLM's name."""

    refusal: str
    type: Literal["refusal"]


class ThinkChunk(BaseModel):
    """What a model thought before it answered, by the name that mistral-common gives it."""

    thinking: str


AnswerParts: TypeAlias = Iterable[ChatCompletionContentPartTextParam | ChatCompletionContentPartRefusalParam]


class ChatCompletionDeveloperMessageParam(TypedDict):
    """A message that this model knows none of."""

    content: str | TextParts
    role: Literal["developer"]
    name: NotRequired[str]


class ChatCompletionSystemMessageParam(TypedDict):
    """A system prompt."""

    content: str | TextParts
    role: Literal["system"]
    name: NotRequired[str]


class ChatCompletionUserMessageParam(TypedDict):
    """A question."""

    content: str | Parts
    role: Literal["user"]
    name: NotRequired[str]


class ChatCompletionAssistantMessageParam(TypedDict):
    """An answer."""

    role: Literal["assistant"]
    content: NotRequired[str | AnswerParts | None]
    name: NotRequired[str]
    refusal: NotRequired[str | None]
    tool_calls: NotRequired[Iterable[Any]]


class ChatCompletionToolMessageParam(TypedDict):
    """The result of a tool."""

    content: str | TextParts
    role: Literal["tool"]
    tool_call_id: str


class ChatCompletionFunctionMessageParam(TypedDict):
    """The result of a function, as it was before there were tools."""

    content: str | None
    name: str
    role: Literal["function"]


class CustomChatCompletionMessageParam(TypedDict):
    """A message of a role that a chat template may know."""

    role: str
    content: NotRequired[str | list[Any]]
    name: NotRequired[str]
    tool_call_id: NotRequired[str | None]
    tool_calls: NotRequired[Iterable[Any] | None]
    reasoning: NotRequired[str | None]


class Author(BaseModel):
    """Who wrote a message of OpenAI's Harmony."""

    role: Literal["user", "assistant", "system", "developer", "tool"]
    name: str | None = None


class Content(BaseModel):
    """A part of a message of OpenAI's Harmony."""


class Message(BaseModel):
    """A message of OpenAI's Harmony."""

    author: Author
    content: list[Content] = []
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None


AnyMessage: TypeAlias = (
    ChatCompletionDeveloperMessageParam
    | ChatCompletionSystemMessageParam
    | ChatCompletionUserMessageParam
    | ChatCompletionAssistantMessageParam
    | ChatCompletionToolMessageParam
    | ChatCompletionFunctionMessageParam
    | CustomChatCompletionMessageParam
    | Message
)
