"""What the test server can be told to answer: raw replies, and answers in whatever form a request asks for.

Pure: no I/O and no clock, so the same request always gets the same bytes. The shapes are vLLM 0.32's, null fields
included (docs/explanation/protocol.md), and so are its counts of tokens; only streams come word by word.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import chain, islice
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter

from nemotron_client.testing.counting import answer_tokens
from nemotron_client.testing.recorded import RecordedRequest

MODEL = "mistralai/mistral-nemotron"
CREATED = 1_767_225_600  # 2026-01-01: a clock would make two equal answers differ
FINGERPRINT = "vllm-0.32.0-00000000"
DONE = b"data: [DONE]\n\n"

End = Literal["close", "cut", "reset", "hang"]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_WHOLE = TypeAdapter(int)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """Describe one HTTP response, down to how it ends.

    Args:
        status: The HTTP status; 0 sends nothing, not even headers, before the end.
        headers: Sent as they are. Content type and length are added where missing.
        body: Bytes, text, or anything else that JSON can hold.
        chunks: Sent in place of the body, each as an HTTP chunk of its own; may be endless, since it stops when the
            client leaves. An iterator serves one request.
        delay: Seconds before the headers.
        chunk_delay: Seconds between chunks; None takes the server's.
        end: "close" ends the body as HTTP says; "cut" closes the connection without that; "reset" is a TCP reset;
            "hang" sends nothing more until the client leaves.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | str | Mapping[str, object] | Sequence[object] = b""
    chunks: Iterable[bytes] | None = None
    delay: float = 0.0
    chunk_delay: float | None = None
    end: End = "close"

    def encoded(self) -> tuple[Iterable[bytes], dict[str, str]]:
        """Return the body's chunks, and the headers (names in lower case) that tell of it."""
        headers: dict[str, str] = {}
        if self.chunks is not None:
            chunks, headers["content-type"] = self.chunks, "text/event-stream; charset=utf-8"
        elif isinstance(self.body, bytes):
            chunks = [self.body]
        elif isinstance(self.body, str):
            chunks, headers["content-type"] = [self.body.encode()], "text/plain; charset=utf-8"
        else:
            chunks, headers["content-type"] = [_encode(self.body).encode()], "application/json"
        if isinstance(chunks, list) and self.chunks is None and self.end == "close":
            headers["content-length"] = str(len(chunks[0]))
        return chunks, headers | {name.lower(): value for name, value in self.headers.items()}

    def with_headers(self, headers: Mapping[str, str]) -> "Reply":
        """Return the same reply with these headers, where it has none of their names."""
        own = {name.lower() for name in self.headers}
        more = {name: value for name, value in headers.items() if name not in own}
        return replace(self, headers={**more, **self.headers})


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Say a text and call tools: as a chat or a text completion, as a body or a stream, `n` times over.

    Args:
        text: What is said; streamed word by word.
        tool_calls: Name and arguments (JSON text) of each call.
        finish_reason: None is what vLLM gives: "tool_calls" where there are any, but "stop" for a call of the function
            that `tool_choice` names.
        usage: Put over the counted usage, key by key.
    """

    text: str = ""
    tool_calls: tuple[tuple[str, str], ...] = ()
    finish_reason: str | None = None
    usage: Mapping[str, object] = field(default_factory=dict[str, object])

    def __post_init__(self) -> None:
        """Blame the line that wrote the script, not the request that it is sent for.

        Raises:
            TypeError: The text is none.
        """
        if not _is_text(self.text):
            raise TypeError(f"The text of an answer is a str, not {self.text!r}.")

    def __call__(self, request: RecordedRequest) -> Reply:
        """Return the answer in the form that the request asks for."""
        fields = request.json
        chat = request.path.endswith("/chat/completions")
        stream = bool(fields.get("stream"))
        identity = request.headers.get("x-request-id") or hashlib.blake2b(request.body, digest_size=8).hexdigest()
        head: dict[str, object] = {
            "id": f"chatcmpl-{identity}" if chat else f"cmpl-{identity}",
            "object": ("chat.completion.chunk" if stream else "chat.completion") if chat else "text_completion",
            "created": CREATED,
            "model": fields.get("model") or MODEL,
        }
        deltas = self._deltas()
        if stream:
            return Reply(chunks=chain(self._chunks(request, head, deltas), [DONE]))
        details = {"prompt_tokens_details": None, "completion_tokens_details": None}
        return Reply(body=self._body(fields, head, {**self._counted(request), **details, **self.usage}))

    def _counted(self, request: RecordedRequest) -> dict[str, object]:
        ended = self.finish_reason in {None, "stop", "tool_calls"}
        each = answer_tokens(self.text, self.tool_calls, ended=ended)
        prompt, completion = request.tokens, each * whole(request.json.get("n") or 1)
        return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}

    def _body(
        self, fields: Mapping[str, Any], head: Mapping[str, object], usage: Mapping[str, object]
    ) -> dict[str, object]:
        choice: dict[str, object] = {"logprobs": None, "finish_reason": self._reason(fields), "stop_reason": None}
        extra: dict[str, object] = {}
        nulls: dict[str, object] = {"prompt_logprobs": None, "prompt_token_ids": None}
        if head["object"] == "text_completion":
            choice = {"text": self.text, **choice, "token_ids": None, **nulls, "routed_experts": None}
        else:
            choice = {"message": self._message(fields), **choice, "token_ids": None, "routed_experts": None}
            extra = {**nulls, "prompt_text": None}
        return {
            **head,
            "choices": [{"index": index, **choice} for index in range(whole(fields.get("n") or 1))],
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": usage,
            **extra,
            **dict.fromkeys(("kv_transfer_params", "ec_transfer_params", "metrics")),
        }

    def _message(self, fields: Mapping[str, Any]) -> dict[str, object]:
        calls = [
            {"id": _call_id(index, *call), "type": "function", "function": {"name": call[0], "arguments": call[1]}}
            for index, call in enumerate(self.tool_calls)
        ]
        # vLLM: null beside calls the model chose to make, "" beside calls it had to make.
        nothing = None if calls and fields.get("tool_choice", "auto") == "auto" else ""
        return {
            "role": "assistant",
            "content": self.text or nothing,
            **dict.fromkeys(("refusal", "annotations", "audio", "function_call")),
            **({"tool_calls": calls} if calls else {}),
            "reasoning": None,
        }

    def _chunks(
        self,
        request: RecordedRequest,
        head: Mapping[str, object],
        deltas: list[dict[str, object]],
    ) -> Iterator[bytes]:
        fields = request.json
        chat = head["object"] != "text_completion"
        options: Mapping[str, Any] = fields.get("stream_options") or {}
        mark: dict[str, object] = {"system_fingerprint": FINGERPRINT}  # on the last chunk only
        choices = range(whole(fields.get("n") or 1))
        if chat:
            role = {"delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
            rest: dict[str, object] = {"prompt_token_ids": None, "prompt_text": None}
            yield from (_event({**head, "choices": [{"index": index, **role}], **rest}) for index in choices)
        reason = self._reason(fields)
        if not deltas or (reason == "stop" and not self.tool_calls):
            deltas = [*deltas, {}]  # the end token has no text, so its reason comes in a chunk of its own
        for number, delta in enumerate(deltas, 1):
            last = number == len(deltas)
            finish: dict[str, object] = {"logprobs": None, "finish_reason": reason if last else None}
            if last or not chat:
                finish["stop_reason"] = None
            if chat:
                choice: dict[str, object] = {"delta": delta, **finish, "token_ids": None}
            else:
                choice = {"text": delta.get("content", ""), **finish, "prompt_token_ids": None, "token_ids": None}
            rest = mark if last and not options.get("include_usage") else {}
            yield from (_event({**head, "choices": [{"index": index, **choice}], **rest}) for index in choices)
        if options.get("include_usage"):
            yield _event({**head, "choices": [], "usage": {**self._counted(request), **self.usage}, **mark})

    def _deltas(self) -> list[dict[str, object]]:
        deltas: list[dict[str, object]] = [{"content": word} for word in words(self.text)]
        for index, (name, arguments) in enumerate(self.tool_calls):
            first, *more = re.findall(r"\w+|\W+", arguments) or [""]
            call: dict[str, object] = {"id": _call_id(index, name, arguments), "type": "function", "index": index}
            deltas.append({"tool_calls": [{**call, "function": {"name": name, "arguments": first}}]})
            deltas.extend({"tool_calls": [{"index": index, "function": {"arguments": part}}]} for part in more)
        return deltas

    def _reason(self, fields: Mapping[str, Any]) -> str:
        named = isinstance(fields.get("tool_choice"), dict)
        return self.finish_reason or ("tool_calls" if self.tool_calls and not named else "stop")


Replying: TypeAlias = Callable[[RecordedRequest], Reply]
Scripted: TypeAlias = Reply | Replying
"""A reply, or what makes one of the request: an `Answer`, or any function."""


def text(content: str, *, finish_reason: str = "stop", usage: Mapping[str, object] | None = None) -> Answer:
    """Answer with a text."""
    return Answer(text=content, finish_reason=finish_reason, usage=usage or {})


def tool_calls(*calls: tuple[str, Mapping[str, object] | str], text: str = "") -> Answer:
    """Answer with tool calls, each a name and its arguments; a str of arguments is sent as it is, however broken."""
    encoded = (
        (name, given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)) for name, given in calls
    )
    return Answer(text=text, tool_calls=tuple(encoded))


def cut(answer: Answer, *, after: int, end: End = "cut") -> Replying:
    """Break an answer off: a stream after so many chunks (the role's is the first), a body before its end is told."""

    def respond(request: RecordedRequest) -> Reply:
        reply = answer(request)
        return replace(reply, end=end, chunks=None if reply.chunks is None else islice(reply.chunks, after))

    return respond


def error(
    status: int,
    message: str,
    *,
    type: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Refuse in the words of vLLM: `{"error": {message, type, param, code}}`."""
    return Reply(status=status, headers=headers or {}, body=_error_body(status, message, type, param))


def problem(status: int, title: str, detail: str | None = None, *, headers: Mapping[str, str] | None = None) -> Reply:
    """Refuse in the words of NVIDIA's gateway: RFC 7807's `{status, title, detail}`."""
    body: dict[str, object] = {"status": status, "title": title}
    if detail is not None:
        body["detail"] = detail
    return Reply(status=status, headers={"content-type": "application/problem+json", **(headers or {})}, body=body)


def stream_error(status: int, message: str, *, type: str | None = None, text: str = "") -> Replying:
    """Fail inside a stream that began with 200, after that text; without a stream, with the error's own status."""

    def respond(request: RecordedRequest) -> Reply:
        reply = Answer(text=text)(request)
        if reply.chunks is None:
            return error(status, message, type=type)
        begun = islice(reply.chunks, 1 + len(words(text)) if text else 0)
        # With spaces, unlike all other events of vLLM.
        event = f"data: {json.dumps(_error_body(status, message, type, None))}\n\n"
        return replace(reply, chunks=chain(begun, [event.encode(), DONE]))

    return respond


def whole(value: object) -> int:
    """Read a number that may have come as a text, which vLLM takes as well."""
    return _WHOLE.validate_python(value)


def words(content: str) -> list[str]:
    """Split a text into words, each with the space before it: what the server streams."""
    return re.findall(r"\s*\S+|\s+", content)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _error_body(status: int, message: str, type: str | None, param: str | None) -> dict[str, object]:
    known = {400: "BadRequestError", 404: "NotFoundError", 500: "InternalServerError"}
    kind = type or known.get(status) or HTTPStatus(status).phrase
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def _event(document: Mapping[str, object]) -> bytes:
    return f"data: {_encode(document)}\n\n".encode()


def _call_id(index: int, name: str, arguments: str) -> str:
    return hashlib.blake2b(f"{index}{name}{arguments}".encode()).hexdigest()[:9]
