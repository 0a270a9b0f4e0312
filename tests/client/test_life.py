"""Making, copying and closing clients, and what they tell about themselves."""

import copy
import inspect
import logging
import pickle
import warnings
from collections.abc import Callable
from typing import Any, Literal

import pytest

from nemotron_client import (
    AsyncNemotron,
    BudgetWarned,
    ConfigurationError,
    DeprecationNoticed,
    HookEvent,
    InternalServerError,
    ModelDeprecationWarning,
    Nemotron,
    RateLimitError,
    ResponseReceived,
    RetryPolicy,
    Timeout,
)
from nemotron_client._transport.observe import observer
from nemotron_client.testing import MockServer, Reply, error, problem
from tests.client.conftest import Clock, Connect
from tests.client.either import Either, in_thread

LOCAL = "http://localhost:8000/v1"
DEPRECATED = Reply(headers={"deprecation": "Sat, 01 Aug 2026 00:00:00 GMT"}, body=b'{"choices":[{}]}')


async def test_a_copy_has_other_settings_and_the_same_connections(client: Either, server: MockServer) -> None:
    copied = Either(client.inner.with_options(model="other", timeout=Timeout(idle=1), max_retries=0))
    await client.create()
    server.reply(error(500, "Oops"))
    with pytest.raises(InternalServerError):
        await copied.create()
    assert [request.json["model"] for request in server.requests] == ["mistralai/mistral-nemotron", "other"]
    assert await in_thread(lambda: server.open_connections) == 1


async def test_a_copy_takes_over_what_it_is_not_told(connect: Connect, server: MockServer) -> None:
    client = connect(retry=RetryPolicy(max_retries=0, rate_limit_wait=0))
    copied = Either(client.inner.with_options(timeout=None))
    server.reply(problem(429, "Too Many Requests"))
    with pytest.raises(RateLimitError):
        await copied.create()
    assert type(copied.inner) is type(client.inner)
    with pytest.raises(ConfigurationError, match="not both"):
        client.inner.with_options(max_retries=1, retry=RetryPolicy())


async def test_closing_a_copy_closes_nothing(client: Either, server: MockServer) -> None:
    await Either(client.inner.with_options(model="other")).close()
    assert (await client.create()).text
    await client.close()
    await client.close()
    assert await in_thread(lambda: server.open_connections) == 0


async def test_a_closed_client_says_so(client: Either, server: MockServer) -> None:
    await client.create()
    await client.close()
    with pytest.raises(ConfigurationError, match="closed"):
        await client.create()
    copied = Either(client.inner.with_options(model="other"))
    with pytest.raises(ConfigurationError, match="closed"):
        async with copied.stream():
            pass
    assert server.posts == 1


async def test_a_client_that_sent_nothing_can_be_closed(client: Either) -> None:
    await client.close()


async def test_a_with_block_closes_the_client(client: Either, server: MockServer) -> None:
    if isinstance(client.inner, Nemotron):
        with client.inner as blocking:
            await Either(blocking).create()
        assert blocking is client.inner
    else:
        async with client.inner as asynchronous:
            await Either(asynchronous).create()
        assert asynchronous is client.inner
    assert await in_thread(lambda: server.open_connections) == 0


async def test_aclose_is_close(kind: type[Nemotron | AsyncNemotron]) -> None:
    assert kind.aclose is kind.close


async def test_a_blocking_client_that_nobody_closes_makes_no_noise(server: MockServer) -> None:
    Nemotron(base_url=server.base_url).models.list()


@pytest.mark.parametrize("carry", [pickle.dumps, copy.copy, copy.deepcopy])
async def test_a_client_is_not_carried(carry: Callable[[object], object], client: Either) -> None:
    with pytest.raises(TypeError, match="can't be pickled or copied: it holds a key and connections"):
        carry(client.inner)


async def test_a_client_shows_where_it_talks_to(kind: type[Nemotron | AsyncNemotron]) -> None:
    shown = repr(kind(base_url=LOCAL, api_key="nvapi-made-up", model="m"))
    assert shown == f"{kind.__name__}(base_url='http://localhost:8000/v1', model='m')"


async def test_settings_that_can_not_be_are_told_at_once(kind: type[Nemotron | AsyncNemotron]) -> None:
    with pytest.raises(ConfigurationError, match="There is no API key"):
        kind()
    with pytest.raises(ConfigurationError, match="plain http"):
        kind(base_url="http://example.com/v1")
    with pytest.raises(ConfigurationError, match="not both"):
        kind(base_url=LOCAL, max_retries=1, retry=RetryPolicy())
    with pytest.raises(ConfigurationError, match="timeout='soon'"):
        kind(base_url=LOCAL, timeout="soon")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - that is tested


async def test_the_hook_and_the_log_tell_of_every_step(
    connect: Connect, server: MockServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="nemotron_client")
    seen: list[HookEvent] = []
    client = connect(on_event=seen.append)
    clock.stop()
    server.reply(problem(429, "Too Many Requests", headers={"nvcf-reqid": "r-1"}))
    await client.create()
    await client.create()
    assert [event.type for event in seen] == [
        "request.sent",
        "response.received",
        "retry.scheduled",
        "request.sent",
        "response.received",
        "rate_limited",
        "request.sent",
        "response.received",
    ]
    records = [record for record in caplog.records if record.name.startswith("nemotron_client.requests")]
    assert len(records) == len(seen)
    messages = [record.getMessage() for record in records]
    assert messages[0] == f"POST {server.base_url}/chat/completions, attempt 1"
    assert messages[1].startswith("429 in 0.0")
    assert messages[1].endswith("request id r-1")
    assert messages[2] == f"attempt 1 failed: RateLimitError (429); the next one in {clock.waits[0]:.2f} s"
    assert messages[5] == f"waiting {clock.waits[1]:.2f} s, since the server said 429 to another request"
    assert {record.levelno for record in (records[2], records[5])} == {logging.INFO}


async def test_a_hook_that_nobody_would_await_is_refused(kind: type[Nemotron | AsyncNemotron]) -> None:
    async def hook(_: HookEvent) -> None: ...

    class Hook:
        async def __call__(self, _: HookEvent) -> None: ...

    for each in (hook, Hook()):
        with pytest.raises(ConfigurationError, match="on_event is an async function"):
            kind(base_url=LOCAL, on_event=each)


async def test_a_hook_that_fails_costs_nobody_an_answer(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: HookEvent) -> None:
        raise ZeroDivisionError(event)

    assert (await connect(on_event=fail).create()).text
    failed = [record for record in caplog.records if record.exc_info]
    assert [record.getMessage() for record in failed] == [
        "on_event raised an exception for request.sent",
        "on_event raised an exception for response.received",
    ]


async def test_a_deprecation_warns_once(connect: Connect, server: MockServer) -> None:
    seen: list[HookEvent] = []
    client = connect(on_event=seen.append)
    server.always(DEPRECATED)
    with pytest.warns(ModelDeprecationWarning, match="mistralai/mistral-nemotron will be taken away on Sat, 01 Aug"):
        await client.create()
    await client.create()
    await Either(client.inner.with_options(max_retries=0)).create()
    noticed = DeprecationNoticed("mistralai/mistral-nemotron", "Sat, 01 Aug 2026 00:00:00 GMT")
    assert [event for event in seen if event.type == "deprecation.noticed"] == [noticed]


class Interrupt(BaseException):
    """As Ctrl-C, which no hook's handler holds back."""


async def test_what_interrupts_the_opening_of_a_stream_leaves_none_open(connect: Connect, server: MockServer) -> None:
    def interrupt(event: HookEvent) -> None:
        if isinstance(event, ResponseReceived):
            raise Interrupt

    with pytest.raises(Interrupt):
        await connect(on_event=interrupt).create_stream()
    assert await in_thread(lambda: server.open_connections) == 0


async def test_a_warning_that_is_made_an_error_costs_nobody_an_answer(
    client: Either, server: MockServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.reply(DEPRECATED)
    with warnings.catch_warnings(action="error"):
        assert (await client.create()).choices
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "will be taken away" in record.getMessage()


async def test_a_warning_names_the_line_that_called_the_library(client: Either, server: MockServer) -> None:
    server.reply(DEPRECATED)
    with pytest.warns(ModelDeprecationWarning) as caught:
        await client.create()
    assert caught[0].filename == inspect.getfile(Either)


@pytest.mark.parametrize(("action", "printed"), [("ignore", ""), ("error", "Little room.\n")])
def test_where_no_logging_is_set_up_a_warning_is_not_printed_twice(
    action: Literal["ignore", "error"],
    printed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(logging.getLogger("nemotron_client"), "propagate", False)
    with warnings.catch_warnings(action=action):
        observer(None)(BudgetWarned("Little room."))
    assert capsys.readouterr().err == printed


def test_whoever_forgets_to_open_a_stream_is_told_how() -> None:
    forgotten: Any = Nemotron(base_url=LOCAL, model="m").chat.completions.stream(messages="Hi")
    with pytest.raises(TypeError, match=r"open it first, as in `with client\.chat\.completions\.stream"):
        iter(forgotten)
    with pytest.raises(AttributeError, match=r"no attribute 'text_deltas'\. This isn't sent yet: open it first"):
        forgotten.text_deltas()


def test_whoever_opens_a_stream_of_the_asynchronous_client_as_a_blocking_one_is_told_how() -> None:
    forgotten: Any = AsyncNemotron(base_url=LOCAL, model="m").chat.completions.stream(messages="Hi")
    with pytest.raises(TypeError, match=r"open it first, as in `async with client\.chat"), forgotten:
        pass
    with pytest.raises(TypeError, match="open it first"):
        aiter(forgotten)
