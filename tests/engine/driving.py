"""Drive flows by hand: replies are written down, so are the times, and nothing is sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from json import dumps
from random import Random
from typing import Generic, TypeVar

from nemotron_client._engine.exchange import Failure, Flow, Outcome, Problem, Reply, Request, Response
from nemotron_client._engine.flows import Client, Shared
from nemotron_client.config import UNCHANGED, Config, resolve
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
            self.requests.append(next(steps))
            while left:
                self.requests.append(steps.send(left.pop(0)))
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


def reply(
    status: int = 200, body: object = b"", headers: Mapping[str, str] | None = None, *, now: float = 1.0, sent: float = 0.0
) -> Response:
    """Make an answer; a body that isn't bytes is sent as JSON."""
    return Response(status, headers or {}, body if isinstance(body, bytes) else dumps(body).encode(), sent, now)


def failure(problem: Problem, detail: str = "", *, now: float = 1.0, sent: float = 0.0) -> Failure:
    return Failure(problem, detail, sent, now)


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


def stream(*chunks: Mapping[str, object]) -> bytes:
    """Make the whole body of a stream."""
    return b"".join(map(event, chunks)) + DONE
