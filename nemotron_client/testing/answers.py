"""Answers in whatever form a request asks for: a chat or a text completion, a body or a stream.

Pure: no I/O and no clock, so the same request always gets the same bytes. The shapes are vLLM 0.32's, null fields
included (docs/explanation/protocol.md), and so are its counts of tokens; only streams come word by word.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from nemotron_client._json import is_array, is_object
from nemotron_client.testing import logprobs
from nemotron_client.testing.counting import answer_tokens
from nemotron_client.testing.forms import StreamOptions
from nemotron_client.testing.limits import MOST_CHOICES
from nemotron_client.testing.recorded import RecordedRequest, text_of
from nemotron_client.testing.replies import MODEL, Reply, error
from nemotron_client.testing.tokenizing import END, call_ids, prompt_ids, prompts, shared_ids, spelled

CREATED = 1_767_225_600  # 2026-01-01: a clock would make two equal answers differ
FINGERPRINT = "vllm-0.32.0-00000000"
DONE = b"data: [DONE]\n\n"

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Say a text and call tools: as a chat or a text completion, as a body or a stream, `n` times over.

    Args:
        text: What is said; streamed word by word.
        tool_calls: Name and arguments (JSON text) of each call.
        finish_reason: None is what vLLM gives: "tool_calls" where there are any, but "stop" for a call of the function
            that `tool_choice` names.
        stop_reason: The text, or the id of the token, that ended it in place of the model's own end.
        usage: Put over the counted usage, key by key.
    """

    text: str = ""
    tool_calls: tuple[tuple[str, str], ...] = ()
    finish_reason: str | None = None
    stop_reason: str | int | None = None
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
        return _Rendering(self, request).reply()


def _is_text(value: object) -> bool:
    """Tell a text, where a checker of types is sure of it and a caller may not have one."""
    return isinstance(value, str)


def words(content: str) -> list[str]:
    """Split a text into words, each with the space before it: what the server streams."""
    return re.findall(r"\s*\S+|\s+", content)


class Asked(BaseModel):
    """What of a request decides about the form of its answer."""

    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = 1
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    echo: bool | None = False
    logprobs: bool | int | None = None
    top_logprobs: int | None = None
    prompt_logprobs: int | None = None
    logprob_token_ids: list[int] | None = None
    use_beam_search: bool | None = False
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> "Asked":
        """Read a request; one that no server would take, but a script answers, asks for nothing special."""
        try:
            return cls.model_validate(fields)
        except ValidationError:
            return cls(stream=bool(fields.get("stream")))


def choices_of(fields: Mapping[str, Any]) -> int:
    """Return how many choices an answer has: `n` for each prompt."""
    return (Asked.read(fields).n or 1) * max(1, len(prompts(fields.get("prompt"))))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of an answer that a chunk carries, and its tokens, where they are told."""

    delta: Mapping[str, object]
    ids: Sequence[int] = ()


class _Rendering:
    """Put an answer into the form that a request asks for."""

    def __init__(self, answer: Answer, request: RecordedRequest) -> None:
        self._answer, self._request, self._fields = answer, request, _fields_of(request)
        self._asked = Asked.read(self._fields)
        self._chat = request.path.endswith("/chat/completions")
        self._count = choices_of(self._fields)
        options = self._asked.stream_options or StreamOptions()
        self._tells_usage = bool(options.include_usage)
        self._tells_all_usage = self._tells_usage and bool(options.continuous_usage_stats)
        # `logprobs` is a number in a text completion, of which 0 asks for the token itself.
        wanted = self._asked.logprobs
        if self._chat:
            self._alternatives = self._asked.top_logprobs or 0 if wanted else None
        else:
            self._alternatives = None if wanted is None else int(wanted)

    def reply(self) -> Reply:
        """Return the answer."""
        identity = self._request.headers.get("x-request-id")
        identity = identity or hashlib.blake2b(self._request.body, digest_size=8).hexdigest()
        stream = bool(self._asked.stream)
        head: dict[str, object] = {
            "id": f"chatcmpl-{identity}" if self._chat else f"cmpl-{identity}",
            "object": ("chat.completion.chunk" if stream else "chat.completion") if self._chat else "text_completion",
            "created": CREATED,
            "model": self._fields.get("model") or MODEL,
        }
        return Reply(chunks=chain(self._chunks(head), [DONE])) if stream else Reply(body=self._body(head))

    # --- What is said ---

    @cached_property
    def _pieces(self) -> list[_Piece]:
        said = words(self._answer.text)
        ids = self._shared(said)
        pieces = [_Piece({"content": word}, tokens) for word, tokens in zip(said, ids, strict=True)]
        for index, (name, arguments) in enumerate(self._answer.tool_calls):
            parts = re.findall(r"\w+|\W+", arguments) or [""]
            shared = self._shared(parts)
            call: dict[str, object] = {"id": _call_id(index, name, arguments), "type": "function", "index": index}
            first = {"tool_calls": [{**call, "function": {"name": name, "arguments": parts[0]}}]}
            pieces.append(_Piece(first, [*call_ids(name), *shared[0]] if self._needs_ids else ()))
            for part, tokens in zip(parts[1:], shared[1:], strict=True):
                pieces.append(_Piece({"tool_calls": [{"index": index, "function": {"arguments": part}}]}, tokens))
        if self._answer.tool_calls and self._is_ended:
            pieces[-1] = replace(pieces[-1], ids=[*pieces[-1].ids, END])
        elif not pieces or (self._reason == "stop" and self._is_ended):
            pieces.append(_Piece({}, [END] if self._is_ended else []))  # the end token has no text
        return pieces

    def _shared(self, parts: Sequence[str]) -> Sequence[Sequence[int]]:
        return shared_ids(parts) if self._needs_ids else [()] * len(parts)

    @property
    def _needs_ids(self) -> bool:
        return bool(self._asked.return_token_ids) or self._alternatives is not None or self._tells_all_usage

    @property
    def _is_ended(self) -> bool:
        """Whether the model has ended the answer itself, by a token of its own."""
        return self._answer.finish_reason in {None, "stop", "tool_calls"} and self._answer.stop_reason is None

    @property
    def _reason(self) -> str:
        named = isinstance(self._fields.get("tool_choice"), dict)
        return self._answer.finish_reason or ("tool_calls" if self._answer.tool_calls and not named else "stop")

    @cached_property
    def _prompts(self) -> list[list[int]]:
        return prompt_ids(self._fields)

    def _prompt_of(self, index: int) -> list[int]:
        """Return the tokens of a choice's prompt; none of one that only a script answers."""
        return self._prompts[index // (self._asked.n or 1)] if self._prompts else []

    def _echoed(self, index: int) -> str:
        """Return what stands before the answer, if that was asked for: the prompt, or the answer that is continued."""
        if not self._asked.echo:
            return ""
        if self._chat:
            messages = self._fields.get("messages")
            last = messages[-1] if messages and is_array(messages) else None
            return text_of(last.get("content")) if is_object(last) and last.get("role") == "assistant" else ""
        several = prompts(self._fields.get("prompt"))
        prompt = several[index // (self._asked.n or 1)] if several else ""
        return prompt if isinstance(prompt, str) else spelled(prompt)

    # --- As a body ---

    def _body(self, head: Mapping[str, object]) -> dict[str, object]:
        details = {"prompt_tokens_details": None, "completion_tokens_details": None}
        return {
            **head,
            "choices": [{"index": index, **self._choice(index)} for index in range(self._count)],
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": {**self._counted(), **details, **self._answer.usage},
            **({**self._told_of_prompt(0), "prompt_text": None} if self._chat else {}),
            **dict.fromkeys(("kv_transfer_params", "ec_transfer_params", "metrics")),
        }

    def _choice(self, index: int) -> dict[str, object]:
        ids = [token for piece in self._pieces for token in piece.ids]
        ends = self._ending
        told: dict[str, object] = {"token_ids": ids if self._asked.return_token_ids else None}
        if self._chat:
            message = self._message(self._echoed(index))
            return {"message": message, "logprobs": self._logprobs(ids), **ends, **told, "routed_experts": None}
        before = self._prompt_of(index) if self._asked.echo else []
        spoken = f"{self._echoed(index)}{self._answer.text}"
        chances = self._logprobs([*before, *ids], begins=bool(before))
        told |= self._told_of_prompt(index)
        return {"text": spoken, "logprobs": chances, **ends, **told, "routed_experts": None}

    def _told_of_prompt(self, index: int) -> dict[str, object]:
        most = None if self._asked.use_beam_search else self._asked.prompt_logprobs
        if most is None and self._asked.echo:
            most = self._asked.top_logprobs or 0 if self._chat else self._alternatives
        ids = self._prompt_of(index) if most is not None or self._asked.return_token_ids else []
        return {
            "prompt_logprobs": logprobs.of_prompt(ids, most) if ids and most is not None else None,
            "prompt_token_ids": (ids or None) if self._asked.return_token_ids else None,
        }

    def _message(self, echoed: str) -> dict[str, object]:
        calls = [
            {"id": _call_id(index, *call), "type": "function", "function": {"name": call[0], "arguments": call[1]}}
            for index, call in enumerate(self._answer.tool_calls)
        ]
        # vLLM: null, but "" where the model had to call.
        nothing = None if self._fields.get("tool_choice") in (None, "auto", "none") else ""
        return {
            "role": "assistant",
            "content": f"{echoed}{self._answer.text}" or nothing,
            **dict.fromkeys(("refusal", "annotations", "audio", "function_call")),
            **({"tool_calls": calls} if calls else {}),
            "reasoning": None,
        }

    def _counted(self) -> dict[str, object]:
        each = answer_tokens(self._answer.text, self._answer.tool_calls, ended=self._is_ended)
        prompt, completion = self._prompt_tokens, each * self._count
        return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}

    @property
    def _prompt_tokens(self) -> int:
        return self._request.tokens if self._fields else 0

    def _logprobs(self, ids: Sequence[int], *, offset: int = 0, begins: bool = False) -> dict[str, object] | None:
        most = self._alternatives
        if most is None:
            return None
        as_ids, wanted = bool(self._asked.return_tokens_as_token_ids), self._asked.logprob_token_ids or ()
        if self._chat:
            return logprobs.of_chat(ids, most, wanted, as_ids=as_ids)
        return logprobs.of_text(ids, most, wanted, offset=offset, begins=begins, as_ids=as_ids)

    # --- As a stream ---

    def _chunks(self, head: Mapping[str, object]) -> Iterator[bytes]:
        unsendable = self._unsendable
        if self._chat:
            yield from self._beginning(head, echoes=unsendable is None)
        if unsendable is not None:
            yield failure(error(400, f"Error serializing to JSON: UnicodeEncodeError: {unsendable}"))
            return
        part = self._part_of_chat if self._chat else self._part_of_text
        done = said = 0
        for number, piece in enumerate(self._pieces, 1):
            last = number == len(self._pieces)
            done += len(piece.ids)
            rest = self._usage_so_far(done)
            if last and not self._tells_usage:
                rest = {"system_fingerprint": FINGERPRINT}  # on the last chunk only
            for index in range(self._count):
                choice = {"index": index, **part(piece, index, said, last=last)}
                yield _event({**head, "choices": [choice], **rest})
            said += len(str(piece.delta.get("content", "")))
        if self._tells_usage:
            usage = {**self._counted(), **self._answer.usage}
            yield _event({**head, "choices": [], "usage": usage, "system_fingerprint": FINGERPRINT})

    @property
    def _unsendable(self) -> UnicodeEncodeError | None:
        """What is wrong with the text before a streamed answer, if that has half a character."""
        try:
            for index in range(self._count):
                self._echoed(index).encode()
        except UnicodeEncodeError as wrong:
            return wrong
        return None

    def _beginning(self, head: Mapping[str, object], *, echoes: bool) -> Iterator[bytes]:
        """Yield what comes before a chat's answer: the role, and the answer that is continued if it is wanted."""
        role = {"delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        ids = (self._prompt_of(0) or None) if self._asked.return_token_ids else None
        rest = {**self._usage_so_far(0), "prompt_token_ids": ids, "prompt_text": None}
        indexes = range(self._count)
        yield from (_event({**head, "choices": [{"index": index, **role}], **rest}) for index in indexes)
        if (echoed := self._echoed(0)) and echoes:
            again = {"delta": {"content": echoed}, "logprobs": None, "finish_reason": None}
            yield from (_event({**head, "choices": [{"index": index, **again}]}) for index in indexes)

    def _part_of_chat(self, piece: _Piece, _index: int, _said: int, *, last: bool) -> dict[str, object]:
        chances = self._logprobs(piece.ids)
        ids = piece.ids if self._asked.return_token_ids else None
        if last:
            return {"delta": piece.delta, "logprobs": chances, **self._ending, "token_ids": ids}
        return {"delta": piece.delta, "logprobs": chances, "finish_reason": None, "token_ids": ids}

    def _part_of_text(self, piece: _Piece, index: int, said: int, *, last: bool) -> dict[str, object]:
        echoed = self._echoed(index)
        first = piece is self._pieces[0]
        before = self._prompt_of(index) if first and echoed else []
        offset = said + (0 if first else len(echoed))
        chances = self._logprobs([*before, *piece.ids], offset=offset, begins=bool(before))
        told = first and (self._asked.echo or self._asked.return_token_ids)
        return {
            "text": f"{echoed if first else ''}{piece.delta.get('content', '')}",
            "logprobs": chances,
            **(self._ending if last else {"finish_reason": None, "stop_reason": None}),
            "prompt_token_ids": (self._prompt_of(index) or None) if told else None,
            "token_ids": piece.ids if self._asked.return_token_ids else None,
        }

    @property
    def _ending(self) -> dict[str, object]:
        return {"finish_reason": self._reason, "stop_reason": self._answer.stop_reason}

    def _usage_so_far(self, done: int) -> dict[str, object]:
        if not self._tells_all_usage:
            return {}
        prompt = self._prompt_tokens
        usage: dict[str, object] = {"prompt_tokens": prompt, "total_tokens": prompt + done, "completion_tokens": done}
        return {"usage": {**usage, "completion_tokens_details": None} if self._chat else usage}


def _fields_of(request: RecordedRequest) -> Mapping[str, Any]:
    """Return a request's fields; none of one that has another form, which only a script answers."""
    try:
        fields: object = request.json
    except (ValueError, RecursionError):
        return {}
    return fields if is_object(fields) else {}


def failure(refusal: Reply) -> bytes:
    """Return the event that tells of a refusal within a stream; with spaces, unlike all other events of vLLM."""
    return f"data: {json.dumps(refusal.body)}\n\n".encode()


def _event(document: Mapping[str, object]) -> bytes:
    return f"data: {_encode(document)}\n\n".encode()


def _call_id(index: int, name: str, arguments: str) -> str:
    return hashlib.blake2b(f"{index}{name}{arguments}".encode()).hexdigest()[:9]
