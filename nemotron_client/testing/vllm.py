"""vLLM of version 0.32, as NIM 2 wraps it: its pages, its refusals, and what it lets pass in silence.

Pure: request in, reply out. Measured on a real one, and compared with its answers by `tests/contract`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Annotated, Any, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nemotron_client.testing.answers import Served, completion
from nemotron_client.testing.conversation import broken_rule
from nemotron_client.testing.recorded import CHAT, COMPLETIONS, RecordedRequest
from nemotron_client.testing.replies import CREATED, Reply, error

_ROLES = frozenset({"system", "user", "assistant", "tool"})
_CHOICES = frozenset({"auto", "none", "required"})
_TOKENIZE = "/tokenize"


@dataclass(frozen=True, slots=True)
class VLLM:
    """Behave as vLLM does."""

    def refusal(self, request: RecordedRequest, served: Served) -> Reply | None:
        """Refuse a request before anything else is looked at."""
        key = served.api_key
        if key is None or not request.path.startswith("/v1") or request.headers.get("authorization") == f"Bearer {key}":
            return None
        return Reply(status=401, body={"error": "Unauthorized"})

    def answer(self, request: RecordedRequest, served: Served) -> Reply:
        """Return its pages, a refusal in its words, or a completion."""
        page = _page(request.path, served)
        if page is None and request.path not in (*COMPLETIONS, _TOKENIZE):
            return Reply(status=404, body={"detail": "Not Found"})
        allowed = "GET" if page else "POST"
        if request.method != allowed:
            return Reply(status=405, headers={"allow": allowed}, body={"detail": "Method Not Allowed"})
        shown = page or _unreadable(request) or next(_refusals(request, served), None)
        if shown is not None:
            return shown
        if request.path == _TOKENIZE:
            counted = {"count": request.tokens, "max_model_len": served.max_model_len}
            return Reply(body={**counted, "tokens": [*range(request.tokens)], "token_strs": None})
        return completion(request, room=served.max_model_len - request.tokens)(request)

    def finished(self, reply: Reply, request: RecordedRequest) -> Reply:  # noqa: ARG002 - as the gateway's, which needs it
        """Return a reply as it leaves the server: as it is."""
        return reply


def malformed(fields: Mapping[str, Any], *, chat: bool) -> Iterator[Reply]:
    """Yield what is wrong with a body's form; its own words are pydantic's, which vLLM has too."""
    messages = fields.get("messages")
    if chat and "messages" not in fields:
        yield _invalid("body.messages", "missing", "Field required", fields)
    elif chat and not _is_list(messages):
        yield _invalid("body.messages", "list_type", "Input should be a valid list", messages)
    elif _is_list(messages):
        yield from _malformed_messages(messages)
    try:
        _Body.model_validate(fields)
    except ValidationError as wrong:
        rows = [
            (".".join(["body", *map(str, row["loc"])]), row["type"], row["msg"], row["input"], row.get("ctx"))
            for row in wrong.errors(include_url=False)
        ]
        yield _invalid_rows([_row(*row) for row in rows], rows[0][0])
    choice = fields.get("tool_choice")
    if _is_object(choice) and not _is_object(choice.get("function")):
        usage = '{"type": "function", "function": {"name": "my_function"}}'
        message = f"Value error, Expected field `function` in `tool_choice`. Correct usage: `{usage}`"
        yield _invalid("body", "value_error", message, choice)


def impossible(fields: Mapping[str, Any], window: int) -> Iterator[Reply]:
    """Yield the values that vLLM refuses."""
    yield from _out_of_range(fields)
    if (value := _number(fields, "max_completion_tokens", _number(fields, "max_tokens", 1))) < 1:
        yield _refused(f"max_tokens must be at least 1, got {value}.", "max_tokens", value)
    if value > window:
        told = f"max_tokens={value} cannot be greater than max_model_len={window}. Please request fewer output tokens."
        yield _refused(told, "max_tokens", value)
    yield from _impossible_together(fields)
    yield from _wrong_choice(fields.get("tools"), fields.get("tool_choice"))


def _out_of_range(fields: Mapping[str, Any]) -> Iterator[Reply]:
    for name in ("presence_penalty", "frequency_penalty"):
        if not -2 <= (value := _number(fields, name, 0)) <= 2:
            yield error(400, f"{name} must be in [-2, 2], got {float(value)}.")
    if (value := _number(fields, "temperature", 1)) < 0:
        yield _refused(f"temperature must be non-negative, got {float(value)}.", "temperature", float(value))
    if value > 2:
        yield _refused(f"temperature must be in [0, 2], got {float(value)}.", "temperature", float(value))
    if not 0 < (value := _number(fields, "top_p", 1)) <= 1:
        yield _refused(f"top_p must be in (0, 1], got {float(value)}.", "top_p", float(value))
    if (value := _number(fields, "n", 1)) < 1:
        yield error(400, f"n must be at least 1, got {value}.")
    if (value := _number(fields, "top_logprobs", 0)) > 20:
        told = f"Requested sample logprobs of {value}, which is greater than max allowed: 20"
        yield _refused(told, "logprobs", value)


def _impossible_together(fields: Mapping[str, Any]) -> Iterator[Reply]:
    if fields.get("top_logprobs") and not fields.get("logprobs"):
        yield _refused("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")
    if fields.get("stream_options") and not fields.get("stream"):
        yield _refused("Stream options can only be defined when `stream=True`.", "stream_options")
    wanted: Mapping[str, Any] = fields.get("response_format") or {}
    if wanted.get("type") == "json_schema" and not wanted.get("json_schema"):
        told = "When response_format type is 'json_schema', the 'json_schema' field must be provided."
        yield _refused(told, "response_format")


def _wrong_choice(tools: Sequence[Mapping[str, Any]] | None, choice: object) -> Iterator[Reply]:
    if tools is not None and not tools:
        told = "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely."
        yield _refused(told, "tools")
    if choice is None or choice == "none":
        return
    if not tools:
        yield _refused("When using `tool_choice`, `tools` must be set.", "tool_choice")
    elif _is_object(choice) and choice["function"].get("name") not in [tool["function"]["name"] for tool in tools]:
        told = "The tool specified in `tool_choice` does not match any of the specified `tools`"
        yield _refused(told, "tool_choice")
    elif isinstance(choice, str) and choice not in _CHOICES:
        kinds = 'Only named tools, "none", "auto" or "required" are supported.'
        yield _refused(f"Invalid value for `tool_choice`: {choice}! {kinds}", "tool_choice")


def unreadable_conversation(messages: Sequence[Mapping[str, Any]]) -> Iterator[Reply]:
    """Yield what vLLM stumbles over before Mistral's rules are asked."""
    if not messages:
        yield error(400, "list index out of range")
    for message in messages:
        if message.get("role") not in _ROLES:
            yield error(400, f"Unknown message role: {message.get('role')}")
        for name in ("content", "tool_call_id"):
            needed = message.get("role") == "tool" or (name == "content" and message.get("role") != "assistant")
            if needed and name not in message:
                yield error(400, f"'{name}'")


def _unreadable(request: RecordedRequest) -> Reply | None:
    if not request.headers.get("content-type", "").startswith("application/json"):
        message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        return error(400, message, type="Bad Request")
    if not request.body:
        return _invalid("body", "missing", "Field required", None)
    try:
        fields = json.loads(request.body)
    except json.JSONDecodeError as wrong:
        return _invalid(f"body.{wrong.pos}", "json_invalid", "JSON decode error", {}, {"error": wrong.msg})
    if isinstance(fields, dict):
        return None
    what = "Input should be a valid dictionary or object to extract fields from"
    return _invalid("body", "model_attributes_type", what, fields)


def _refusals(request: RecordedRequest, served: Served) -> Iterator[Reply]:
    """Yield what is wrong in the order in which vLLM looks; it tells of the first."""
    fields = request.json
    chat = request.path == CHAT or (request.path == _TOKENIZE and "messages" in fields)
    yield from malformed(fields, chat=chat)
    if (asked := fields.get("model") or served.model) != served.model:
        yield error(404, f"The model `{asked}` does not exist. Valid aliases: {served.model}.", param="model")
    if not chat and not fields.get("prompt"):
        yield _refused("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
    yield from impossible(fields, served.max_model_len)
    if chat:
        yield from _wrong_conversation(fields)
    if request.path != _TOKENIZE:
        yield from _overflow(request.tokens, served.max_model_len, chat=chat)


def _wrong_conversation(fields: Mapping[str, Any]) -> Iterator[Reply]:
    messages = fields["messages"]
    yield from unreadable_conversation(messages)
    continued = bool(fields.get("continue_final_message")) and fields.get("add_generation_prompt") is False
    if messages[-1]["role"] == "assistant" and not continued:
        told = "Cannot set `add_generation_prompt` to True when the last message is from the assistant."
        yield error(400, f"{told} Consider using `continue_final_message` instead.")
    broken = broken_rule(messages, fields.get("tools") or (), continued=continued, hosted=False)
    if broken is not None:
        yield error(400, broken)


def _overflow(tokens: int, window: int, *, chat: bool) -> Iterator[Reply]:
    if tokens == window:
        yield _refused("max_tokens must be at least 1, got 0.", "max_tokens", 0)
    if tokens > window:
        count = tokens if chat else window + 1
        told = (
            f"This model's maximum context length is {window} tokens. However, your prompt contains "
            f"{'' if chat else 'at least '}{count} input tokens, which exceeds this limit even without any output "
            "tokens. Please reduce the length of the input prompt."
        )
        yield _refused(told, "input_tokens", count)


def _page(path: str, served: Served) -> Reply | None:
    model = served.model
    card: dict[str, object] = {"id": model, "object": "model", "created": CREATED, "owned_by": "vllm"}
    card |= {"root": model, "parent": None, "max_model_len": served.max_model_len, "permission": []}
    metadata: dict[str, object] = {"assetInfo": [], "licenseInfo": {}, "repository_override": "", "version": "2.1.5"}
    metadata |= {"modelInfo": [{"shortName": model, "modelUrl": ""}], "selectedModelProfileId": ""}
    bodies: dict[str, bytes | dict[str, object]] = {
        "/v1/models": {"object": "list", "data": [card]},
        "/health": b"",
        "/version": {"version": "0.32.0"},
        "/v1/health/ready": {"object": "health.response", "message": "Service is ready."},
        "/v1/health/live": {"object": "health.response", "message": "Service is live."},
        "/v1/version": {"release": "2.1.5", "api": "2.1.5"},
        "/v1/metadata": metadata,
    }
    return Reply(body=bodies[path]) if path in bodies else None


def _malformed_messages(messages: Sequence[object]) -> Iterator[Reply]:
    for index, message in enumerate(messages):
        where = f"body.messages.{index}"
        if not _is_object(message):
            yield _invalid(where, "dict_type", "Input should be a valid dictionary", message)
        elif not isinstance(content := message.get("content", ""), str | list) and (
            content is not None or message.get("role") != "assistant"
        ):
            yield _invalid(f"{where}.content", "string_type", "Input should be a valid string", content)


class _Function(BaseModel):
    name: str


class _Tool(BaseModel):
    model_config = ConfigDict(from_attributes=True)  # as vLLM's, for the same words

    function: _Function


class _Body(BaseModel):
    """The fields whose form is checked here; the rest is passed over."""

    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    top_logprobs: int | None = None
    n: int | None = None
    seed: int | None = None
    stream: bool | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    tools: list[_Tool] | None = None


def _number(fields: Mapping[str, Any], name: str, default: float) -> float:
    value = fields.get(name)
    return default if value is None else value if isinstance(value, int | float) else float(value)


def _is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list)


def _refused(told: str, param: str, value: object = None) -> Reply:
    where = f"parameter={param}" if value is None else f"parameter={param}, value={value}"
    return error(400, f"{told} ({where})", param=param)


def _invalid(where: str, kind: str, message: str, value: object, ctx: object = None) -> Reply:
    return _invalid_rows([_row(where, kind, message, value, ctx)], where)


def _row(where: str, kind: str, message: str, value: object, ctx: object) -> dict[str, object]:
    shown = str(value)
    if isinstance(value, Sized) and not isinstance(value, str):
        shown = f"<{type(value).__name__} of {len(value)} items>"
    row: dict[str, object] = {"type": kind, "loc": where, "msg": message, "input": shown}
    return row if ctx is None else {**row, "ctx": ctx}


def _invalid_rows(rows: Sequence[Mapping[str, object]], where: str) -> Reply:
    told = "\n  ".join([f"{len(rows)} validation error{'s' if len(rows) > 1 else ''}:", *map(str, rows)])
    return error(400, told, type="Bad Request", param=where)
