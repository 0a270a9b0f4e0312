"""The asynchronous client, the twin of ``client.py``."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, Literal, NoReturn, Self, Unpack, overload

from ._engine import flows, reader, server, wire
from ._transport.nonblocking import Nonblocking
from ._transport.observe import observer
from .config import UNCHANGED, hidden, resolve
from .messages import (
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    Message,
    Model,
    ModelList,
    Readiness,
    ResponseInfo,
    ServerVersion,
)
from .options import ChatOptions, Prompt, TextOptions, with_signature
from .retry import RetryPolicy
from .streams import AsyncChatStream, AsyncStream
from .timeouts import Timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from pydantic import JsonValue

    from ._transport.http import AsyncHTTPClient, Verify
    from ._transport.nonblocking import AsyncBody
    from .events import HookEvent


class AsyncNemotron:
    """Talk to mistral-nemotron, hosted by NVIDIA or on a server of one's own.

    For asyncio and trio, one running event loop at a time. Use it in ``async with``, or ``await close()`` it.

    Attributes:
        chat: ``chat.completions.create`` and ``.stream``.
        completions: ``completions.create``, for a bare prompt.
        models: ``models.list`` and ``.retrieve``.
        server: ``server.ready``, ``.live``, ``.wait_until_ready``, ``.version``, ``.metadata``.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        model: str | None = None,
        timeout: Timeout | float | None = UNCHANGED,
        max_retries: int | None = None,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
        proxy: str | None = None,
        verify: Verify = True,
        http_client: AsyncHTTPClient | None = None,
        on_event: Callable[[HookEvent], object] | None = None,
        allow_insecure: bool = False,
    ) -> None:
        """Settle where to talk to; nothing is sent yet.

        Args:
            api_key: The key; by default NVIDIA_API_KEY, which goes only to NVIDIA or to NVIDIA_BASE_URL.
            base_url: Where the API is, up to ``/v1``; by default NVIDIA_BASE_URL, or else NVIDIA's endpoint.
            model: The model's name; by default mistralai/mistral-nemotron there, and what a server of one's own says
                it serves.
            timeout: A Timeout; a number of seconds for everything; or None for no limit.
            max_retries: How often an outage is tried again; 0 turns off the waiting out of 429s too.
            retry: When a failed request is sent again.
            headers: Sent with every request.
            proxy: The URL of a proxy; by default what HTTPS_PROXY and the like say.
            verify: Whether and by what to check TLS certificates: a CA bundle's path, an SSLContext, or False for not
                at all.
            http_client: An ``httpx2.AsyncClient`` or ``httpx.AsyncClient`` to use in place of an own one; it is not
                closed here.
            on_event: Called with each request, answer, retry and wait.
            allow_insecure: Send prompts and key over plain http to a host that may be public.

        Raises:
            ConfigurationError: Something is missing or can't be.
        """
        environment, api_key, headers = hidden(os.environ, api_key, headers)
        config = resolve(
            environment,
            api_key=api_key,
            base_url=base_url,
            model=model,
            timeout=timeout,
            max_retries=max_retries,
            retry=retry,
            headers=headers,
            allow_insecure=allow_insecure,
        )
        driver = Nonblocking(http_client, proxy=proxy, verify=verify)
        self._set(flows.Client(config, flows.Shared(observer(on_event))), driver, owns=True)

    def _set(self, client: flows.Client, driver: Nonblocking, *, owns: bool) -> None:
        self._client, self._driver, self._owns = client, driver, owns
        self.chat: AsyncChat = AsyncChat(client, driver)
        self.completions: AsyncTextCompletions = AsyncTextCompletions(client, driver)
        self.models: AsyncModels = AsyncModels(client, driver)
        self.server: AsyncServer = AsyncServer(client, driver)

    def with_options(
        self,
        *,
        model: str | None = None,
        timeout: Timeout | float | None = UNCHANGED,
        max_retries: int | None = None,
        retry: RetryPolicy | None = None,
    ) -> Self:
        """Return a client with other settings that shares this one's connections; closing it closes nothing.

        Args:
            model: The model's name.
            timeout: A Timeout; a number of seconds for everything; or None for no limit.
            max_retries: How often an outage is tried again.
            retry: When a failed request is sent again.

        Raises:
            ConfigurationError: A setting is not possible.
        """
        config = self._client.config.changed(model, timeout, max_retries, retry)
        copy = type(self).__new__(type(self))
        copy._set(flows.Client(config, self._client.shared), self._driver, owns=False)  # noqa: SLF001 - of the same class
        return copy

    async def close(self) -> None:
        """Close the connections; an ``http_client`` that was given stays open."""
        if self._owns:
            await self._driver.close()

    aclose = close

    async def __aenter__(self) -> Self:
        """Give the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()

    def __repr__(self) -> str:
        """Show where it talks to, and no key."""
        if not hasattr(self, "_client"):  # as in the traceback of the error that kept it from being made
            return f"{type(self).__name__}()"
        config, served = self._client.config, self._client.shared.served
        model = config.model or (served.id if served else None)
        shown = "<asked of the server>" if model is None else repr(model)
        return f"{type(self).__name__}(base_url={config.base_url!r}, model={shown})"

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would carry the key, and connections can't be carried.

        Raises:
            TypeError: Always.
        """
        msg = f"{type(self).__name__} can't be pickled or copied: it holds a key and connections. Make another one."
        raise TypeError(msg)


class _Resource:
    def __init__(self, client: flows.Client, driver: Nonblocking) -> None:
        self._client, self._driver = client, driver

    async def _begin(self, call: wire.Call) -> float:
        """Return when the call began; a server of one's own is asked for its model's name first, by one task only."""
        began = monotonic()
        if call.model is None and self._client.shared.served is None:
            async with self._driver.asking():
                await self._driver.run(flows.learn_model(self._client, call, now=began))
        return began

    async def _open(self, call: wire.Call) -> tuple[ResponseInfo, AsyncBody]:
        return await self._driver.open(flows.open_stream(self._client, call, now=await self._begin(call)))


class AsyncChat(_Resource):
    """The chat routes."""

    def __init__(self, client: flows.Client, driver: Nonblocking) -> None:
        """Bind to a client."""
        super().__init__(client, driver)
        self.completions: AsyncChatCompletions = AsyncChatCompletions(client, driver)


class AsyncChatCompletions(_Resource):
    """Chat answers, whole or streamed."""

    @overload
    async def create(
        self, *, messages: str | Sequence[Message], stream: Literal[False] = False, **options: Unpack[ChatOptions]
    ) -> ChatCompletion: ...
    @overload
    async def create(
        self, *, messages: str | Sequence[Message], stream: Literal[True], **options: Unpack[ChatOptions]
    ) -> AsyncStream[ChatCompletionChunk]: ...
    @overload
    async def create(
        self, *, messages: str | Sequence[Message], stream: bool, **options: Unpack[ChatOptions]
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk]: ...
    @with_signature(ChatOptions)
    async def create(
        self, *, messages: str | Sequence[Message], stream: bool = False, **options: Unpack[ChatOptions]
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk]:
        """Get the model's answer to a conversation.

        Args:
            messages: The conversation; a string is one user message.
            stream: Get the answer's chunks as they come, just as OpenAI's client gives them.
            options: Everything else; only what is set is sent.

        Returns:
            The answer; or, with ``stream=True``, its chunks, to be iterated within ``async with``.

        Raises:
            InvalidRequestError: A message or an option is not possible; nothing was sent.
            APIError: The server refused, or no whole answer came.
        """
        call = wire.chat_call(self._client.config, messages, options, stream=stream)
        if not stream:
            return await self._driver.run(flows.chat(self._client, call, now=await self._begin(call)))
        chunks = reader.chat_chunks(call.headers)
        response, body = await self._open(call)
        chunks.begin(response)
        return AsyncStream(chunks, body)

    @with_signature(ChatOptions)
    def stream(self, *, messages: str | Sequence[Message], **options: Unpack[ChatOptions]) -> AsyncChatStream:
        """Get the model's answer as typed events; open it with ``async with``.

        Usage is asked for, unless ``stream_options`` says otherwise.

        Args:
            messages: The conversation; a string is one user message.
            options: Everything else; only what is set is sent.

        Returns:
            What to open: ``async with client.chat.completions.stream(...) as stream: async for event in stream: ...``.

        Raises:
            InvalidRequestError: A message or an option is not possible; nothing was sent.
        """
        call = wire.chat_call(self._client.config, messages, wire.asking_usage(options), stream=True)
        return AsyncChatStream(reader.chat_events(call.headers), lambda: self._open(call))


class AsyncTextCompletions(_Resource):
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
            options: Everything else; only what is set is sent.

        Returns:
            The continuation; or, with ``stream=True``, its chunks, to be iterated within ``async with``.

        Raises:
            InvalidRequestError: The prompt or an option is not possible; nothing was sent.
            APIError: The server refused, or no whole answer came.
        """
        call = wire.text_call(self._client.config, prompt, options, stream=stream)
        if not stream:
            return await self._driver.run(flows.text(self._client, call, now=await self._begin(call)))
        chunks = reader.text_chunks(call.headers)
        response, body = await self._open(call)
        chunks.begin(response)
        return AsyncStream(chunks, body)


class AsyncModels(_Resource):
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
        """
        return await self._driver.run(server.model(self._client, model, now=monotonic()))


class AsyncServer(_Resource):
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
