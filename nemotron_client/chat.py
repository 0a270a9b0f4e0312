"""The blocking client's chat routes: answers whole, streamed and of a given form, and the agent loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar, Unpack, overload

from ._engine import calls, flows, readers
from ._engine.sending import Client
from ._json import is_object
from .checking import with_signature
from .options import ChatOptions, ParseOptions, RunOptions
from .resources import Resource
from .streams import ChatStream, Stream, UnopenedStream

if TYPE_CHECKING:  # what is not needed before a method is called, that method imports
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import JsonValue
    from typing_extensions import TypeForm

    from ._engine.parsing import Asking
    from ._transport.blocking import Blocking
    from .completions import ChatCompletion, ChatCompletionChunk, ParsedCompletion
    from .messages import Message
    from .parsestreams import ParseStream
    from .runs import Approval, ToolRun
    from .start import Claim
    from .toolstreams import ToolStream

T = TypeVar("T")


class Chat(Resource):
    """The chat routes."""

    def __init__(self, client: Client, driver: Blocking) -> None:
        """Bind to a client."""
        super().__init__(client, driver)
        self.completions: ChatCompletions = ChatCompletions(client, driver)


class ChatCompletions(Resource):
    """Chat answers, whole or streamed."""

    @overload
    def create(
        self, *, messages: str | Sequence[Message], stream: Literal[False] = False, **options: Unpack[ChatOptions]
    ) -> ChatCompletion: ...
    @overload
    def create(
        self, *, messages: str | Sequence[Message], stream: Literal[True], **options: Unpack[ChatOptions]
    ) -> Stream[ChatCompletionChunk]: ...
    @overload
    def create(
        self, *, messages: str | Sequence[Message], stream: bool, **options: Unpack[ChatOptions]
    ) -> ChatCompletion | Stream[ChatCompletionChunk]: ...
    @with_signature(ChatOptions)
    def create(
        self, *, messages: str | Sequence[Message], stream: bool = False, **options: Unpack[ChatOptions]
    ) -> ChatCompletion | Stream[ChatCompletionChunk]:
        """Get the model's answer to a conversation.

        Args:
            messages: The conversation; a string is one user message.
            stream: Get the answer's chunks as they come, just as OpenAI's client gives them.
            options: Everything else (docs/reference/options.md); only what is set is sent.

        Returns:
            The answer; or, with ``stream=True``, its chunks, to be iterated within ``with``.

        Raises:
            InvalidRequestError: A message or an option is not possible; nothing was sent.
            ContextOverflowError: It doesn't fit the window: by the budget, and nothing was sent, or so says the server.
            APIError: The server refused, or no whole answer came.
        """
        call = flows.chat_call(self._client, messages, options, stream=stream)
        if not stream:
            began, now = self._begin(call)
            return self._driver.run(flows.chat(self._client, call, now=now, began=began))
        chunks = readers.chat_chunks(call)
        return Stream(chunks, self._open_body(chunks, call))

    @with_signature(ChatOptions)
    def stream(
        self, *, messages: str | Sequence[Message], **options: Unpack[ChatOptions]
    ) -> UnopenedStream[ChatStream]:
        """Get the model's answer as typed events; open it with ``with``.

        Usage is asked for, unless ``stream_options`` says otherwise.

        Args:
            messages: The conversation; a string is one user message.
            options: Everything else (docs/reference/options.md); only what is set is sent.

        Returns:
            What to open: ``with client.chat.completions.stream(...) as stream: for event in stream: ...``.

        Raises:
            InvalidRequestError: A message or an option is not possible; nothing was sent.
        """
        call = self._stream_call(messages, options)
        return UnopenedStream(lambda: self._opened(call))

    @overload
    def parse(
        self, *, messages: str | Sequence[Message], response_format: type[T], **options: Unpack[ParseOptions]
    ) -> ParsedCompletion[T]: ...
    @overload
    def parse(
        self,
        *,
        messages: str | Sequence[Message],
        response_format: Mapping[str, object],
        **options: Unpack[ParseOptions],
    ) -> ParsedCompletion[JsonValue]: ...
    @overload
    def parse(
        self, *, messages: str | Sequence[Message], response_format: TypeForm[T], **options: Unpack[ParseOptions]
    ) -> ParsedCompletion[T]: ...
    @with_signature(ParseOptions)
    def parse(
        self,
        *,
        messages: str | Sequence[Message],
        response_format: type[T] | TypeForm[T] | Mapping[str, object],
        **options: Unpack[ParseOptions],
    ) -> ParsedCompletion[T] | ParsedCompletion[JsonValue]:
        """Get an answer of a given form, as a typed value.

        Args:
            messages: The conversation; a string is one user message.
            response_format: A pydantic model, dataclass, TypedDict, union, list, ..., or a JSON schema.
            options: Everything else (docs/reference/options.md). ``method`` says how the server is asked for the form
                ("auto": by the method that has worked, or by each in turn), ``reasks`` how often the model is told what
                is wrong with an invalid answer and asked again.

        Returns:
            The answer, with the value as ``.parsed``.

        Raises:
            InvalidRequestError: The form, a message or an option is not possible; nothing was sent.
            ResponseFormatError: The answer was cut short, refused, or never of the form; it has the text.
            ContextOverflowError: It doesn't fit the window: by the budget, and nothing was sent, or so says the server.
            APIError: The server refused, or no whole answer came.
        """
        from ._engine.parsing import Asking
        from .structured import format_of_schema, format_of_type

        if is_object(response_format):
            return self._parse(Asking(self._client, messages, format_of_schema(response_format), options))
        return self._parse(Asking(self._client, messages, format_of_type(response_format), options))

    def _parse(self, asking: Asking[T]) -> ParsedCompletion[T]:
        from ._engine import parsing

        began, now = self._begin(asking.call)
        return self._driver.run(parsing.parse(self._client, asking, now=now, began=began))

    @overload
    def stream_parse(
        self, *, messages: str | Sequence[Message], response_format: type[T], **options: Unpack[ParseOptions]
    ) -> UnopenedStream[ParseStream[T]]: ...
    @overload
    def stream_parse(
        self,
        *,
        messages: str | Sequence[Message],
        response_format: Mapping[str, object],
        **options: Unpack[ParseOptions],
    ) -> UnopenedStream[ParseStream[JsonValue]]: ...
    @overload
    def stream_parse(
        self, *, messages: str | Sequence[Message], response_format: TypeForm[T], **options: Unpack[ParseOptions]
    ) -> UnopenedStream[ParseStream[T]]: ...
    @with_signature(ParseOptions, reasks=0)
    def stream_parse(
        self,
        *,
        messages: str | Sequence[Message],
        response_format: type[T] | TypeForm[T] | Mapping[str, object],
        **options: Unpack[ParseOptions],
    ) -> UnopenedStream[ParseStream[T]] | UnopenedStream[ParseStream[JsonValue]]:
        """Get an answer of a given form while it grows; open it with ``with``.

        An invalid answer is not asked for again, since its pieces were given already.

        Args:
            messages: The conversation; a string is one user message.
            response_format: A pydantic model, dataclass, TypedDict, union, list, ..., or a JSON schema.
            options: Everything else, as for ``parse``.

        Returns:
            What to open. Beside the events of ``stream()`` come ``parsed.delta``, with the value as far as it has
            come, and ``parsed.done``, with the typed one.

        Raises:
            InvalidRequestError: The form, a message or an option is not possible; nothing was sent.
        """
        from ._engine.parsing import Asking
        from .structured import format_of_schema, format_of_type

        if is_object(response_format):
            form = format_of_schema(response_format)
            return self._parse_stream(Asking(self._client, messages, form, options, stream=True))
        return self._parse_stream(Asking(self._client, messages, format_of_type(response_format), options, stream=True))

    def _parse_stream(self, asking: Asking[T]) -> UnopenedStream[ParseStream[T]]:
        from ._engine import parsing
        from .parsestreams import ParseStream

        def start() -> ParseStream[T]:
            events = readers.parsed_events(asking.call, asking.form, asking.final)
            began, now = self._begin(asking.call)
            response, body = self._driver.open(parsing.open_stream(self._client, asking, now=now, began=began))
            events.begin(response)
            return ParseStream(events, body, asking.final)

        return UnopenedStream(start)

    @with_signature(RunOptions)
    def run_tools(
        self,
        *,
        messages: str | Sequence[Message] | ToolRun,
        tools: Sequence[Callable[..., object]],
        approvals: Sequence[Approval] = (),
        claim: Claim | None = None,
        **options: Unpack[RunOptions],
    ) -> ToolRun:
        """Let the model call tools until it has its answer, or somebody has to be asked.

        Args:
            messages: The conversation; a string is one user message. Or a paused run, to go on with it.
            tools: Functions, or what ``@tool`` and ``Tool.from_schema`` made of them.
            approvals: A decision on each pending call of a paused run.
            claim: Notes a paused run's id and tells whether it was new, so that no state is resumed twice; needed for a
                run that was saved. :class:`FileClaims` is one.
            options: Everything else (docs/reference/options.md). ``context`` is for tools that ask for a ToolContext,
                ``max_turns`` says how many answers the model may give, ``show_errors`` tells it the text of any
                exception, not only of a ToolError.

        Returns:
            The run: completed, paused, or at ``max_turns``.

        Raises:
            ToolDefinitionError: A tool can't be offered; nothing was sent.
            InvalidRequestError: A message, an option or an approval is not possible; nothing was sent.
            ContextOverflowError: It doesn't fit the window: by the budget, and nothing was sent, or so says the server.
            APIError: The server refused, or no whole answer came; the error's ``run`` has all there was before it.
        """
        from ._transport.threads import ToolThreads
        from .start import claim_run, started

        loop, asked = started(messages, tools, options, approvals=approvals)
        claim_run(messages, claim)
        with ToolThreads(loop) as threads:
            threads.start()  # of a run that is resumed
            while loop.status in {"answering", "running"}:
                if loop.status == "answering":
                    call = flows.chat_call(self._client, loop.messages, loop.asking(asked), stream=False)
                    began, now = self._begin(call)
                    answer = self._driver.run(flows.chat(self._client, call, now=now, began=began))
                    loop.received(answer)
                    threads.start()
                else:
                    threads.next()
        return loop.run

    @with_signature(RunOptions)
    def stream_tools(
        self,
        *,
        messages: str | Sequence[Message] | ToolRun,
        tools: Sequence[Callable[..., object]],
        approvals: Sequence[Approval] = (),
        claim: Claim | None = None,
        **options: Unpack[RunOptions],
    ) -> UnopenedStream[ToolStream]:
        """Let the model call tools, as events; open it with ``with``.

        Args:
            messages: As for ``run_tools``.
            tools: As for ``run_tools``.
            approvals: As for ``run_tools``.
            claim: As for ``run_tools``.
            options: As for ``run_tools``.

        Returns:
            What to open: the events of ``stream()`` for each turn, those of the tools, and the run at the end.

        Raises:
            ToolDefinitionError: A tool can't be offered; nothing was sent.
            InvalidRequestError: A message, an option or an approval is not possible; nothing was sent.
        """
        from ._transport.threads import ToolThreads
        from .start import claim_run, started
        from .toolstreams import ToolStream

        loop, asked = started(messages, tools, options, approvals=approvals)

        def ask() -> ChatStream:
            return self._opened(self._stream_call(loop.messages, loop.asking(asked)))

        def start() -> ToolStream:
            claim_run(messages, claim)
            return ToolStream(loop, ask, ToolThreads(loop))

        return UnopenedStream(start)

    def _stream_call(self, messages: str | Sequence[Message], options: Mapping[str, object]) -> calls.Call:
        return flows.chat_call(self._client, messages, calls.asking_usage(options), stream=True)

    def _opened(self, call: calls.Call) -> ChatStream:
        events = readers.chat_events(call)
        return ChatStream(events, self._open_body(events, call))
