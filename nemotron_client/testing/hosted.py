"""NVIDIA's hosted gateway, integrate.api.nvidia.com: its pages, its errors, and the strict rules of its workers.

Nobody could measure it: what is known, and from where, is in docs/explanation/protocol.md, "The hosted endpoint". Pure
but for the clock that the rate limit needs.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from http import HTTPStatus
from time import monotonic
from uuid import UUID

from nemotron_client._json import is_object
from nemotron_client.testing.bodies import chat_body, first, text_body
from nemotron_client.testing.contradictions import contradictions
from nemotron_client.testing.conversation import broken_rule
from nemotron_client.testing.forms import TextBody
from nemotron_client.testing.limits import impossible
from nemotron_client.testing.model import Served, completion
from nemotron_client.testing.recorded import CHAT, COMPLETIONS, RecordedRequest
from nemotron_client.testing.replies import Reply, error, problem
from nemotron_client.testing.vllm import of_its_path, sendable, unreadable_conversation, wrong_prompt

_LARGEST = 26_214_400  # bytes of a body
_MINUTE = 60.0
_CREATED = 735_790_403  # of every model
_LIST = "/v1/models"
_FIELDS = frozenset(
    [
        "model",
        "messages",
        "prompt",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "seed",
        "n",
        "user",
        "frequency_penalty",
        "presence_penalty",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "continue_final_message",
        "add_generation_prompt",
    ]
)


@dataclass(kw_only=True)
class Hosted:
    """Behave as NVIDIA's hosted gateway does, in good days or bad ones; for one server at a time.

    Args:
        rate_limit: How many completions a minute it lets pass; the rest get a bare 429. None is no limit.
        offline: What the operator says of the model while it is taken down: each request is a 503.
        retired: Since when the model has been gone, such as "2026-07-27T00:00:00Z": each request is a 410.
        deprecated: When it will be gone: each answer has the header `Deprecation`.
        clock: Tells the seconds that the rate limit counts in.
    """

    rate_limit: int | None = None
    offline: str | None = None
    retired: str | None = None
    deprecated: str | None = None
    clock: Callable[[], float] = monotonic
    _passed: deque[float] = field(default_factory=deque[float], init=False, repr=False)

    def refusal(self, request: RecordedRequest, served: Served) -> Reply | None:
        """Refuse a request before anything else is looked at: by its key, and by the rate limit."""
        if request.path not in COMPLETIONS:
            return None
        given = request.headers.get("authorization")
        if served.api_key is not None and given is None:
            return Reply(status=401, body="Header of type `authorization` was missing")
        if served.api_key is not None and given != f"Bearer {served.api_key}":
            return problem(401, "Unauthorized", "Authentication failed")
        if self._is_over():
            return self.finished(problem(429, "Too Many Requests"), request)
        return None

    def answer(self, request: RecordedRequest, served: Served) -> Reply:
        """Return a page, the gateway's own refusal, a worker's refusal, or a completion."""
        if request.method == "GET":
            return self._page(request.path, served)
        refused = self._of_gateway(request, served)
        if refused is not None:
            return refused
        asked = of_its_path(request)
        worker = first(_refusals(asked, served)) or completion(asked, served.max_model_len)
        return self.finished(sendable(worker), request)

    def finished(self, reply: Reply, request: RecordedRequest) -> Reply:
        """Return a worker's reply as it leaves the gateway: with the request's id, and how it went."""
        if request.path not in COMPLETIONS or not reply.status:
            return reply
        known = str(UUID(bytes=blake2b(request.body, digest_size=16).digest()))
        headers = {"nvcf-reqid": known, "nvcf-status": "fulfilled" if reply.status < 400 else "errored"}
        if self.deprecated is not None:
            headers["deprecation"] = self.deprecated
        return reply.with_headers(headers)

    def _is_over(self) -> bool:
        now = self.clock()
        while self._passed and self._passed[0] <= now - _MINUTE:
            self._passed.popleft()
        if self.rate_limit is not None and len(self._passed) >= self.rate_limit:
            return True
        self._passed.append(now)
        return False

    def _unavailable(self, model: str) -> Reply | None:
        if self.retired is not None:
            told = f"The model '{model}' has reached its end of life on {self.retired} and is no longer available."
            return _gateway_problem(410, told)
        if self.offline is not None:
            return _gateway_problem(503, self.offline, {"retry-after": "10800"})
        return None

    def _page(self, path: str, served: Served) -> Reply:
        owner = served.model.partition("/")[0]
        card = {"id": served.model, "object": "model", "created": _CREATED, "owned_by": owner}
        if path == _LIST:
            return Reply(body={"object": "list", "data": [] if self.retired else [card]})
        if path == f"{_LIST}/{served.model}":
            return self._unavailable(served.model) or Reply(body=card)
        if path.startswith(f"{_LIST}/"):
            return Reply(status=404, body=f"Model does not exist by the name of {path.removeprefix(f'{_LIST}/')}\n")
        return _page_not_found()

    def _of_gateway(self, request: RecordedRequest, served: Served) -> Reply | None:
        if request.path not in COMPLETIONS:
            return _page_not_found()
        if len(request.body) > _LARGEST:
            told = f"Please make sure your payload is below {_LARGEST} bytes in size. If larger assets are required"
            return _invalid_request(f"{told} please refer to our Assets API.", "invalid_image_format")
        try:
            fields: object = request.json
        except (ValueError, RecursionError) as wrong:
            return Reply(status=500, body=f"failed to decode json body: {wrong}\n")
        model = fields.get("model") if is_object(fields) else None
        if not model:
            return _invalid_request("model field is required", "missing_required_field")
        return _page_not_found() if model != served.model else self._unavailable(served.model)


def _refusals(request: RecordedRequest, served: Served) -> Iterator[Reply]:
    """Yield what a worker has against a request; it tells of the first.

    Raises:
        Malformed: The body has another form.
    """
    fields = request.json
    if unknown := [name for name in fields if name not in _FIELDS]:
        told = f"Validation: Unsupported parameter(s): {', '.join(unknown)}"
        yield Reply(status=400, body={"message": told, "type": "Bad Request", "code": 400})
    yield from contradictions(fields, chat=request.path == CHAT)
    body = chat_body(fields) if request.path == CHAT else text_body(fields)
    wanted = body.most_tokens or 0
    yield from impossible(body, served.max_model_len)
    if isinstance(body, TextBody):
        yield from wrong_prompt(body)
    else:
        yield from unreadable_conversation(fields["messages"], served.model)
        messages, tools = fields["messages"], fields.get("tools") or ()
        continued = bool(fields.get("continue_final_message"))
        broken = broken_rule(messages, tools, continued=continued, hosted=True)
        if broken is not None:
            yield error(400, broken)
    window, most = served.max_model_len, served.max_model_len - wanted
    if request.tokens > most:
        yield error(
            400,
            f"You passed {request.tokens} input tokens and requested {wanted} output tokens. However, the model's "
            f"context length is only {window} tokens, resulting in a maximum input length of {most} tokens. Please "
            f"reduce the length of the input prompt. (parameter=input_tokens, value={request.tokens})",
            param="input_tokens",
        )


def _gateway_problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Reply:
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Reply(status=status, headers={"content-type": "application/problem+json", **(headers or {})}, body=body)


def _page_not_found() -> Reply:
    return Reply(status=404, body="404 page not found\n")


def _invalid_request(message: str, code: str) -> Reply:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return Reply(status=400, headers={"content-type": "text/plain; charset=utf-8"}, body=body)
