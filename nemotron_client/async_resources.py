"""The asynchronous client's parts beside chat, the twin of ``resources.py``."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Literal, TypeVar, Unpack, overload

from ._engine import calls, counting, flows, learning, reader, readers, server
from ._engine.sending import Client
from .base import LocalTokens
from .checking import with_signature
from .completions import ChatCompletion, Completion
from .messages import Message
from .options import Function, Prompt, TextOptions
from .servers import Model, ModelList, Readiness, ServerVersion
from .streams import AsyncStream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import JsonValue

    from ._transport.nonblocking import AsyncBody, Nonblocking


ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT", bound=ChatCompletion | Completion)


class AsyncResource:
    """A part of a client: what it was told, and what carries its flows out."""

    def __init__(self, client: Client, driver: Nonblocking) -> None:
        """Bind to a client."""
        self._client, self._driver = client, driver

    async def _begin(self, call: calls.Call) -> tuple[float, float]:
        """Return when the call began, and the time; one task asks a server of one's own for its models first."""
        began = now = monotonic()
        if not learning.knows_enough(self._client, call, now=began):
            async with self._driver.asking(learning.longest_wait(call)):
                await self._driver.run(learning.learn(self._client, call, now=began))
            now = monotonic()
        return began, now

    async def _open_body(self, chunks: reader.StreamReader[ItemT, AnswerT], call: calls.Call) -> AsyncBody:
        """Send a call for a stream, and let its reader begin."""
        began, now = await self._begin(call)
        response, body = await self._driver.open(flows.open_stream(self._client, call, now=now, began=began))
        chunks.begin(response)
        return body


class AsyncTextCompletions(AsyncResource):
    """Continuations of a bare prompt, whole or streamed."""

    @overload
    async def create(
        self, *, prompt: Prompt, stream: Literal[False] = False, **options: Unpack[TextOptions]
    ) -> Completion: ...
    @overload
    async def create(
        self, *, prompt: Prompt, stream: Literal[True], **options: Unpack[TextOptions]
    ) -> AsyncStream[Completion, Completion]: ...
    @overload
    async def create(
        self, *, prompt: Prompt, stream: bool, **options: Unpack[TextOptions]
    ) -> Completion | AsyncStream[Completion, Completion]: ...
    @with_signature(TextOptions)
    async def create(
        self, *, prompt: Prompt, stream: bool = False, **options: Unpack[TextOptions]
    ) -> Completion | AsyncStream[Completion, Completion]:
        """Get the model's continuation of a prompt.

        Args:
            prompt: A text, several, or token ids.
            stream: Get the chunks as they come.
            options: Everything else (docs/reference/options.md); only what is set is sent.

        Returns:
            The continuation; or, with ``stream=True``, its chunks, to be iterated within ``async with``.

        Raises:
            InvalidRequestError: The prompt or an option is not possible; nothing was sent.
            ContextOverflowError: It doesn't fit the window: by the budget, and nothing was sent, or so says the server.
            APIError: The server refused, or no whole answer came.
        """
        call = calls.text_call(self._client.config, prompt, options, stream=stream)
        if not stream:
            began, now = await self._begin(call)
            return await self._driver.run(flows.text(self._client, call, now=now, began=began))
        chunks = readers.text_chunks(call)
        return AsyncStream(chunks, await self._open_body(chunks, call))


class AsyncTokens(LocalTokens, AsyncResource):
    """Counting before anything is sent; only ``count_on_server`` asks anybody."""

    async def count_on_server(
        self, messages: str | Sequence[Message], *, tools: Sequence[Function | Mapping[str, object]] | None = None
    ) -> int:
        """Have the server count, which vLLM and NIM 2 do; NVIDIA's endpoint has no such route.

        Args:
            messages: The conversation; a string is one user message.
            tools: What is offered with it.

        Raises:
            NotFoundError: The server can't count.
            APIError: It refused, or no answer came.
            InvalidRequestError: A message is none.
            ToolDefinitionError: A tool can't be offered.
        """
        return await self._driver.run(counting.count_on_server(self._client, messages, tools, now=monotonic()))


class AsyncModels(AsyncResource):
    """The models that the server offers."""

    async def list(self) -> ModelList:
        """List the models.

        Raises:
            APIError: The server refused, or no answer came.
        """
        return await self._driver.run(server.models(self._client, now=monotonic()))

    async def retrieve(self, model: str) -> Model:
        """Ask for one model.

        Args:
            model: Its name.

        Raises:
            NotFoundError: There is none of that name.
            ModelGoneError: There was one.
            APIError: The server refused, or no answer came.
            InvalidRequestError: That is no name.
        """
        return await self._driver.run(server.model(self._client, model, now=monotonic()))


class AsyncServer(AsyncResource):
    """The server itself: free questions, which never cost inference."""

    async def ready(self) -> Readiness:
        """Ask whether requests would be answered now.

        A server of one's own is asked by its health route, NVIDIA's by ``GET /v1/models/{model}``.

        Returns:
            True or false in a condition, with what the server said.

        Raises:
            APIStatusError: The hosted model is gone, unknown, or not for this key: waiting won't help.
        """
        state, _ = await self._driver.run(server.ready(self._client, now=monotonic()))
        return state

    async def wait_until_ready(self, timeout: float = 600.0) -> Readiness:
        """Wait until requests would be answered.

        Args:
            timeout: For how many seconds; loading a large model takes minutes.

        Raises:
            APITimeoutError: It was not ready in time; the message has what it said last.
            APIStatusError: The hosted model is gone, unknown, or not for this key.
            InvalidRequestError: ``timeout`` is no number from 0.
        """
        return await self._driver.run(server.wait_until_ready(self._client, timeout=timeout, now=monotonic()))

    async def live(self) -> bool:
        """Ask whether the server runs at all, ready or not."""
        return await self._driver.run(server.live(self._client, now=monotonic()))

    async def version(self) -> ServerVersion:
        """Ask for the server's version.

        Raises:
            APIError: It doesn't tell (NVIDIA's endpoint has no such route), or no answer came.
        """
        return await self._driver.run(server.version(self._client, now=monotonic()))

    async def metadata(self) -> dict[str, JsonValue]:
        """Ask a NIM for its metadata.

        Raises:
            APIError: It is no NIM, or no answer came.
        """
        return await self._driver.run(server.metadata(self._client, now=monotonic()))
