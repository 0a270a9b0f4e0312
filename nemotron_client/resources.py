"""The blocking client's parts beside chat: text completions, models, the server."""

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
from .streams import Stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import JsonValue

    from ._transport.blocking import Blocking, Body


ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT", bound=ChatCompletion | Completion)


class Resource:
    """A part of a client: what it was told, and what carries its flows out."""

    def __init__(self, client: Client, driver: Blocking) -> None:
        """Bind to a client."""
        self._client, self._driver = client, driver

    def _begin(self, call: calls.Call) -> tuple[float, float]:
        """Return when the call began, and the time; one thread asks a server of one's own for its models first."""
        began = now = monotonic()
        if not learning.knows_enough(self._client, call, now=began):
            with self._driver.asking(learning.longest_wait(call)):
                self._driver.run(learning.learn(self._client, call, now=began))
            now = monotonic()
        return began, now

    def _open_body(self, chunks: reader.StreamReader[ItemT, AnswerT], call: calls.Call) -> Body:
        """Send a call for a stream, and let its reader begin."""
        began, now = self._begin(call)
        response, body = self._driver.open(flows.open_stream(self._client, call, now=now, began=began))
        chunks.begin(response)
        return body


class TextCompletions(Resource):
    """Continuations of a bare prompt, whole or streamed."""

    @overload
    def create(
        self, *, prompt: Prompt, stream: Literal[False] = False, **options: Unpack[TextOptions]
    ) -> Completion: ...
    @overload
    def create(
        self, *, prompt: Prompt, stream: Literal[True], **options: Unpack[TextOptions]
    ) -> Stream[Completion, Completion]: ...
    @overload
    def create(
        self, *, prompt: Prompt, stream: bool, **options: Unpack[TextOptions]
    ) -> Completion | Stream[Completion, Completion]: ...
    @with_signature(TextOptions)
    def create(
        self, *, prompt: Prompt, stream: bool = False, **options: Unpack[TextOptions]
    ) -> Completion | Stream[Completion, Completion]:
        """Get the model's continuation of a prompt.

        Args:
            prompt: A text, several, or token ids.
            stream: Get the chunks as they come.
            options: Everything else (docs/reference/options.md); only what is set is sent.

        Returns:
            The continuation; or, with ``stream=True``, its chunks, to be iterated within ``with``.

        Raises:
            InvalidRequestError: The prompt or an option is not possible; nothing was sent.
            ContextOverflowError: It doesn't fit the window: by the budget, and nothing was sent, or so says the server.
            APIError: The server refused, or no whole answer came.
        """
        call = calls.text_call(self._client.config, prompt, options, stream=stream)
        if not stream:
            began, now = self._begin(call)
            return self._driver.run(flows.text(self._client, call, now=now, began=began))
        chunks = readers.text_chunks(call)
        return Stream(chunks, self._open_body(chunks, call))


class Tokens(LocalTokens, Resource):
    """Counting before anything is sent; only ``count_on_server`` asks anybody."""

    def count_on_server(
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
        return self._driver.run(counting.count_on_server(self._client, messages, tools, now=monotonic()))


class Models(Resource):
    """The models that the server offers."""

    def list(self) -> ModelList:
        """List the models.

        Raises:
            APIError: The server refused, or no answer came.
        """
        return self._driver.run(server.models(self._client, now=monotonic()))

    def retrieve(self, model: str) -> Model:
        """Ask for one model.

        Args:
            model: Its name.

        Raises:
            NotFoundError: There is none of that name.
            ModelGoneError: There was one.
            APIError: The server refused, or no answer came.
            InvalidRequestError: That is no name.
        """
        return self._driver.run(server.model(self._client, model, now=monotonic()))


class Server(Resource):
    """The server itself: free questions, which never cost inference."""

    def ready(self) -> Readiness:
        """Ask whether requests would be answered now.

        A server of one's own is asked by its health route, NVIDIA's by ``GET /v1/models/{model}``.

        Returns:
            True or false in a condition, with what the server said.

        Raises:
            APIStatusError: The hosted model is gone, unknown, or not for this key: waiting won't help.
        """
        state, _ = self._driver.run(server.ready(self._client, now=monotonic()))
        return state

    def wait_until_ready(self, timeout: float = 600.0) -> Readiness:
        """Wait until requests would be answered.

        Args:
            timeout: For how many seconds; loading a large model takes minutes.

        Raises:
            APITimeoutError: It was not ready in time; the message has what it said last.
            APIStatusError: The hosted model is gone, unknown, or not for this key.
            InvalidRequestError: ``timeout`` is no number from 0.
        """
        return self._driver.run(server.wait_until_ready(self._client, timeout=timeout, now=monotonic()))

    def live(self) -> bool:
        """Ask whether the server runs at all, ready or not."""
        return self._driver.run(server.live(self._client, now=monotonic()))

    def version(self) -> ServerVersion:
        """Ask for the server's version.

        Raises:
            APIError: It doesn't tell (NVIDIA's endpoint has no such route), or no answer came.
        """
        return self._driver.run(server.version(self._client, now=monotonic()))

    def metadata(self) -> dict[str, JsonValue]:
        """Ask a NIM for its metadata.

        Raises:
            APIError: It is no NIM, or no answer came.
        """
        return self._driver.run(server.metadata(self._client, now=monotonic()))
