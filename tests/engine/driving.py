"""Drive flows by hand: replies are written down, so are the times, and nothing is sent; and what goes into them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from json import dumps, loads
from random import Random
from typing import Generic, TypeVar

from nemotron_client._engine import refusals
from nemotron_client._engine.calls import Call, chat_call
from nemotron_client._engine.exchange import Failure, Flow, Outcome, Problem, Reply, Request, Response, Step, Work
from nemotron_client._engine.sending import Client, Shared
from nemotron_client.completions import ChatCompletion
from nemotron_client.config import UNCHANGED, Config, Secret, resolve
from nemotron_client.errors import APIStatusError
from nemotron_client.events import HookEvent
from nemotron_client.timeouts import Timeout

T = TypeVar("T")
KEY = "nvapi-made-up-key"
OWN = "http://localhost:8000/v1"
HOSTED = "https://integrate.api.nvidia.com/v1"


@dataclass
class Talk(Generic[T]):
    """A flow and the requests it has made so far."""

    flow: Flow[T]
    requests: list[Request] = field(default_factory=list[Request])

    def end(self, *replies: Reply) -> T:
        """Answer its requests with these replies, exactly as many as it asks for, and return its result."""
        outcome = Outcome[T]()
        steps = outcome.steps(self.flow)
        left = list(replies)
        try:
            self.requests.append(_request(steps, next(steps)))
            while left:
                self.requests.append(_request(steps, steps.send(left.pop(0))))
        except StopIteration:
            assert not left, f"done before {left}"
            return outcome.value
        raise AssertionError(f"no reply left for {self.requests[-1]}")

    @property
    def posts(self) -> int:
        return [request.method for request in self.requests].count("POST")

    @property
    def delays(self) -> list[float]:
        return [request.delay for request in self.requests]

    @property
    def paths(self) -> list[str]:
        return [request.url.removeprefix(OWN.removesuffix("/v1")) for request in self.requests]


def first(flow: Flow[T]) -> Request:
    """Return the first request of a flow."""
    return _request(flow, next(flow))


def then(flow: Flow[T], answer: Reply) -> Request:
    """Answer a flow's request, and return the next one."""
    return _request(flow, flow.send(answer))


def _request(flow: Flow[T], step: Step) -> Request:
    while isinstance(step, Work):
        step.do()
        step = next(flow)
    return step


def reply(
    status: int = 200,
    body: object = b"",
    headers: Mapping[str, str] | None = None,
    *,
    now: float = 1.0,
    sent: float = 0.0,
) -> Response:
    """Make an answer; a body that isn't bytes is sent as JSON."""
    return Response(status, headers or {}, body if isinstance(body, bytes) else dumps(body).encode(), sent, now)


def failure(problem: Problem, detail: str = "", *, now: float = 1.0, sent: float = 0.0) -> Failure:
    return Failure(problem, detail, sent, now)


def close(values: Iterable[float], expected: Iterable[float], *, by: float = 1e-9) -> bool:
    """Tell whether figures are those that are expected, but for so much."""
    return all(abs(value - other) <= by for value, other in zip(values, expected, strict=True))


def config(
    base_url: str = OWN, *, model: str | None = "m", timeout: Timeout | float | None = UNCHANGED, max_retries: int = 2
) -> Config:
    return resolve({}, api_key=KEY, base_url=base_url, model=model, timeout=timeout, max_retries=max_retries)


def client(settings: Config | None = None, events: list[HookEvent] | None = None) -> Client:
    """Make a client as flows see it, whose waits are the same in each run."""
    told: list[HookEvent] = [] if events is None else events
    return Client(settings or config(), Shared(told.append, jitter=Random(1)))


def answer(text: str = "Hello", **fields: object) -> dict[str, object]:
    """Make a whole chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **fields}


def chunk(
    delta: Mapping[str, object] | None = None, finish_reason: str | None = None, index: int = 0, **fields: object
) -> dict[str, object]:
    """Make a chunk with one choice, or with none where there is no delta."""
    choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": finish_reason}]
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **fields}


def event(data: object) -> bytes:
    """Make one event of a stream."""
    return b"data: " + (data if isinstance(data, bytes) else dumps(data).encode()) + b"\n\n"


DONE = event(b"[DONE]")


def chat(
    options: Mapping[str, object] | None = None,
    messages: object = "Hi",
    *,
    stream: bool = False,
    settings: Config | None = None,
) -> Call:
    """Check and write a call, of what a caller may give and of what none should."""
    return chat_call(settings or config(), messages, options or {}, stream=stream)  # type: ignore[arg-type] # on purpose


def asked(headers: Mapping[str, str], *, offered: Iterable[str] = (), names: Mapping[str, str] | None = None) -> Call:
    """Return a call as a stream's reader sees it."""
    call = chat_call(config(), "Hi", {}, stream=True)
    return replace(call, headers=headers, offered=frozenset(offered), names=names or {})


def sent(options: Mapping[str, object] | None = None, messages: object = "Hi") -> object:
    """Return the body of such a call, parsed and without the model's name."""
    body = chat(options, messages).body
    assert body is not None
    data: dict[str, object] = loads(body)
    assert data.pop("model") == "m"
    return data


REQUEST = Request(
    "POST",
    f"{HOSTED}/chat/completions",
    {"authorization": Secret(f"Bearer {KEY}"), "x-extra": Secret("s3cret-value"), "accept": "*/*"},
)


def refuse(
    status: int, body: object = b"", headers: Mapping[str, str] | None = None, *, hosted: bool = True
) -> APIStatusError:
    """Make the error for this answer to ``REQUEST``."""
    return refusals.status_failure(REQUEST, reply(status, body, headers), hosted=hosted)


def calling(*calls: tuple[str, str], finish_reason: str = "tool_calls", **fields: object) -> ChatCompletion:
    """Make an answer that calls functions, each a name and its arguments as text."""
    made = [
        {"id": f"call-{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for index, (name, arguments) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": made}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return ChatCompletion.model_validate({**answer(), "choices": [choice], **fields})
