"""Chunks to events and to the whole answer: text joined once, tool calls told apart.

``docs/explanation/protocol.md``, "Tool calls in streams", says what servers do to ``index``, ``id`` and ``name``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nemotron_client import completions, messages
from nemotron_client.events import (
    Finished,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    TextDone,
    ToolCallDelta,
    ToolCallDone,
    UsageReported,
)

from .offered import restore_names
from .raw_calls import RawCalls, recovered_calls


class _Call:
    """One tool call in the making."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    def whole(self) -> messages.ToolCall:
        function = messages.FunctionCall(name=self.name, arguments="".join(self.arguments))
        return messages.ToolCall(id=self.id, function=function)


class _Choice:
    """One of the ``n`` answers in the making."""

    def __init__(self, index: int, offered: frozenset[str], seed: str) -> None:
        self.index = index
        self._offered, self._seed = offered, seed
        self._raw = RawCalls(offered, seed)  # holds back what may become a call from the events
        self._told = 0  # characters of the text, as events
        self.finish_reason: str | None = None
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.logprobs: list[completions.TokenLogprob] = []
        self.calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    def add(self, part: completions.ChunkChoice, events: list[StreamEvent] | None) -> None:
        delta = part.delta
        text = delta.content
        if text:
            self.text.append(text)
            if events is not None:
                self._tell(text, events)
        extra = delta.__pydantic_extra__  # as `model_extra`, which is a property
        reasoning = delta.reasoning or (_take_other_name(delta) if extra else None)
        if reasoning:
            self.reasoning.append(reasoning)
            if events is not None:
                events.append(ReasoningDelta(reasoning, self.index))
        if delta.refusal:
            self.refusal.append(delta.refusal)
        if delta.tool_calls:
            pieces = [self._add_call(each) for each in delta.tool_calls]
            if events is not None:
                events.extend(pieces)
        if part.logprobs is not None:
            self.logprobs.extend(part.logprobs.content or ())
        if part.finish_reason:
            self.finish_reason = part.finish_reason

    def _tell(self, text: str, events: list[StreamEvent]) -> None:
        sure = self._raw.feed(text)
        if sure:
            self._told += len(sure)
            events.append(TextDelta(sure, self.index))

    def _add_call(self, delta: completions.ToolCallDelta) -> ToolCallDelta:
        call = self._call_of(delta)
        if delta.id:
            call.id = call.id or delta.id
        name = delta.function.name if delta.function else None
        if name and name != call.name:  # some servers repeat the whole name, others send it in pieces
            call.name += name
        piece = (delta.function.arguments if delta.function else None) or ""
        if piece:
            call.arguments.append(piece)
        return ToolCallDelta(call.position, call.id, call.name, piece, self.index)

    def _call_of(self, delta: completions.ToolCallDelta) -> _Call:
        """Find the call that a delta belongs to, or begin the next one.

        The index decides where there is one. Without it, a new id begins a call, and so does a name when the last call
        already has one and an id doesn't say otherwise. A new id together with a name begins a call even under a used
        index, which SGLang sends (sglang#6310).
        """
        name = delta.function.name if delta.function else None
        last = self.calls[-1] if self.calls else None
        call = last if delta.index is None else self._by_index.get(delta.index)
        if call is not None:
            other_id = bool(delta.id and call.id and delta.id != call.id)
            named_again = delta.index is None and bool(name and call.name) and not delta.id
            if (other_id and (name or delta.index is None)) or named_again:
                call = None
        if call is None:
            call = _Call(len(self.calls))
            self.calls.append(call)
        if delta.index is not None:
            self._by_index[delta.index] = call
        return call

    def rest(self, content: str) -> list[StreamEvent]:
        """Return what was held back and is text after all, as the whole content shows."""
        text = content[self._told :]
        return [TextDelta(text, self.index)] if text else []

    def whole(self) -> completions.Choice:
        text = "".join(self.text)
        calls = [call.whole() for call in self.calls]
        cut_off = False
        recovered = None if calls else recovered_calls(text, self._offered, seed=self._seed)
        if recovered is not None:
            text, calls = recovered.text, list(recovered.calls)
            cut_off = recovered.cut_off
        message = messages.AssistantMessage(
            content=text if text or not calls else None,
            tool_calls=calls or None,
            reasoning="".join(self.reasoning) or None,
            refusal="".join(self.refusal) or None,
        )
        logprobs = completions.ChoiceLogprobs(content=self.logprobs) if self.logprobs else None
        reason = "length" if cut_off and self.finish_reason else self.finish_reason
        return completions.Choice(index=self.index, message=message, finish_reason=reason, logprobs=logprobs)


def _take_other_name(delta: completions.Delta) -> str | None:
    delta.reasoning = messages.other_reasoning(delta)
    return delta.reasoning


class Accumulator:
    """Take the chunks of one chat answer."""

    def __init__(self, offered: frozenset[str] = frozenset(), names: Mapping[str, str] | None = None) -> None:
        """Begin an answer.

        Args:
            offered: The names of the tools that the model may call; calls of them that a server left in the text are
                taken out of it.
            names: The caller's name for each of them that was sent in its place.
        """
        self.response = completions.ResponseInfo()
        self._offered, self._names = offered, names or {}
        self._choices: dict[int, _Choice] = {}
        self.usage: completions.Usage | None = None
        self._id = self._model = ""
        self._created = 0
        self._fingerprint: str | None = None

    def push(self, chunk: completions.ChatCompletionChunk) -> list[StreamEvent]:
        """Take the next chunk.

        Args:
            chunk: As the server sent it.

        Returns:
            What it adds, as events.
        """
        events: list[StreamEvent] = []
        self.add(chunk, events)
        return events

    def add(self, chunk: completions.ChatCompletionChunk, events: list[StreamEvent] | None = None) -> None:
        """Take the next chunk, and put what it adds into a list where there is one."""
        if not self._id:
            self._id, self._model, self._created = chunk.id, chunk.model, chunk.created
        if chunk.usage is not None:
            self.usage = chunk.usage  # with usage on every chunk, the last one counts everything
        if chunk.system_fingerprint is not None:
            self._fingerprint = chunk.system_fingerprint
        for part in chunk.choices:
            choice = self._choices.get(part.index)
            if choice is None:
                choice = self._choices[part.index] = _Choice(part.index, self._offered, chunk.id)
            choice.add(part, events)

    @property
    def finished(self) -> bool:
        """Whether every choice that began has its finish reason."""
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())

    def finish(self) -> list[StreamEvent]:
        """End the answer.

        Returns:
            The events that tell what is complete; the last one has the whole completion.
        """
        completion = self.completion()
        events: list[StreamEvent] = []
        for choice in completion.choices:
            content = choice.message.content
            if content:
                events += self._choices[choice.index].rest(content)
                events.append(TextDone(content, choice.index))
            for position, call in enumerate(choice.message.tool_calls or ()):
                events.append(ToolCallDone(position, call, choice.index))
        if completion.usage is not None:
            events.append(UsageReported(completion.usage))
        events.append(Finished(completion))
        return events

    def completion(self) -> completions.ChatCompletion:
        """Return the answer as far as it has come."""
        completion = completions.ChatCompletion(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[self._choices[index].whole() for index in sorted(self._choices)],
            usage=self.usage,
            system_fingerprint=self._fingerprint,
        )
        if self._names:
            restore_names(completion, self._names)  # one that came in pieces is only known here
        return completion.answered_by(self.response)


class _Text:
    """One of the ``n`` continuations in the making."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.finish_reason: str | None = None
        self._pieces: list[str] = []
        self._logprobs: list[completions.TextLogprobs] = []

    def add(self, part: completions.TextChoice) -> None:
        self._pieces.append(part.text)
        if part.logprobs is not None:
            self._logprobs.append(part.logprobs)
        self.finish_reason = part.finish_reason or self.finish_reason

    def whole(self) -> completions.TextChoice:
        return completions.TextChoice(
            index=self.index,
            text="".join(self._pieces),
            finish_reason=self.finish_reason,
            logprobs=_joined(self._logprobs) if self._logprobs else None,
        )


def _joined(parts: Sequence[completions.TextLogprobs]) -> completions.TextLogprobs:
    lists: dict[str, list[object] | None] = {}
    for name in completions.TextLogprobs.model_fields:
        given: list[list[object] | None] = [getattr(part, name) for part in parts]
        lists[name] = [each for values in given for each in values or ()] if any(given) else None
    return completions.TextLogprobs.model_validate(lists)


class TextAccumulator:
    """Take the chunks of one text completion."""

    def __init__(self) -> None:
        """Begin an answer."""
        self.response = completions.ResponseInfo()
        self._texts: dict[int, _Text] = {}
        self._first = completions.Completion()  # that has a name
        self._usage: completions.Usage | None = None
        self._fingerprint: str | None = None

    def push(self, chunk: completions.Completion) -> None:
        """Take the next chunk."""
        if not self._first.id:
            self._first = chunk
        self._usage = chunk.usage or self._usage
        self._fingerprint = chunk.system_fingerprint or self._fingerprint
        for part in chunk.choices:
            text = self._texts.get(part.index)
            if text is None:
                text = self._texts[part.index] = _Text(part.index)
            text.add(part)

    @property
    def finished(self) -> bool:
        """Whether every choice that began has its finish reason."""
        return bool(self._texts) and all(text.finish_reason for text in self._texts.values())

    def completion(self) -> completions.Completion:
        """Return the text as far as it has come."""
        whole = completions.Completion(
            id=self._first.id,
            created=self._first.created,
            model=self._first.model,
            choices=[self._texts[index].whole() for index in sorted(self._texts)],
            usage=self._usage,
            system_fingerprint=self._fingerprint,
        )
        return whole.answered_by(self.response)
