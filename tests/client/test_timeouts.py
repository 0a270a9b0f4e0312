"""How long a client waits: for headers, for content, in all; and that its caller may take all the time there is."""

import itertools
import socket
from dataclasses import replace
from time import monotonic

import anyio
import pytest

from nemotron_client import (
    APITimeoutError,
    StreamInterruptedError,
    StreamTimeoutError,
    TextDelta,
    Timeout,
)
from nemotron_client.testing import MockServer, Reply, text
from tests.client.conftest import Clock, Connect
from tests.client.either import Either

LIMIT = 0.15
COMMENTS = itertools.repeat(b": keep-alive\n\n")
ONE_BY_ONE = (bytes([byte]) for byte in itertools.cycle(b": x\n"))
BEGUN = b'data: {"choices":[{"delta":{"content":"Once"}}]}\n\n'
DONE = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class Stopwatch:
    def __init__(self) -> None:
        self._began = monotonic()

    def shows_about(self, seconds: float) -> bool:
        """Tell whether so long has passed; the upper end is generous, for a busy machine."""
        return seconds * 0.8 <= monotonic() - self._began < seconds + 5


async def test_no_headers_in_time_is_a_timeout_and_not_sent_again(connect: Connect, server: MockServer) -> None:
    server.always(Reply(status=0, end="hang"))
    client = connect(timeout=Timeout(first_event=LIMIT))
    watch = Stopwatch()
    with pytest.raises(APITimeoutError, match="no answer in time") as caught:
        await client.create()
    assert watch.shows_about(LIMIT)
    assert not isinstance(caught.value, StreamInterruptedError)
    assert server.posts == 1


async def test_no_body_in_time_is_a_timeout(client: Either, server: MockServer) -> None:
    server.always(Reply(body=b'{"choices"', end="hang"))
    watch = Stopwatch()
    with pytest.raises(APITimeoutError, match="no answer in time"):
        await client.create(timeout=Timeout(first_event=LIMIT))
    assert watch.shows_about(LIMIT)
    assert server.posts == 1


async def test_the_total_is_told_from_the_other_limits(client: Either, server: MockServer) -> None:
    server.always(Reply(status=0, end="hang"))
    watch = Stopwatch()
    with pytest.raises(APITimeoutError, match="not done in time"):
        await client.create(timeout=LIMIT)
    assert watch.shows_about(LIMIT)
    server.always(Reply(chunks=COMMENTS, chunk_delay=0.02))
    watch = Stopwatch()
    with pytest.raises(APITimeoutError, match="not done in time"):
        await client.create(timeout=LIMIT)
    assert watch.shows_about(LIMIT)
    assert server.posts <= 2  # none twice; on a machine that is very slow, the time may be up before it is sent


SILENCES = {
    "nothing-after-the-headers": Reply(chunks=(), end="hang"),
    "comments-for-ever": Reply(chunks=COMMENTS, chunk_delay=0.02),
    "a-byte-now-and-then": Reply(chunks=ONE_BY_ONE, chunk_delay=0.02),
}


@pytest.mark.parametrize("silence", SILENCES.values(), ids=SILENCES)
async def test_a_stream_that_never_says_anything_is_cut(silence: Reply, client: Either, server: MockServer) -> None:
    server.reply(silence)
    watch = Stopwatch()
    async with client.stream(timeout=Timeout(first_event=LIMIT)) as stream:
        with pytest.raises(StreamTimeoutError) as caught:
            await stream.until_done()
    assert watch.shows_about(LIMIT)
    assert isinstance(caught.value, APITimeoutError)
    assert "Timeout(" in (caught.value.hint or "")
    assert server.posts == 1
    assert server.open_connections == 0


@pytest.mark.parametrize("silence", [(), COMMENTS, ONE_BY_ONE], ids=SILENCES)
async def test_a_stream_that_falls_silent_is_cut_and_keeps_what_had_come(
    silence: tuple[bytes, ...], client: Either, server: MockServer
) -> None:
    server.reply(Reply(chunks=itertools.chain([BEGUN], silence), chunk_delay=0.02, end="hang"))
    async with client.stream(timeout=Timeout(idle=LIMIT)) as stream:
        assert await anext(aiter(stream)) == TextDelta("Once")
        watch = Stopwatch()
        with pytest.raises(StreamTimeoutError) as caught:
            await stream.until_done()
        assert watch.shows_about(LIMIT)
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Once"
    assert server.posts == 1


async def test_a_stream_is_cut_at_the_total_whatever_it_says(client: Either, server: MockServer) -> None:
    server.reply(Reply(chunks=itertools.repeat(BEGUN), chunk_delay=0.02))
    watch = Stopwatch()
    async with client.stream(timeout=LIMIT) as stream:
        with pytest.raises(StreamTimeoutError):
            await stream.until_done()
    assert watch.shows_about(LIMIT)
    assert stream.snapshot.text.startswith("OnceOnce")


async def test_a_stream_that_goes_on_speaking_is_not_cut(client: Either, server: MockServer) -> None:
    server.reply(lambda request: replace(text("word " * 8)(request), chunk_delay=0.05))
    async with client.stream(timeout=Timeout(first_event=0.4, idle=0.4)) as stream:
        assert await stream.get_final_text() == "word " * 8


async def test_the_time_that_the_caller_takes_does_not_count(client: Either, clock: Clock) -> None:
    async with client.stream("Tell me a story", timeout=Timeout(first_event=1, idle=1)) as stream:
        async for _ in stream:
            clock.sleep(3600)
    assert stream.snapshot.choices[0].finish_reason == "stop"


async def test_nor_does_it_count_for_the_total(client: Either, clock: Clock) -> None:
    async with client.stream("Tell me a story", timeout=1) as stream:
        async for _ in stream:
            clock.sleep(3600)
    assert stream.snapshot.choices[0].finish_reason == "stop"


async def test_a_silence_may_be_longer_than_the_wait_for_the_first_event(client: Either, server: MockServer) -> None:
    server.reply(Reply(chunks=[BEGUN, DONE], chunk_delay=0.3))
    async with client.stream(timeout=Timeout(first_event=0.2, idle=5)) as stream:
        assert await stream.get_final_text() == "Once"


async def test_no_limit_is_no_limit(client: Either) -> None:
    async with client.stream(timeout=None) as stream:
        assert await stream.get_final_text()


@pytest.mark.parametrize("rest", [(), COMMENTS], ids=["silence", "comments-for-ever"])
async def test_an_end_that_is_missing_after_done_is_not_waited_for(
    rest: tuple[bytes, ...], client: Either, server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("blocking", "nonblocking", "watchdog"):
        monkeypatch.setattr(f"nemotron_client._transport.{module}.DRAIN", 0.08)
    server.reply(Reply(chunks=itertools.chain([BEGUN + DONE], rest), chunk_delay=0.01, end="hang"))
    watch = Stopwatch()
    async with client.stream() as stream:
        with anyio.fail_after(5):
            assert await stream.get_final_text() == "Once"
    assert watch.shows_about(0.08)
    assert server.open_connections == 0


async def test_what_still_comes_after_done_is_read_so_that_the_connection_can_be_used_again(
    client: Either, server: MockServer
) -> None:
    server.reply(Reply(chunks=[BEGUN + DONE, b": bye\n\n", b": bye\n\n"], chunk_delay=0.01))
    async with client.stream() as stream:
        assert await stream.get_final_text() == "Once"
    assert server.open_connections == 1


async def test_a_connection_that_is_not_made_in_time_is_tried_again(connect: Connect, clock: Clock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # the kernel takes the connection in, nobody answers to TLS
        client = connect(base_url=f"https://127.0.0.1:{deaf.getsockname()[1]}/v1", timeout=Timeout(connect=0.05))
        with pytest.raises(APITimeoutError, match="no connection in time") as caught:
            await client.create(max_retries=1)
    assert len(caught.value.attempts) == 2
    assert len(clock.waits) == 1
