"""Which reader a streamed answer gets: its chunks, typed events, a value that grows, or a text's chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from nemotron_client.completions import (
    ChatCompletion,
    ChatCompletionChunk,
    ChunkChoice,
    Completion,
    ParsedCompletion,
)
from nemotron_client.events import Finished, ParsedDelta, ParsedDone, StreamEvent

from . import wire
from .accumulate import Accumulator, TextAccumulator
from .offered import restore_names
from .reader import StreamReader

if TYPE_CHECKING:
    from nemotron_client.structured import Format

    from .calls import Call

T = TypeVar("T")
ItemT = TypeVar("ItemT")
ChunkT = TypeVar("ChunkT", bound=ChatCompletionChunk | Completion)


def chat_chunks(call: Call) -> StreamReader[ChatCompletionChunk]:
    """Read a chat answer as its chunks."""
    accumulator = Accumulator(call.offered, call.names)
    add = accumulator.add

    def push(chunk: ChatCompletionChunk) -> tuple[ChatCompletionChunk]:
        add(chunk)
        return (chunk,)

    return _chat(call, accumulator, push, tuple)


def chat_events(call: Call) -> StreamReader[StreamEvent]:
    """Read a chat answer as events."""
    accumulator = Accumulator(call.offered, call.names)
    return _chat(call, accumulator, accumulator.push, accumulator.finish)


def parsed_events(
    call: Call, form: Format[T], final: Callable[[ChatCompletion], ParsedCompletion[T]]
) -> StreamReader[StreamEvent | ParsedDelta | ParsedDone[T]]:
    """Read a chat answer of a given form as events, with the value as it grows.

    Args:
        call: What was asked.
        form: What the answer must look like.
        final: The whole answer to one with its value; raises ResponseFormatError if it has none.
    """
    from nemotron_client.structured import Growing

    accumulator = Accumulator()
    growing = Growing(form)

    def push(chunk: ChatCompletionChunk) -> list[StreamEvent | ParsedDelta | ParsedDone[T]]:
        events = accumulator.push(chunk)
        return [*events, *growing.grown(events)]

    def finish() -> Iterator[StreamEvent | ParsedDelta | ParsedDone[T]]:
        *events, _ = accumulator.finish()
        yield from growing.rest()
        yield from events
        done = final(accumulator.completion())  # where it raises, what was before has been given
        yield ParsedDone(done.parsed)
        yield Finished(done)

    return _chat(call, accumulator, push, finish)


def _chat(
    call: Call,
    accumulator: Accumulator,
    push: Callable[[ChatCompletionChunk], Sequence[ItemT]],
    finish: Callable[[], Iterable[ItemT]],
) -> StreamReader[ItemT]:
    def restored(chunk: ChatCompletionChunk) -> Sequence[ItemT]:
        restore_names(chunk, call.names)
        return push(chunk)

    def finished() -> Iterable[ItemT]:
        call.answered(accumulator.usage, accumulator.response)
        return finish()

    take = restored if call.names else push
    return StreamReader(
        accumulator,
        call.headers,
        read=_read_exactly(ChatCompletionChunk, take),
        mend=_read_leniently(_parse_chunk, take),
        finish=finished,
    )


def text_chunks(call: Call) -> StreamReader[Completion, Completion]:
    """Read a text completion as its chunks."""
    accumulator = TextAccumulator()

    def push(chunk: Completion) -> tuple[Completion]:
        accumulator.push(chunk)
        return (chunk,)

    return StreamReader(
        accumulator,
        call.headers,
        read=_read_exactly(Completion, push),
        mend=_read_leniently(lambda data: wire.parse(Completion, data), push),
        finish=tuple,
    )


def _read_exactly(model: type[ChunkT], push: Callable[[ChunkT], Sequence[ItemT]]) -> Callable[[bytes], Sequence[ItemT]]:
    """Return what pushes a chunk that is one to the letter and adds to a choice, and raises ValueError for the rest."""
    model.model_rebuild()  # where nothing was parsed yet, there is only a stand-in to take the validator from
    validate = model.__pydantic_validator__.validate_json  # without its frame, which every chunk would pay for

    def read(data: bytes) -> Sequence[ItemT]:
        chunk: ChunkT = validate(data)
        # Told by what was parsed, since searching the bytes takes several times as long.
        extra = chunk.__pydantic_extra__  # as `model_extra`, which is a property
        choices = chunk.choices
        if (
            not choices
            or (extra and extra.get("error"))
            or chunk.object == "error"
            or "message" in (choices[0].__pydantic_extra__ or ())
        ):
            msg = "it is an error, adds to no choice, or is a whole completion"
            raise ValueError(msg)
        return push(chunk)

    return read


def _read_leniently(
    parse: Callable[[bytes], ChunkT], push: Callable[[ChunkT], Sequence[ItemT]]
) -> Callable[[bytes], tuple[Sequence[ItemT], bool]]:
    def mend(data: bytes) -> tuple[Sequence[ItemT], bool]:
        chunk = parse(data)
        return push(chunk), bool(chunk.choices)

    return mend


def _parse_chunk(data: bytes) -> ChatCompletionChunk:
    """Read a chunk leniently; of a whole completion, the one chunk that says the same."""
    chunk = wire.parse(ChatCompletionChunk, data)
    if not any(_is_whole(choice) for choice in chunk.choices):
        return chunk
    whole = wire.parse(ChatCompletion, data).model_dump(exclude_none=True)
    whole["object"] = "chat.completion.chunk"
    for choice in whole["choices"]:
        choice["delta"] = choice.pop("message")
        for index, call in enumerate(choice["delta"].get("tool_calls", ())):
            call["index"] = index
    return ChatCompletionChunk.model_validate(whole)


def _is_whole(choice: ChunkChoice) -> bool:
    return "delta" not in choice.model_fields_set and "message" in (choice.model_extra or ())
