"""The agent loop as a state object: the model's answers go in, the tools to be run come out, and back. No I/O.

The clients ask the model and run the tools; :class:`ToolLoop` decides what comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NoReturn, Unpack

from ._json import is_array, is_bool, is_object
from .checking import picked
from .completions import ChatCompletion, Usage
from .errors import InvalidRequestError, ToolArgumentsError, ToolDefinitionError, ToolError
from .messages import Message, ToolCall, ToolMessage, UserMessage, read_messages
from .options import LoopOptions, LoopSettings
from .runs import Approval, RunStatus, ToolResult, ToolRun
from .tools import Tool, as_tool, result_text

# None at all would pass for a call without arguments.
_CUT_OFF = "The answer was cut short before the arguments, so nothing was run: write the whole call again."


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A call that may run: its arguments are valid, and nobody has to be asked.

    Attributes:
        tool_call: The call.
        tool: What runs.
        start: Runs it; returns its result, or an awaitable of it for an asynchronous tool.
        show_errors: Whether the model is told the text of any exception.
    """

    tool_call: ToolCall
    tool: Tool[..., object]
    start: Callable[[], object]
    show_errors: bool = False

    def succeeded(self, value: object, elapsed: float) -> ToolResult:
        """Make the result of what the tool returned."""
        return ToolResult(self.tool_call, result_text(value), "ok", elapsed)

    def failed(self, error: BaseException, elapsed: float) -> ToolResult:
        """Make the result of an exception; its text may hold what is nobody's business, so only its type is told."""
        shown = isinstance(error, ToolError) or self.show_errors
        try:
            said = str(error) if shown else ""
        except Exception:  # noqa: BLE001 - one that can't even be written must not end the run
            said = ""
        text = f"The tool failed: {type(error).__name__}"
        if isinstance(error, ToolError):
            text = said or text
        elif said:
            text = f"{text}: {said}"
        return ToolResult(self.tool_call, result_text(text), "failed", elapsed)

    def timed_out(self, elapsed: float) -> ToolResult:
        """Make the result of a tool that took too long."""
        text = f"{self.tool.name} did not finish within {self.tool.timeout:g} s."
        return ToolResult(self.tool_call, text, "timed_out", elapsed)


@dataclass(slots=True)
class _Slot:
    """One call of the last answer, and what became of it."""

    tool_call: ToolCall
    result: ToolResult | None = None
    pending: bool = False


class ToolLoop:
    """Decide what comes next in a run.

    While :attr:`status` is "answering", ask the model with :attr:`messages` and hand its answer to :meth:`received`;
    while it is "running", run the :attr:`jobs` and hand each result to :meth:`answered`.

    Attributes:
        messages: The conversation so far.
        tools: By name.
        definitions: What the model is told of the tools.
        status: "answering", "running", or how the run ended.
        jobs: The calls that may run now.
        settled: What became at once of those calls of the last step that can't or mustn't run.
        turns: How many answers the model has given.
    """

    def __init__(
        self,
        messages: str | Sequence[Message],
        tools: Sequence[Callable[..., object]],
        **options: Unpack[LoopOptions],
    ) -> None:
        """Begin a run.

        Args:
            messages: The conversation; a string is one user message.
            tools: What the model may call.
            options: ``context`` for tools that ask for a ToolContext; ``max_turns``, how many answers the model may
                give; ``show_errors``, to tell it the text of any exception, not only of a ToolError.

        Raises:
            ToolDefinitionError: A tool can't be offered, or two have the same name.
            InvalidRequestError: A message or an option is not possible, there are no tools, or one needs a ``context``
                that was not given.
        """
        self._settings = LoopSettings(**picked(options, LoopOptions))
        read_messages(messages)
        self.messages: list[Message] = [UserMessage(content=messages)] if isinstance(messages, str) else [*messages]
        self.tools = _by_name(tools)
        self.definitions = [tool.definition for tool in self.tools.values()]
        for tool in self.tools.values():
            if self._settings.context is None and tool.needs_context:
                msg = f"{tool.name} takes a ToolContext, but there is no context: give context=, which is its value."
                raise InvalidRequestError(msg, parameter="context")
        self.status: Literal["answering", "running"] | RunStatus = "answering"
        self.jobs: list[Job] = []
        self.settled: list[ToolResult] = []
        self.turns = 0
        self._slots: list[_Slot] = []
        self._results: list[ToolResult] = []
        self._completion: ChatCompletion | None = None
        self._usage: Usage | None = None
        self._id = ""

    def asking(self, options: Mapping[str, object]) -> dict[str, object]:
        """Return the options for the next question: with the tools, and without what was for the first turn only.

        Args:
            options: What the caller gave. A ``tool_choice`` that forces a call would never let the model end, a message
                is continued once, and ``repair="strict"`` judges what the caller wrote: the server's own ids may be
                such as it refuses.
        """
        asked = {**options, "tools": self.definitions}
        if self.turns:
            for name in ("continue_final_message", "add_generation_prompt"):
                asked.pop(name, None)
            if asked.get("tool_choice") not in ("auto", "none"):
                asked.pop("tool_choice", None)
            if asked.get("repair") == "strict":
                asked.pop("repair")
        return asked

    @property
    def run(self) -> ToolRun:
        """The run as it stands; "interrupted" if it isn't over."""
        status: RunStatus
        match self.status:
            case "answering" | "running":
                status = "interrupted"
            case ended:
                status = ended
        known = [slot.result for slot in self._slots if slot.result is not None]
        answers = _told(known) if status == "interrupted" else ()  # while paused, they wait for the others
        return ToolRun(
            status=status,
            messages=(*self.messages, *answers),
            completion=self._completion,
            results=(*self._results, *known),
            usage=self._usage,
            turns=self.turns,
            answered=tuple(slot.result for slot in self._slots) if status == "paused" else (),
            id=self._id,
        )

    @classmethod
    def resumed(
        cls,
        run: ToolRun,
        approvals: Sequence[Approval],
        tools: Sequence[Callable[..., object]],
        **options: Unpack[LoopOptions],
    ) -> ToolLoop:
        """Go on with a paused run.

        Args:
            run: The paused run.
            approvals: A decision on each of its pending calls.
            tools: As for a new run; the same ones, or the pending calls can't be carried out.
            options: As for a new run; ``max_turns`` counts the answers before the pause too.

        Raises:
            ToolDefinitionError: As for a new run.
            InvalidRequestError: The run isn't paused, a decision is missing or was made on another call, or a call is
                approved whose tool is missing.
        """
        if run.status != "paused":
            msg = f"This run is {run.status}, not paused: go on with run_tools(messages=run.messages, ...)."
            raise InvalidRequestError(msg, parameter="resume")
        decisions = _decisions(run, approvals)
        loop = cls(run.messages, tools, **options)
        loop._completion, loop._usage, loop.turns = run.completion, run.usage, run.turns
        known = sum(result is not None for result in run.answered)
        loop._results = list(run.results[: len(run.results) - known])
        calls = run.completion.tool_calls if run.completion is not None else []
        loop._slots = [_Slot(call, result) for call, result in zip(calls, run.answered, strict=True)]
        waiting = [slot for slot in loop._slots if slot.result is None]
        for slot, decision in zip(waiting, decisions, strict=True):
            loop._decide(slot, decision)
        loop._settle(waiting)
        return loop

    def received(self, completion: ChatCompletion) -> None:
        """Take the model's answer."""
        self.messages.append(completion.choices[0].message)
        self._completion = completion
        self._usage = _added(self._usage, completion.usage)
        self.turns += 1
        self._slots = [_Slot(call) for call in completion.tool_calls]
        last = self._slots[-1] if self._slots else None
        if last and not last.tool_call.function.arguments.strip() and completion.truncated:
            last.result = ToolResult(last.tool_call, _CUT_OFF, "invalid")
        for slot in self._slots:
            if slot.result is None:
                self._plan(slot, approved=False)
        self._settle(self._slots)

    def answered(self, job: Job, result: ToolResult) -> None:
        """Take the result of a job."""
        self.jobs.remove(job)
        next(slot for slot in self._slots if slot.tool_call is job.tool_call).result = result
        self._proceed()

    def _plan(self, slot: _Slot, *, approved: bool) -> None:
        """Decide on a call: it may run, somebody must be asked first, or it can't run."""
        call = slot.tool_call
        tool = self.tools.get(call.function.name)
        if tool is None:
            name = call.function.name
            problem = f"There is no tool named {name[:64]!r}" if name else "The call names no tool"
            text = f"{problem}. There are: {', '.join(self.tools)}."
            slot.result = ToolResult(call, text, "invalid")
            return
        start: Callable[[], object]
        try:
            start = tool.bind(call, self._settings.context)
            # Only False lets it run: a rule that forgot to return something must not.
            slot.pending = not approved and start.needs_approval is not False
        except ToolArgumentsError as error:
            slot.result = ToolResult(call, error.message, "invalid")
            return
        except Exception as error:  # noqa: BLE001 - the caller's validator or rule: logged and told as the tool's own
            start = partial(_fail, error)
        if not slot.pending:
            self.jobs.append(Job(call, tool, start, self._settings.show_errors))

    def _decide(self, slot: _Slot, approval: Approval) -> None:
        if approval.approved:
            name = slot.tool_call.function.name
            if name not in self.tools:
                msg = f"{name} was approved and is not among tools ({', '.join(self.tools)}): give it again."
                raise InvalidRequestError(msg, parameter="tools")
            self._plan(slot, approved=True)
        else:
            text = f"The call was declined: {approval.reason}" if approval.reason else "The call was declined."
            text = result_text(text)
            slot.result = ToolResult(slot.tool_call, text, "denied")

    def _settle(self, decided: Sequence[_Slot]) -> None:
        self.settled = [slot.result for slot in decided if slot.result is not None]
        self._proceed()

    def _proceed(self) -> None:
        """Decide what comes next."""
        if self.jobs:
            self.status = "running"
        elif any(slot.pending for slot in self._slots):
            from secrets import token_hex  # 5 ms to import

            self.status, self._id = "paused", token_hex(16)
        elif not self._slots:
            self.status = "completed"
        else:
            results = [slot.result for slot in self._slots if slot.result is not None]
            self._results += results
            self.messages += _told(results)
            self._slots = []
            self.status = "answering" if self.turns < self._settings.max_turns else "max_turns"


def _by_name(tools: Sequence[Callable[..., object]]) -> dict[str, Tool[..., object]]:
    given: object = tools
    if not is_array(given) or not given:
        msg = f"tools={tools!r:.100} is not possible: give a list of functions or tools, such as [get_weather]."
        raise InvalidRequestError(msg, parameter="tools")
    named: dict[str, Tool[..., object]] = {}
    for index, each in enumerate(tools):
        tool = as_tool(each)
        if tool.name in named:
            msg = f"tools[{index}] has the name {tool.name!r}, as another one has: give each tool a name of its own."
            raise ToolDefinitionError(msg, parameter=f"tools[{index}]")
        named[tool.name] = tool
    return named


def _told(results: Sequence[ToolResult]) -> list[ToolMessage]:
    return [ToolMessage(content=each.text, tool_call_id=each.tool_call.id) for each in results]


def _fail(error: Exception) -> NoReturn:
    raise error


def _decisions(run: ToolRun, approvals: object) -> Iterator[Approval]:
    """Put the decisions into the order of the pending calls.

    Raises:
        InvalidRequestError: One is missing, or is for another call, or there are two on the same call.
    """
    waiting = {(each.tool_call.id, each.fingerprint): each.name for each in run.pending}
    given: dict[tuple[str, str], Approval] = {}
    decisions = [each for each in approvals if isinstance(each, Approval)] if is_array(approvals) else None
    if decisions is None or not is_array(approvals) or len(decisions) < len(approvals):
        msg = "approvals must be a list of what approve() and deny() of the pending calls return."
        raise InvalidRequestError(msg, parameter="approvals")
    for each in decisions:
        key = (each.tool_call_id, each.fingerprint)
        if key not in waiting:
            msg = "An approval fits none of the pending calls: it was made on another function, or on other arguments."
            raise InvalidRequestError(msg, parameter="approvals")
        if not is_bool(each.approved) or given.setdefault(key, each) != each:
            msg = (
                f"The decision on {waiting[key]} (call {key[0]}) is neither yes nor no, or both: give one with a bool."
            )
            raise InvalidRequestError(msg, parameter="approvals")
    for key, name in waiting.items():
        if key not in given:
            msg = f"There is no decision on {name} (call {key[0]}): approve() or deny() it."
            raise InvalidRequestError(msg, parameter="approvals")
    return (given[each.tool_call.id, each.fingerprint] for each in run.pending)


def _added(so_far: Usage | None, more: Usage | None) -> Usage | None:
    if so_far is None or more is None:
        return so_far or more
    return Usage.model_validate(_sum(so_far.model_dump(), more.model_dump()))


def _sum(one: object, other: object) -> object:
    if is_object(one) and is_object(other):
        return {name: _sum(one.get(name), other.get(name)) for name in one.keys() | other.keys()}
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one + other
    return other if one is None else one
