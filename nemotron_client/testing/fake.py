"""A server in the process: no sockets, no thread, no time. For tests that are to be fast and to depend on nothing."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from nemotron_client.testing.inprocess import InProcess
from nemotron_client.testing.playback import Broken, Exchange
from nemotron_client.testing.recorded import RecordedRequest
from nemotron_client.testing.replies import MODEL, Reply, Scripted
from nemotron_client.testing.script import Personality, ScriptedServer
from nemotron_client.testing.transports import Plug


class FakeServer(ScriptedServer, InProcess):
    """Answer a client in the process, with what `MockServer` answers.

    Time does not pass here: a delay is over at once, yet a client whose limit is shorter runs into it.

    Args:
        replies: The script, as for `reply`.
        api_key: Asked for, by vLLM under /v1 only; None asks for none.
        model: The name it serves; any other is a 404.
        max_model_len: The window, in tokens.
        chunk_delay: Seconds between the chunks of a stream, where a reply has no delay of its own.
        personality: How it behaves where the script says nothing: "vllm", or "hosted" as NVIDIA's gateway does.
            `Hosted(...)` is that on bad days: with a rate limit, offline, retired.
        sleep: What to do with a delay, such as `time.sleep` or `anyio.sleep`, or a test's own clock.

    Attributes:
        base_url: The URL for a client's `base_url`, with /v1.
        requests: Every request that has come, oldest first. A client that was given no `model` asks GET /v1/models
            first; `posts` and `asked` leave that out.
        disconnects: How many clients have left in the middle of a response.
        waits: Each delay that was due, in seconds.
    """

    base_url = "http://fake/v1"

    def __init__(
        self,
        *replies: Scripted | str,
        api_key: str | None = None,
        model: str = MODEL,
        max_model_len: int = 131_072,
        chunk_delay: float = 0.0,
        personality: Personality = "vllm",
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        ScriptedServer.__init__(
            self,
            api_key=api_key,
            model=model,
            max_model_len=max_model_len,
            chunk_delay=chunk_delay,
            personality=personality,
        )
        options = {"base_url": self.base_url, "model": model, "api_key": api_key}
        plug = Plug(answer=self._answer, left=self._left, wait=self._wait)
        InProcess.__init__(self, plug, options, network=False)
        self.waits: list[float] = []
        self._sleep = sleep
        self.reply(*replies)

    def __repr__(self) -> str:
        return f"<FakeServer asked {self.posts} times>"

    def close(self, *, failed: bool = False) -> None:
        """Leave the HTTP clients that were attached as they were before.

        Args:
            failed: Whether the test has failed: then a mistake in the script need not be told.

        Raises:
            Exception: What a scripted function raised, so that the test fails that wrote it.
        """
        super().close(failed=failed)
        self._end(failed=failed)

    def _answer(self, request: RecordedRequest) -> Exchange:
        self.requests.append(request)
        try:
            reply = self._chosen(request)
            chunks, headers, pause = self._encoded(reply)
        except BaseException as mistake:  # such as pytest.fail's
            self._mistakes.append(mistake)
            raise
        return Exchange(
            status=reply.status,
            headers=headers,
            delay=reply.delay,
            chunks=self._paced(() if request.method == "HEAD" else chunks, pause),
            end=_end(reply),
        )

    def _paced(self, chunks: Iterable[bytes], pause: float) -> Iterator[tuple[float, bytes]]:
        try:
            for number, chunk in enumerate(chunks):
                yield pause if number else 0.0, chunk
        except GeneratorExit:
            raise
        except BaseException as mistake:
            self._mistakes.append(mistake)
            raise

    def _wait(self, seconds: float) -> object:
        self.waits.append(seconds)
        return None if self._sleep is None else self._sleep(seconds)

    def _left(self) -> None:
        self.disconnects += 1


def _end(reply: Reply) -> Broken | Literal["hang"] | None:
    if reply.end == "hang":
        return "hang"
    if reply.end == "reset":
        return Broken("ReadError", "[Errno 104] Connection reset by peer")
    if not reply.status:
        return Broken("RemoteProtocolError", "Server disconnected without sending a response.")
    if reply.end == "cut":
        return Broken("RemoteProtocolError", "peer closed connection without sending complete message body")
    return None
