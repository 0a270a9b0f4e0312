"""vLLM of version 0.32, as NIM 2 wraps it: its pages, its refusals, and what it lets pass in silence.

Pure: request in, reply out. Measured on a real one, and compared with its answers by `tests/contract`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from nemotron_client._json import is_array, is_object
from nemotron_client.testing import pages
from nemotron_client.testing.bodies import (
    chat_body,
    check_lists,
    detokenize_body,
    first,
    invalid,
    text_body,
    tokenize_body,
)
from nemotron_client.testing.content import in_words_of_vllm, wrong_parts
from nemotron_client.testing.contradictions import contradictions, wrong_when_read
from nemotron_client.testing.conversation import broken_rule
from nemotron_client.testing.forms import ChatBody, Detokenized, TextBody, TokenizedChat, TokenizedText
from nemotron_client.testing.limits import MOST_CHOICES, impossible
from nemotron_client.testing.message_forms import ThinkChunk
from nemotron_client.testing.model import Served, completion
from nemotron_client.testing.recorded import CHAT, COMPLETIONS, TEXT, RecordedRequest, is_deeper
from nemotron_client.testing.refusals import refused, without_paths
from nemotron_client.testing.replies import Reply, error
from nemotron_client.testing.tokenizing import CONTROLS, START, VOCABULARY, prompt_ids, prompts, spelled, text_ids

_DEEPEST = 700  # objects and arrays within each other that are read whatever Python it is
_ROLES = frozenset({"system", "user", "assistant", "tool"})
_EFFORTS = ["none", "high"]
_TOKENIZE, _DETOKENIZE = "/tokenize", "/detokenize"


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
        refusal = pages.page(request, served, posted=(*COMPLETIONS, _TOKENIZE, _DETOKENIZE)) or _unreadable(request)
        return sendable(refusal or _answer(of_its_path(request), served))

    def finished(self, reply: Reply, request: RecordedRequest) -> Reply:  # noqa: ARG002 - as the gateway's, which needs it
        """Return a reply as it leaves the server: as it is."""
        return reply


def _answer(request: RecordedRequest, served: Served) -> Reply:
    return first(_refusals(request, served)) or _answered(request, served)


def of_its_path(request: RecordedRequest) -> RecordedRequest:
    """Return a request without what only one for the other kind of completion has, which is let pass."""
    foreign = {CHAT: "prompt", TEXT: "messages"}.get(request.path)
    if foreign not in request.json:
        return request
    own = {name: value for name, value in request.json.items() if name != foreign}
    return replace(request, body=json.dumps(own).encode())


def sendable(reply: Reply) -> Reply:
    """Return a refusal as it is sent, or what vLLM says where that repeats half a character, which can't be."""
    told = without_paths(reply)
    try:
        told.encoded()
    except UnicodeEncodeError as wrong:
        return error(400, str(wrong))
    return told


def unreadable_conversation(messages: Sequence[Mapping[str, Any]], model: str) -> Iterator[Reply]:
    """Yield what vLLM stumbles over before Mistral's rules are asked."""
    if not messages:
        yield error(400, "list index out of range")
    for message in messages:
        if "role" not in message:  # one of OpenAI's Harmony
            yield error(500, "'Message' object has no attribute 'get'")
        if is_object(message.get("content")):  # whose names are taken for parts
            yield from wrong_parts({**message, "content": [*message["content"]]}, model)
        if message.get("role") not in _ROLES:
            yield error(400, f"Unknown message role: {message.get('role')}")
        for name in ("content", "tool_call_id"):
            needed = message.get("role") == "tool" or (name == "content" and message.get("role") != "assistant")
            if needed and name not in message:
                yield error(400, f"'{name}'")
        if message["role"] == "assistant":
            yield from _wrong_reasoning(message)
        yield from wrong_parts(message, model)


def _wrong_reasoning(message: Mapping[str, Any]) -> Iterator[Reply]:
    known = message.get("reasoning")
    known = message.get("reasoning_content") if known is None else known
    if known is None:
        return
    try:
        ThinkChunk.model_validate({"thinking": known})
    except ValidationError as wrong:
        yield error(400, in_words_of_vllm(wrong))
    yield error(400, "think tokens are not available for this tokenizer.")


def _unreadable(request: RecordedRequest) -> Reply | None:
    if not request.headers.get("content-type", "").startswith("application/json"):
        message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        return error(400, message, type="Bad Request")
    if not request.body:
        return invalid("body", "missing", "Field required", None)
    try:
        fields: object = request.json  # read once, for at another depth it may be too deep
        is_too_deep = request.body.count(b"[") + request.body.count(b"{") > _DEEPEST and is_deeper(fields, _DEEPEST)
    except json.JSONDecodeError as wrong:
        return invalid(f"body.{wrong.pos}", "json_invalid", "JSON decode error", {}, {"error": wrong.msg})
    except (ValueError, RecursionError):  # no UTF-8, thousands of digits, or nested too deeply
        is_too_deep, fields = True, None
    if is_too_deep:  # for vLLM's Python; later ones read more
        return Reply(status=400, body={"detail": "There was an error parsing the body"})
    if is_object(fields):
        return None
    what = "Input should be a valid dictionary or object to extract fields from"
    return invalid("body", "model_attributes_type", what, fields)


def _refusals(request: RecordedRequest, served: Served) -> Iterator[Reply]:
    """Yield what is wrong in the order in which vLLM looks; it tells of the first.

    Raises:
        Malformed: The body has another form.
    """
    fields = request.json
    if request.path in (_TOKENIZE, _DETOKENIZE):
        yield from _wrong_tokens(request, served)
        return
    yield from contradictions(fields, chat=request.path == CHAT)
    if request.path == CHAT:
        check_lists(fields)
    yield from wrong_when_read(fields)
    body = chat_body(fields) if request.path == CHAT else text_body(fields)
    if isinstance(body, TextBody) and body.use_beam_search and body.stream:
        yield error(400, "Streaming is not currently supported with beam search")
    yield from _wrong_model(body.model, served)
    if body.most_tokens is not None and body.most_tokens > served.max_model_len:
        most, window = body.most_tokens, served.max_model_len
        name = "max_completion_tokens" if isinstance(body, ChatBody) and body.max_completion_tokens else "max_tokens"
        told = f"{name}={most} cannot be greater than max_model_len={window}. Please request fewer output tokens."
        yield refused(told, name, most)
    if isinstance(body, ChatBody):
        yield from _unsupported(body)
        yield from _wrong_conversation(fields, served)
    else:
        yield from wrong_prompt(body)
    if body.truncate_prompt_tokens == 0:
        yield error(400, "The decoder prompt cannot be empty")
    yield from _overflow(request.tokens, served.max_model_len, chat=isinstance(body, ChatBody))
    yield from impossible(body, served.max_model_len - request.tokens)


def _wrong_tokens(request: RecordedRequest, served: Served) -> Iterator[Reply]:
    fields = request.json
    body = detokenize_body(fields) if request.path == _DETOKENIZE else tokenize_body(fields)
    yield from _wrong_model(body.model, served)
    if isinstance(body, TokenizedChat):
        yield from _wrong_conversation(fields, served)
    for token in body.tokens if isinstance(body, Detokenized) else ():
        if token >= VOCABULARY:
            yield error(500, f"'Invalid token for decoding: {token - CONTROLS}'")


def _answered(request: RecordedRequest, served: Served) -> Reply:
    """Answer a request that was found right."""
    if request.path == _DETOKENIZE:
        return Reply(body={"prompt": spelled(detokenize_body(request.json).tokens)})
    if request.path == _TOKENIZE:
        return _tokenized(tokenize_body(request.json), request, served)
    return completion(request, served.max_model_len)


def _tokenized(body: TokenizedText | TokenizedChat, request: RecordedRequest, served: Served) -> Reply:
    if isinstance(body, TokenizedChat):
        (ids,) = prompt_ids(request.json)
    else:
        ids = [*([START] if body.add_special_tokens else []), *text_ids(body.prompt)]
    told = [spelled([each]) for each in ids] if body.return_token_strs else None
    return Reply(body={"count": len(ids), "max_model_len": served.max_model_len, "tokens": ids, "token_strs": told})


def _wrong_model(asked: str | None, served: Served) -> Iterator[Reply]:
    if asked and asked != served.model:
        yield error(404, f"The model `{asked}` does not exist. Valid aliases: {served.model}.", param="model")


def _unsupported(body: ChatBody) -> Iterator[Reply]:
    for name, what in (
        ("mm_processor_kwargs", "multimodal preprocessing"),
        ("media_io_kwargs", "multimodal media loading"),
    ):
        if getattr(body, name):
            told = f"Per-request {name} are disabled by default because they can change {what} resource usage."
            rest = "Start the server with --trust-request-mm-kwargs only when clients are trusted."
            yield refused(f"{told} {rest}", name)
    if body.chat_template is not None or body.chat_template_kwargs is not None:
        yield refused("chat_template is not supported for Mistral tokenizers.", "chat_template")
    if body.reasoning_effort is not None and body.reasoning_effort not in _EFFORTS:
        told = f"reasoning_effort={body.reasoning_effort} is not supported by Mistral models."
        yield refused(f"{told} Supported values are: {_EFFORTS}.", "reasoning_effort")


def wrong_prompt(body: TextBody) -> Iterator[Reply]:
    """Yield what vLLM has against a prompt."""
    prompt = body.prompt
    if body.suffix is not None:
        yield error(400, "suffix is only supported for models with FIM completion rendering", param="suffix")
    choices = body.n * len(prompts(prompt))
    if body.n <= MOST_CHOICES < choices:  # a limit of this server's own
        yield refused(f"A test server makes {MOST_CHOICES} choices at most, not {choices}.", "n", body.n)
    if body.prompt_embeds not in (None, []):
        yield refused("You must set `--enable-prompt-embeds` to input `prompt_embeds`.", "prompt_embeds")
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


def _overflow(tokens: int, window: int, *, chat: bool) -> Iterator[Reply]:
    if tokens > window:
        count = tokens if chat else window + 1
        told = (
            f"This model's maximum context length is {window} tokens. However, your prompt contains "
            f"{'' if chat else 'at least '}{count} input tokens, which exceeds this limit even without any output "
            "tokens. Please reduce the length of the input prompt."
        )
        yield refused(told, "input_tokens", count)
