"""vLLM of version 0.32, as NIM 2 wraps it: its pages, its refusals, and what it lets pass in silence.

Pure: request in, reply out. Measured on a real one, and compared with its answers by `tests/contract`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nemotron_client._json import is_array, is_object
from nemotron_client.testing.answers import Served, completion
from nemotron_client.testing.bodies import ChatBody, TextBody, chat_body, check_tokenized, first, invalid, text_body
from nemotron_client.testing.conversation import broken_rule
from nemotron_client.testing.counting import VOCABULARY, token_ids
from nemotron_client.testing.limits import contradictions, impossible, refused
from nemotron_client.testing.recorded import CHAT, COMPLETIONS, RecordedRequest
from nemotron_client.testing.replies import CREATED, Reply, error

_ROLES = frozenset({"system", "user", "assistant", "tool"})
_EFFORTS = ["none", "high"]
_MEDIA = frozenset({"audio_url", "image_url", "input_audio", "video_url"})
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
        shown = page or _unreadable(request) or first(_refusals(request, served))
        if shown is not None:
            return shown
        if request.path == _TOKENIZE:
            ids = token_ids(request.json)
            return Reply(
                body={"count": len(ids), "max_model_len": served.max_model_len, "tokens": ids, "token_strs": None}
            )
        return completion(request, served.max_model_len)

    def finished(self, reply: Reply, request: RecordedRequest) -> Reply:  # noqa: ARG002 - as the gateway's, which needs it
        """Return a reply as it leaves the server: as it is."""
        return reply


def unreadable_conversation(messages: Sequence[Mapping[str, Any]], model: str) -> Iterator[Reply]:
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
        if is_array(parts := message.get("content")) and any(_is_media(part) for part in parts):
            yield error(400, f"{model} is not a multimodal model")


def _unreadable(request: RecordedRequest) -> Reply | None:
    if not request.headers.get("content-type", "").startswith("application/json"):
        message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        return error(400, message, type="Bad Request")
    if not request.body:
        return invalid("body", "missing", "Field required", None)
    try:
        fields = json.loads(request.body)
    except json.JSONDecodeError as wrong:
        return invalid(f"body.{wrong.pos}", "json_invalid", "JSON decode error", {}, {"error": wrong.msg})
    if isinstance(fields, dict):
        return None
    what = "Input should be a valid dictionary or object to extract fields from"
    return invalid("body", "model_attributes_type", what, fields)


def _refusals(request: RecordedRequest, served: Served) -> Iterator[Reply]:
    """Yield what is wrong in the order in which vLLM looks; it tells of the first.

    Raises:
        Malformed: The body has another form.
    """
    fields = request.json
    if request.path == _TOKENIZE:
        check_tokenized(fields)
        yield from _wrong_model(fields.get("model"), served)
        yield from _wrong_conversation(fields, served) if is_array(fields.get("messages")) else ()
        return
    yield from contradictions(fields)
    body = chat_body(fields) if request.path == CHAT else text_body(fields)
    yield from _wrong_model(body.model, served)
    if body.most_tokens is not None and body.most_tokens > served.max_model_len:
        most, window = body.most_tokens, served.max_model_len
        told = f"max_tokens={most} cannot be greater than max_model_len={window}. Please request fewer output tokens."
        yield refused(told, "max_tokens", most)
    if isinstance(body, ChatBody):
        yield from _unsupported(body)
        yield from _wrong_conversation(fields, served)
    else:
        yield from wrong_prompt(body)
    yield from _overflow(request.tokens, served.max_model_len, chat=isinstance(body, ChatBody))
    yield from impossible(body, served.max_model_len - request.tokens)


def _wrong_model(asked: str | None, served: Served) -> Iterator[Reply]:
    if asked and asked != served.model:
        yield error(404, f"The model `{asked}` does not exist. Valid aliases: {served.model}.", param="model")


def _unsupported(body: ChatBody) -> Iterator[Reply]:
    if body.chat_template is not None or body.chat_template_kwargs is not None:
        yield refused("chat_template is not supported for Mistral tokenizers.", "chat_template")
    if body.reasoning_effort is not None and body.reasoning_effort not in _EFFORTS:
        told = f"reasoning_effort={body.reasoning_effort} is not supported by Mistral models."
        yield refused(f"{told} Supported values are: {_EFFORTS}.", "reasoning_effort")


def wrong_prompt(body: TextBody) -> Iterator[Reply]:
    """Yield what vLLM has against a prompt."""
    prompt = body.prompt
    if not prompt and prompt != []:
        yield refused("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
    if body.suffix is not None:
        yield error(400, "suffix is only supported for models with FIM completion rendering", param="suffix")
    if prompt == []:
        yield error(400, "You must pass at least one prompt")
    for token in _numbers(prompt or ()):
        if token >= VOCABULARY:
            yield error(400, f"Token id {token} is out of vocabulary")


def _numbers(prompt: object) -> Iterator[int]:
    if isinstance(prompt, int):
        yield prompt
    elif is_array(prompt):
        for each in prompt:
            yield from _numbers(each)


def _wrong_conversation(fields: Mapping[str, Any], served: Served) -> Iterator[Reply]:
    messages = fields["messages"]
    yield from unreadable_conversation(messages, served.model)
    generates, continues = fields.get("add_generation_prompt", True), fields.get("continue_final_message", False)
    is_answer = messages[-1]["role"] == "assistant"
    if generates and continues:
        yield error(400, "Cannot set both `add_generation_prompt` and `continue_final_message` to True.")
    if generates and is_answer:
        told = "Cannot set `add_generation_prompt` to True when the last message is from the assistant."
        yield error(400, f"{told} Consider using `continue_final_message` instead.")
    if continues and not is_answer:
        told = "Cannot set `continue_final_message` to True when the last message is not from the assistant."
        yield error(400, told)
    broken = broken_rule(messages, fields.get("tools") or (), continued=continues, hosted=False)
    if broken is not None:
        yield error(400, broken)


def _is_media(part: object) -> bool:
    return is_object(part) and part.get("type") in _MEDIA


def _overflow(tokens: int, window: int, *, chat: bool) -> Iterator[Reply]:
    if tokens > window:
        count = tokens if chat else window + 1
        told = (
            f"This model's maximum context length is {window} tokens. However, your prompt contains "
            f"{'' if chat else 'at least '}{count} input tokens, which exceeds this limit even without any output "
            "tokens. Please reduce the length of the input prompt."
        )
        yield refused(told, "input_tokens", count)


def _page(path: str, served: Served) -> Reply | None:
    model = served.model
    card: dict[str, object] = {"id": model, "object": "model", "created": CREATED, "owned_by": "vllm"}
    card |= {"root": model, "parent": None, "max_model_len": served.max_model_len, "permission": []}
    metadata: dict[str, object] = {"assetInfo": [], "licenseInfo": {}, "repository_override": "", "version": "2.1.5"}
    metadata |= {"modelInfo": [{"shortName": model, "modelUrl": ""}], "selectedModelProfileId": ""}
    bodies: dict[str, bytes | dict[str, object]] = {
        "/v1/models": {"object": "list", "data": [card]},
        "/health": b"",
        "/ping": b"",
        "/load": {"server_load": 0},
        "/version": {"version": "0.32.0"},
        "/v1/health/ready": {"object": "health.response", "message": "Service is ready."},
        "/v1/health/live": {"object": "health.response", "message": "Service is live."},
        "/v1/version": {"release": "2.1.5", "api": "2.1.5"},
        "/v1/metadata": metadata,
    }
    return Reply(body=bodies[path]) if path in bodies else None
