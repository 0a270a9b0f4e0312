"""The form of the bodies that vLLM takes, and what it says of one that has another.

vLLM reads bodies with pydantic as well, so the words are its own where the classes are alike: fields of the same names
and types, in the same order. A class of ours begins with an underscore, which tells that its name is not in vLLM's
words. Pure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from nemotron_client._json import is_array, is_object
from nemotron_client.testing.replies import Reply, error

T = TypeVar("T")
_Fields: TypeAlias = Mapping[str, Any]

DEFAULT_OF_TEXT = 16
"""How many tokens a text completion has where the request doesn't say it."""

_MOST_ROWS = 10
_LONGEST_SHOWN = 200  # characters
# What pydantic says of the branch of a union that it tried, and which vLLM leaves out: so it does with a field that is
# called "arguments".
_BRANCHES = frozenset({"arguments", "int", "str"})


class _Function(BaseModel):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(BaseModel):
    type: Literal["function"] = "function"
    function: _Function


class _JSONSchema(BaseModel):
    name: str
    description: str | None = None
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class _ResponseFormat(BaseModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JSONSchema | None = None


class _StructuralTag(BaseModel):
    type: Literal["structural_tag"]
    format: Any


class _LegacyStructuralTag(BaseModel):
    type: Literal["structural_tag"]
    structures: list[dict[str, Any]]
    triggers: list[str]


class _StreamOptions(BaseModel):
    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class Body(BaseModel):
    """What a request for a chat completion or a text completion asks for; fields without effect here are left out."""

    model: str | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    max_tokens: int | None = None
    n: int | None = 1
    presence_penalty: float | None = None
    response_format: _ResponseFormat | _StructuralTag | _LegacyStructuralTag | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: list[int] | None = None
    min_tokens: int = 0
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None
    prompt_logprobs: int | None = None
    allowed_token_ids: list[int] | None = None
    bad_words: list[str] = []
    structured_outputs: dict[str, Any] | None = None


class ChatBody(Body):
    """A body for /v1/chat/completions."""

    top_logprobs: int | None = None
    max_completion_tokens: int | None = None
    tools: list[_Tool] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @property
    def most_tokens(self) -> int | None:
        """How many tokens the answer may have, as far as the request says."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def most_logprobs(self) -> int | None:
        """How many alternatives are wanted for each token."""
        return self.top_logprobs


_Tokens: TypeAlias = list[Annotated[int, Field(ge=0)]]


class TextBody(Body):
    """A body for /v1/completions."""

    prompt: _Tokens | list[_Tokens] | str | list[str] | None = None
    logprobs: int | None = None
    suffix: str | None = None

    @property
    def most_tokens(self) -> int:
        """How many tokens the answer may have."""
        return DEFAULT_OF_TEXT if self.max_tokens is None else self.max_tokens

    @property
    def most_logprobs(self) -> int | None:
        """How many alternatives are wanted for each token."""
        return self.logprobs


class _TokenizedText(BaseModel):
    model: str | None = None
    prompt: str


class _TokenizedChat(BaseModel):
    model: str | None = None
    messages: list[Any]
    tools: list[_Tool] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False


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


_CHAT: TypeAdapter[ChatBody] = TypeAdapter(ChatBody)
_TEXT: TypeAdapter[TextBody] = TypeAdapter(TextBody)
_TOKENIZED: TypeAdapter[_TokenizedText | _TokenizedChat] = TypeAdapter(_TokenizedText | _TokenizedChat)
_CALLS: TypeAdapter[Any] = TypeAdapter(
    list[ChatCompletionMessageFunctionToolCallParam | ChatCompletionMessageCustomToolCallParam]
)


class Malformed(Exception):  # noqa: N818 - a refusal on its way to the client
    """Carry what is told of a body that has another form."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


def chat_body(fields: _Fields) -> ChatBody:
    """Read a body for /v1/chat/completions.

    Raises:
        Malformed: It has another form.
    """
    messages = fields.get("messages")
    if "messages" not in fields:
        raise Malformed(invalid("body.messages", "missing", "Field required", fields))
    if not is_array(messages):
        raise Malformed(invalid("body.messages", "list_type", "Input should be a valid list", messages))
    _check_messages(messages)
    body = _read(_CHAT, fields)
    _check_calls(messages)
    return body


def text_body(fields: _Fields) -> TextBody:
    """Read a body for /v1/completions.

    Raises:
        Malformed: It has another form.
    """
    return _read(_TEXT, fields)


def first(refusals: Iterator[Reply]) -> Reply | None:
    """Return the first refusal, which may be that the body has another form."""
    try:
        return next(refusals, None)
    except Malformed as malformed:
        return malformed.reply


def check_tokenized(fields: _Fields) -> None:
    """Look at a body for /tokenize.

    Raises:
        Malformed: It has another form.
    """
    messages = fields.get("messages")
    _read(_TOKENIZED, fields)
    if is_array(messages):
        _check_messages(messages)
        _check_calls(messages)


def invalid(where: str, kind: str, message: str, value: object, ctx: object = None) -> Reply:
    """Refuse a body for one thing that is wrong with its form."""
    return _invalid([_row(where, kind, message, value, ctx)], 1, where)


def _check_messages(messages: Sequence[object]) -> None:
    for index, message in enumerate(messages):
        _check_message(message, f"body.messages.{index}")


def _check_calls(messages: Sequence[object]) -> None:
    for message in messages:
        if is_object(message) and message.get("role") == "assistant" and message.get("tool_calls") is not None:
            _read(_CALLS, message["tool_calls"])


def _check_message(message: object, where: str) -> None:
    # vLLM tells what is wrong by each of the eight kinds of messages that it tries.
    if not is_object(message):
        raise Malformed(invalid(where, "dict_type", "Input should be a valid dictionary", message))
    for name in ("role", "name", "tool_call_id"):
        if not isinstance(value := message.get(name), str | None):
            raise Malformed(invalid(f"{where}.{name}", "string_type", "Input should be a valid string", value))
    content = message.get("content", "")
    if isinstance(content, str) or is_array(content) or (content is None and message.get("role") == "assistant"):
        return
    raise Malformed(invalid(f"{where}.content", "string_type", "Input should be a valid string", content))


def _read(form: TypeAdapter[T], value: object) -> T:
    try:
        return form.validate_python(value, from_attributes=True)
    except ValidationError as wrong:
        errors = wrong.errors(include_url=False)
    places = [_place(each["loc"]) for each in errors]
    rows = [
        _row(place, each["type"], each["msg"], each["input"], each.get("ctx"))
        for place, each in zip(places, errors[:_MOST_ROWS], strict=False)
    ]
    raise Malformed(_invalid(rows, len(errors), places[0]))


def _place(loc: tuple[str | int, ...]) -> str:
    names = (str(each) for each in loc)
    return ".".join(["body", *(name for name in names if name not in _BRANCHES and not re.search(r"^_|[\[(]", name))])


def _row(where: str, kind: str, message: str, value: object, ctx: object) -> dict[str, object]:
    shown = str(value)
    if len(shown) > _LONGEST_SHOWN:
        shown = f"{shown[:_LONGEST_SHOWN]}...[truncated]"
    if isinstance(value, Sized) and not isinstance(value, str):
        shown = f"<{type(value).__name__} of {len(value)} items>"
    row: dict[str, object] = {"type": kind, "loc": where, "msg": message, "input": shown}
    return row if ctx is None else {**row, "ctx": ctx}


def _invalid(rows: Sequence[_Fields], count: int, where: str) -> Reply:
    more = [] if count == len(rows) else [f"...and {count - len(rows)} more errors"]
    told = "\n  ".join([f"{count} validation error{'s' if count > 1 else ''}:", *map(str, rows), *more])
    return error(400, told, type="Bad Request", param=where)
