"""What `FakeServer` and `MockServer` have in common: a script, the requests that came, and what a test asserts of them.

Pure: a request in, a reply out.
"""

import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from inspect import iscoroutine
from traceback import extract_tb
from typing import Literal, Protocol, TypeAlias, TypeGuard

from nemotron_client._json import short
from nemotron_client.testing.hosted import Hosted
from nemotron_client.testing.lines import text
from nemotron_client.testing.model import Served
from nemotron_client.testing.recorded import COMPLETIONS, Recorded, RecordedRequest
from nemotron_client.testing.replies import Reply, Scripted
from nemotron_client.testing.vllm import VLLM

Personality: TypeAlias = Literal["vllm", "hosted"] | Hosted
"""How a server behaves beyond its script: as vLLM (and NIM, which wraps it), or as NVIDIA's hosted gateway."""

_REPLIES = "give a text, tool_calls(...), error(...) or a Reply"


class _Behaviour(Protocol):
    def refusal(self, request: RecordedRequest, served: Served) -> Reply | None: ...

    def answer(self, request: RecordedRequest, served: Served) -> Reply: ...

    def finished(self, reply: Reply, request: RecordedRequest) -> Reply: ...


class ScriptWarning(UserWarning):
    """Say that a test asked less than its script has answers for."""


class ScriptedServer(Recorded):
    """Answer requests from a script, and by itself where that has nothing.

    Attributes:
        disconnects: How many clients have left in the middle of a response.
    """

    def __init__(
        self, *, api_key: str | None, model: str, max_model_len: int, chunk_delay: float, personality: Personality
    ) -> None:
        """Begin with an empty script.

        Args:
            api_key: Asked for; None asks for none.
            model: The name it serves; any other is a 404.
            max_model_len: The window, in tokens.
            chunk_delay: Seconds between the chunks of a stream, where a reply has no delay of its own.
            personality: How it behaves where the script says nothing.

        Raises:
            ValueError: There is no such personality.
        """
        super().__init__()
        self.disconnects: int = 0
        self._served = Served(model=model, max_model_len=max_model_len, api_key=api_key)
        self._behaviour = _behaviour(personality)
        self._chunk_delay = chunk_delay
        self._queues: defaultdict[str | None, deque[Scripted]] = defaultdict(deque)
        self._always: dict[str | None, Scripted] = {}
        self._mistakes: list[BaseException] = []  # of scripts
        self._used = 0
        self._completed = 0  # of those that were used, how many for completions
        self._beyond: list[RecordedRequest] = []  # asked for completions when the script had come to its end

    def reply(self, *replies: Scripted | str, path: str | None = None) -> None:
        """Queue replies, each for one request: a POST to a completion route, or any request to `path` if given.

        Args:
            replies: What to answer; a str is `text(...)`.
            path: Where it is the answer.

        Raises:
            TypeError: It is no reply.
        """
        self._queues[path].extend(map(_checked, replies))

    def always(self, reply: Scripted | str | None, path: str | None = None) -> None:
        """Give this reply whenever nothing is queued; None goes back to the answers that need no script.

        Raises:
            TypeError: It is no reply.
        """
        if reply is None:
            self._always.pop(path, None)
        else:
            self._always[path] = _checked(reply)

    def explain(self, failure: BaseException) -> None:
        """Note on the exception that fails a test what may be why: a mistake in the script, or its end.

        The end of a `with` block and pytest's fixtures do so.
        """
        for mistake in self._mistakes:
            if mistake is not failure:
                failure.add_note(f"A scripted function raised {mistake!r}{_where(mistake)}.")
        beyond, self._beyond = self._beyond, []
        if beyond:
            questions = ", ".join(map(_shown, beyond))
            told = f"The script ended after its reply {self._completed}. Answered without it: {questions}."
            failure.add_note(f"{told} Give a reply for each, or always(...).")

    def _chosen(self, request: RecordedRequest) -> Reply:
        refused = self._behaviour.refusal(request, self._served)
        if refused is not None:
            return refused
        paths = [request.path, None] if request.method == "POST" and request.path in COMPLETIONS else [request.path]
        scripted = self._next(paths) or next((self._always[path] for path in paths if path in self._always), None)
        if scripted is None:
            if self._completed and None in paths:
                self._beyond.append(request)
            return self._behaviour.answer(request, self._served)
        return self._behaviour.finished(
            scripted if isinstance(scripted, Reply) else _made(_called(scripted, request), request), request
        )

    def _next(self, paths: Sequence[str | None]) -> Scripted | None:
        for path in paths:
            with suppress(IndexError):  # not asked first: another thread may take the last one
                scripted = self._queues[path].popleft()
                self._used += 1
                self._completed += None in paths
                return scripted
        return None

    def _encoded(self, reply: Reply) -> tuple[Iterable[bytes], dict[str, str], float]:
        """Return a reply's chunks, its headers, and the seconds between two chunks."""
        chunks, headers = reply.encoded()
        return chunks, headers, self._chunk_delay if reply.chunk_delay is None else reply.chunk_delay

    def _end(self, *, failed: bool) -> None:
        """Tell what was wrong with the script, once."""
        unused = [(path, reply) for path, queue in self._queues.items() for reply in queue]
        self._queues.clear()
        if unused and not failed and not self._mistakes:
            path, reply = unused[0]
            told = f"{len(unused)} of {self._used + len(unused)} scripted replies were not asked for; the next is"
            where = "" if path is None else f", for {path}"
            warnings.warn(f"{told} {short(reply)}{where}.", ScriptWarning, stacklevel=4)
        if self._mistakes and not failed:
            mistake = self._mistakes[0]
            self._mistakes.clear()
            raise mistake


def _behaviour(personality: object) -> _Behaviour:
    if isinstance(personality, Hosted):
        return personality
    if personality not in ("vllm", "hosted"):
        raise ValueError(f'personality={personality!r}: give "vllm", "hosted" or Hosted(...).')
    return VLLM() if personality == "vllm" else Hosted()


def _is_scripted(value: object) -> TypeGuard[Scripted]:
    return isinstance(value, Reply) or callable(value)


def _checked(reply: object) -> Scripted:
    if isinstance(reply, str):
        return text(reply)
    if _is_scripted(reply):
        return reply
    raise TypeError(f"{reply!r} is no reply: {_REPLIES}, or a function.")


def _called(scripted: Callable[[RecordedRequest], object], request: RecordedRequest) -> object:
    try:
        return scripted(request)
    except StopIteration as wrong:  # which whoever asks would take for an end of its own
        raise RuntimeError("A scripted function raised StopIteration: its iterator is at its end.") from wrong


def _made(returned: object, request: RecordedRequest) -> Reply:
    """Return the reply that a function means, which may return anything that a script may have."""
    if iscoroutine(returned):
        returned.close()
        raise TypeError("A scripted function can't be asynchronous: it is not awaited.")
    made = _called(returned, request) if callable(returned) else returned
    if isinstance(made, str):
        made = text(made)(request)
    if isinstance(made, Reply):
        return made
    raise TypeError(f"A scripted function returned {returned!r}, which is no reply: {_REPLIES}.")


def _where(mistake: BaseException) -> str:
    frames = extract_tb(mistake.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _shown(request: RecordedRequest) -> str:
    """Return a question, or where it went if it has another form than one."""
    try:
        return repr(request.question)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return f"{request.method} {request.path}"
