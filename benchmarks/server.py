"""A server that costs a client as little as can be, in a process of its own, whose CPU time is so nobody else's.

What it answers is written in the prompt, since every client passes that on: "{n} chunks" is a stream of so many, each
a TCP write of its own; "{n} paced chunks" waits a millisecond between them, so that each is a read of its own too, as
with a real model; "{n} failures" are that many 500s, and then a 200; "{n} turns" call a tool in all answers but the
last of so many.
"""

import asyncio
import re
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from subprocess import PIPE, Popen

MODEL = "mistralai/mistral-nemotron"

_STREAM = re.compile(rb"(\d+)( paced)? chunks")
_FAILURES = re.compile(rb"(\d+) failures")
_TURNS = re.compile(rb"(\d+) turns")
# As vLLM 0.32 writes them (docs/explanation/protocol.md).
_IDENTITY = b'"id":"chatcmpl-b4a4da1da7cda94f","created":1767225600,"model":"mistralai/mistral-nemotron"'
_CHUNK = b'{%b,"object":"chat.completion.chunk","choices":[{"index":0,"delta":%b,"logprobs":null,%b,"token_ids":null}]}'
_ANSWER = (
    b'{%b,"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"Hello! How can I help you today?","refusal":null,"annotations":null,"audio":null,"function_call":null,'
    b'"reasoning":null},"logprobs":null,"finish_reason":"stop","stop_reason":null,"token_ids":null}],"service_tier":null,'
    b'"system_fingerprint":null,"usage":{"prompt_tokens":7,"total_tokens":16,"completion_tokens":9,'
    b'"prompt_tokens_details":null},"prompt_logprobs":null}'
) % _IDENTITY
_CALL = _ANSWER.replace(
    b'"content":"Hello! How can I help you today?"',
    b'"content":null,"tool_calls":[{"id":"a1b2c3d4e","type":"function","function":{"name":"get_weather",'
    b'"arguments":"{\\"city\\": \\"Paris\\"}"}}]',
).replace(b'"finish_reason":"stop"', b'"finish_reason":"tool_calls"')
_ERROR = b'{"error":{"message":"busy","type":"InternalServerError","param":null,"code":500}}'


def _piece(event: bytes) -> bytes:
    data = b"data: %b\n\n" % event
    return b"%x\r\n%b\r\n" % (len(data), data)


def _chunk(delta: bytes, finish_reason: bytes = b"null") -> bytes:
    return _piece(_CHUNK % (_IDENTITY, delta, b'"finish_reason":%b' % finish_reason))


_FIRST, _LAST = _chunk(b'{"role":"assistant","content":""}'), _chunk(b"{}", b'"stop"')
# Several, since litellm takes a text that repeats itself for a fault.
_MIDDLE = [_chunk(b'{"content":" %b"}' % word) for word in b"one two three four five six seven".split()]
_END = _piece(b"[DONE]") + b"0\r\n\r\n"
_HEAD = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class _Server:
    def __init__(self) -> None:
        self._failed = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Otherwise a chunk may wait 40 ms for the client to acknowledge the one before.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = re.search(rb"\r\ncontent-length: *(\d+)", head)
                await self._answer(await reader.readexactly(int(length[1]) if length else 0), writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):  # the last at the end of all
            writer.close()

    async def _answer(self, body: bytes, writer: asyncio.StreamWriter) -> None:
        stream, failures, turns = _STREAM.search(body), _FAILURES.search(body), _TURNS.search(body)
        if stream is not None:
            await _stream(int(stream[1]), writer, paced=bool(stream[2]))
        elif failures is not None and self._failed < int(failures[1]):
            self._failed += 1
            _whole(b"500 Internal Server Error", _ERROR, writer)
        elif turns is not None and body.count(b'"role":"tool"') < int(turns[1]) - 1:
            _whole(b"200 OK", _CALL, writer)
        else:
            self._failed = 0
            _whole(b"200 OK", _ANSWER, writer)


def _whole(status: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD % (status, len(body)) + body)


async def _stream(chunks: int, writer: asyncio.StreamWriter, *, paced: bool) -> None:
    writer.write(_STREAM_HEAD)
    writer.write(_FIRST)
    for number in range(chunks - 2):
        if paced:
            await asyncio.sleep(0.001)
        writer.write(_MIDDLE[number % len(_MIDDLE)])
        await writer.drain()
    writer.write(_LAST)
    writer.write(_END)


async def _main() -> None:
    server = await asyncio.start_server(_Server().serve, "127.0.0.1", backlog=2048)
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)  # until whoever started this goes away


@contextmanager
def running() -> Generator[str]:
    """Run the server and give its base URL."""
    with Popen([sys.executable, "-m", "benchmarks.server"], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"


if __name__ == "__main__":
    asyncio.run(_main())
