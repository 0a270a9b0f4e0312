"""What the test server answers when nothing is scripted: the routes of vLLM and NIM, and a model easy to predict.

Pure: request in, reply out.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Sized
from itertools import takewhile
from typing import Any, TypeGuard

from nemotron_client.testing.replies import (
    CREATED,
    Answer,
    RecordedRequest,
    Reply,
    error,
    prompt_tokens,
    text_of,
    words,
)

CHAT = "/v1/chat/completions"
COMPLETIONS = (CHAT, "/v1/completions")

STORY = (
    "Once upon a time there was a crane on the quay of a small port. It had lifted tea, pianos and once an elephant, "
    "but it had never seen the open sea. One night a storm tore it loose, and it drifted past the harbour wall under "
    "the stars. In the morning the fishermen towed it home, and it told them all about it."
)


def answer(request: RecordedRequest, *, model: str, max_model_len: int) -> Reply:
    """Return what a server of this model and window says: its pages, a refusal in vLLM's words, or a completion."""
    page = _page(request.path, model, max_model_len)
    if page is None and request.path not in (*COMPLETIONS, "/tokenize"):
        return Reply(status=404, body={"detail": "Not Found"})
    allowed = "GET" if page else "POST"
    if request.method != allowed:
        return Reply(status=405, headers={"allow": allowed}, body={"detail": "Method Not Allowed"})
    if request.path == "/tokenize":
        count = prompt_tokens(request.json)
        tokens = list(range(count))
        return Reply(body={"count": count, "max_model_len": max_model_len, "tokens": tokens, "token_strs": None})
    return page or _refusal(request, model) or _completion(request.json)(request)


def _page(path: str, model: str, max_model_len: int) -> Reply | None:
    if path.startswith("/v1/models/"):  # the hosted gateway's; vLLM has none
        if path != f"/v1/models/{model}":
            return Reply(status=404, body=f"Model does not exist by the name of {path.removeprefix('/v1/models/')}")
        owner = model.partition("/")[0]
        return Reply(body={"id": model, "object": "model", "created": 735790403, "owned_by": owner})
    card: dict[str, object] = {"id": model, "object": "model", "created": CREATED, "owned_by": "vllm"}
    card |= {"root": model, "parent": None, "max_model_len": max_model_len, "permission": []}
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


def _refusal(request: RecordedRequest, model: str) -> Reply | None:
    if not request.headers.get("content-type", "").startswith("application/json"):
        message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        return error(400, message, type="Bad Request")
    if not request.body:
        return _invalid("body", "missing", "Field required", None)
    try:
        fields = json.loads(request.body)
    except json.JSONDecodeError as wrong:
        return _invalid(f"body.{wrong.pos}", "json_invalid", "JSON decode error", {}, ctx={"error": wrong.msg})
    if not isinstance(fields, dict):
        what = "Input should be a valid dictionary or object to extract fields from"
        return _invalid("body", "model_attributes_type", what, fields)
    return next(_wrong_fields(request.json, model, chat=request.path == CHAT), None)


def _wrong_fields(fields: Mapping[str, Any], model: str, *, chat: bool) -> Iterator[Reply]:
    """Yield what is wrong in the order in which vLLM looks; it tells of the first."""
    messages = fields.get("messages")
    if chat and messages is None:
        yield _invalid("body.messages", "missing", "Field required", fields)
    if chat and not _is_list(messages):
        yield _invalid("body.messages", "list_type", "Input should be a valid list", messages)
    if chat and _is_list(messages):
        yield from _wrong_messages(messages)
    yield from _wrong_tools(fields.get("tools") or [], fields.get("tool_choice"))
    if not chat and not fields.get("prompt"):
        message = "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)"
        yield error(400, message, param="prompt")
    if (asked := fields.get("model", model)) != model:
        yield error(404, f"The model `{asked}` does not exist. Valid aliases: {model}.", param="model")
    if chat and not messages:
        yield error(400, "list index out of range")


def _wrong_messages(messages: Sequence[object]) -> Iterator[Reply]:
    for index, message in enumerate(messages):
        where = f"body.messages.{index}"
        if not _is_object(message):
            yield _invalid(where, "dict_type", "Input should be a valid dictionary", message)
        elif not isinstance(message.get("content"), str | list | None):
            yield _invalid(f"{where}.content", "string_type", "Input should be a valid string", message["content"])
        elif message.get("role") == "tool" and not message.get("tool_call_id"):
            what = f"{where}.ChatCompletionToolMessageParam.tool_call_id"
            yield _invalid(what, "missing", "Field required", message)


def _wrong_tools(tools: object, choice: object) -> Iterator[Reply]:
    if not _is_list(tools):
        yield _invalid("body.tools", "list_type", "Input should be a valid list", tools)
    for index, tool in enumerate(tools if _is_list(tools) else ()):
        function = tool.get("function") if _is_object(tool) else None
        if not _is_object(function):
            yield _invalid(f"body.tools.{index}.function", "missing", "Field required", tool)
        elif not isinstance(function.get("name"), str):
            yield _invalid(f"body.tools.{index}.function.name", "missing", "Field required", function)
    if _is_object(choice) and not _is_object(choice.get("function")):
        usage = '{"type": "function", "function": {"name": "my_function"}}'
        message = f"Value error, Expected field `function` in `tool_choice`. Correct usage: `{usage}`"
        yield _invalid("body", "value_error", message, choice)


def _is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list)


def _invalid(where: str, kind: str, message: str, value: object, **more: object) -> Reply:
    shown = str(value)
    if isinstance(value, Sized) and not isinstance(value, str):
        shown = f"<{type(value).__name__} of {len(value)} items>"
    row = {"type": kind, "loc": where, "msg": message, "input": shown, **more}
    return error(400, f"1 validation error:\n  {row}", type="Bad Request", param=where)


def _completion(fields: Mapping[str, Any]) -> Answer:
    messages: Sequence[Mapping[str, Any]] = fields.get("messages") or [{"role": "user", "content": fields["prompt"]}]
    asked = next((text_of(each.get("content")) for each in reversed(messages) if each.get("role") == "user"), "")
    results = [
        text_of(each.get("content")) for each in takewhile(lambda each: each.get("role") == "tool", reversed(messages))
    ]
    wanted: Mapping[str, Any] = fields.get("response_format") or {}
    if results:
        said = f"The answer is {' and '.join(reversed(results))}."
    elif function := _function(fields, asked):
        return Answer(tool_calls=((function["name"], _filled_json(function.get("parameters"), asked)),))
    elif wanted.get("type") in {"json_schema", "json_object"}:
        said = _filled_json(wanted.get("json_schema", {}).get("schema"), asked)
    else:
        said = _small_talk(asked)
    limit = fields.get("max_completion_tokens") or fields.get("max_tokens")
    short = "".join(words(said)[:limit])
    return Answer(text=short, finish_reason="stop" if short == said else "length")


def _small_talk(asked: str) -> str:
    heard = {word.lower() for word in re.findall(r"\w+", asked)}
    if heard & {"hello", "hi", "hey"}:
        return "Hello! How can I help you today?"
    return STORY if "story" in heard else f"You said: {asked}"


def _function(fields: Mapping[str, Any], asked: str) -> Mapping[str, Any] | None:
    """Return the function to call: the one that is named, or that the question has a word of, or any if one must be."""
    functions: list[Mapping[str, Any]] = [tool["function"] for tool in fields.get("tools") or ()]
    choice = fields.get("tool_choice") or "auto"
    if choice == "none":
        return None
    if isinstance(choice, dict):
        named = fields["tool_choice"]["function"].get("name")
        return next((function for function in functions if function["name"] == named), None)
    for function in functions:
        parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", function["name"])
        if any(len(part) > 3 and part.lower() in asked.lower() for part in parts):
            return function
    return functions[0] if functions and choice == "required" else None


def _filled_json(schema: Mapping[str, Any] | None, asked: str) -> str:
    """Return JSON that fits the schema, its strings taken from a name in the question ("Paris") or from their keys."""
    name = next((word for word in re.findall(r"\w+", asked)[1:] if word[0].isupper()), None)
    schema = schema or {"type": "object"}
    return json.dumps(_filled(schema, schema, name, "value"), ensure_ascii=False)


def _filled(schema: Mapping[str, Any], root: Mapping[str, Any], name: str | None, key: str) -> object:
    for union in ("anyOf", "oneOf", "allOf"):
        schema = schema.get(union, [schema])[0]
    if "$ref" in schema:
        return _filled(root["$defs"][schema["$ref"].rpartition("/")[2]], root, name, key)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    kind = schema.get("type", "string")
    if kind == "object":
        properties = schema.get("properties", {})
        return {each: _filled(properties.get(each, {}), root, name, each) for each in schema.get("required", ())}
    if kind == "array":
        return [_filled(schema.get("items", {}), root, name, key)] * schema.get("minItems", 0)
    least = schema.get("minimum", 1)
    dates = {"date": "2026-01-01", "date-time": "2026-01-01T00:00:00Z"}
    string = dates.get(schema.get("format", ""), name or key)
    return {"integer": least, "number": least, "boolean": True, "null": None}.get(kind, string)
