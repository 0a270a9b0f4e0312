"""The model's conversation rules: what is put right in what is sent, and a clear error for what can't be.

The rules, and which servers apply them, are in ``docs/explanation/protocol.md``, "Mistral's conversation rules". The
caller's messages and tools are never changed: what is put right is a copy, the rest is handed on as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from nemotron_client._json import is_array, is_object
from nemotron_client.errors import InvalidConversationError, ToolDefinitionError
from nemotron_client.messages import Repair, Repairing, Rule

from . import offered
from .history import Call, CallReader, Item, id_of, matched, tool_calls
from .naming import NAME, Substitutes, make_name

# Between a tool's result and the user's next message, for servers that want the assistant to speak first.
_BRIDGE: Mapping[str, object] = {"role": "assistant", "content": "OK."}
_NO_RESULT = "There is no result: it is not known whether this call was carried out."

_CALLING = frozenset({"tool_calls", "prefix", "function_call"})
# Which text may follow which; None is the beginning.
_PLAIN = frozenset(
    {
        (None, "system"),
        (None, "user"),
        (None, "assistant"),
        ("system", "system"),
        ("system", "user"),
        ("system", "assistant"),
        ("user", "system"),
        ("user", "user"),
        ("user", "assistant"),
        ("assistant", "user"),
        ("assistant", "assistant"),
    }
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A conversation and its tools as they are to be sent.

    Attributes:
        messages: The messages.
        tools: The tools; None if there were none.
        tool_choice: As given, with the name that is sent for the tool.
        repairs: What was put right, in the order of the messages; what concerns the tools comes first.
        names: The caller's name for each name that the model will use in its place.
        unbridged: Whether a user's message stands right after a tool's: with ``bridge`` none would.
        places: Where each message stands in the caller's list; None where all are as given. One that was put in stands
            with the one that it was put in for.
    """

    messages: list[Mapping[str, object]]
    tools: list[Mapping[str, object]] | None = None
    tool_choice: object = None
    repairs: tuple[Repair, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    unbridged: bool = False
    places: Sequence[int] | None = field(default=None, compare=False)

    @property
    def tool_fields(self) -> dict[str, object]:
        """What a request says about tools, where there is anything to say."""
        fields = {"tools": self.tools, "tool_choice": self.tool_choice}
        return {name: value for name, value in fields.items() if value is not None}


def prepare(
    messages: Sequence[Mapping[str, object]],
    tools: Sequence[Mapping[str, object]] | None = None,
    tool_choice: object = None,
    *,
    mode: Repairing = "auto",
    bridge: bool = False,
    continues: bool = False,
) -> Prepared:
    """Put a conversation right, as far as nothing is lost by it that a server would take.

    Args:
        messages: Dicts with a known role each; not empty.
        tools: In OpenAI's form.
        tool_choice: In OpenAI's form.
        mode: "auto"; "fill" to give missing tool results too; "strict" to refuse what would have to be put right; "off"
            to look at nothing.
        bridge: Whether the server wants an assistant's message between a tool's result and the user's next message.
        continues: Whether the last message is the beginning of the answer (``continue_final_message``).

    Raises:
        InvalidConversationError: A message breaks a rule and can't be put right.
        ToolDefinitionError: A tool can't be offered as it is.
    """
    if mode != "off":
        messages = [_without_nulls(message) for message in messages]
    if mode == "off" or (tools is None and not continues and _is_plain(messages)):
        return Prepared([*messages], None if tools is None else [*tools], tool_choice)
    conversation = _Conversation(messages, tools or (), mode, continues=continues)
    wire_tools = None if tools is None else offered.wire_tools(tools, conversation.names, conversation.repairs)
    choice = offered.wire_choice(tool_choice, offered.names_of(tools or ()), conversation.names)
    items = conversation.put_right()
    if bridge:
        items = conversation.bridged(items)
    repairs = sorted(conversation.repairs, key=lambda repair: -1 if repair.message is None else repair.message)
    if mode == "strict" and repairs:
        raise _not_put_right(repairs[0], messages)
    return Prepared(
        messages=[item.message for item in items],
        tools=wire_tools,
        tool_choice=choice,
        repairs=tuple(repairs),
        names=conversation.names.own,
        unbridged=any(_is_gap(*pair) for pair in pairwise(items)),
        places=[item.index for item in items],
    )


def _is_plain(messages: Sequence[Mapping[str, object]]) -> bool:
    """Tell whether there is nothing to be done, at the least cost: most conversations are text alone."""
    previous: object = None
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if (previous, role) not in _PLAIN or not content:
            return False
        if role == "assistant" and not (isinstance(content, str) and _CALLING.isdisjoint(message)):
            return False
        previous = role
    return previous == "user"


def is_empty(content: object) -> bool:
    """Tell whether an assistant says nothing: a list of empty texts is refused as well as none (vLLM)."""
    if not is_array(content):
        return not content
    return all(is_object(part) and part.get("type") == "text" and not part.get("text") for part in content)


def _without_nulls(message: Mapping[str, object]) -> Mapping[str, object]:
    """Leave out what says nothing, as a dumped message has it: some servers refuse fields that they don't know."""
    for key, value in message.items():
        if value is None and key != "content":
            return {key: value for key, value in message.items() if value is not None or key == "content"}
    return message


def _not_put_right(repair: Repair, messages: Sequence[Mapping[str, object]]) -> Exception:
    if repair.message is None:
        return ToolDefinitionError(f'{repair.detail} But repair="strict" changes nothing.', parameter="tools")
    place = f"messages[{repair.message}]"
    role = messages[repair.message].get("role")
    msg = f'{place} (role {role}): {repair.detail} But repair="strict" changes nothing.'
    return InvalidConversationError(msg, parameter=place)


def _is_gap(before: Item, item: Item) -> bool:
    return item.role == "user" and before.role == "tool"


class _Conversation:
    """A conversation that is being put right."""

    def __init__(
        self,
        messages: Sequence[Mapping[str, object]],
        tools: Sequence[Mapping[str, object]],
        mode: Repairing,
        *,
        continues: bool,
    ) -> None:
        self.repairs: list[Repair] = []
        self.names = Substitutes(NAME, make_name, lambda: offered.names_of([*tools, *tool_calls(messages)]))
        self._calls = CallReader(messages, self.names, self.repairs)
        self._messages = messages
        self._fill = mode == "fill"
        self._continues = continues

    def put_right(self) -> list[Item]:
        """Return the messages as they are to be sent, unbridged."""
        items: list[Item] = []
        turn: list[Item] = []
        for item in self._cleaned():
            if item.role == "assistant":
                items += self._turn(turn)
                turn = []
            turn.append(item)
        items += self._turn(turn)
        self._check_order(items)
        return items

    def bridged(self, items: Sequence[Item]) -> list[Item]:
        """Return the messages with an assistant's between a tool's and a user's."""
        wire = [*items[:1]]
        for before, item in pairwise(items):
            if _is_gap(before, item):
                detail = f"It follows a tool's message; an assistant's {_BRIDGE['content']!r} is sent between the two."
                self._note(item, "user_after_tool", detail)
                wire.append(Item(item.index, "assistant", _BRIDGE))
            wire.append(item)
        return wire

    def _note(self, item: Item, rule: Rule, detail: str) -> None:
        self.repairs.append(Repair(rule, item.index, detail))

    # One message

    def _cleaned(self) -> Iterator[Item]:
        for index, message in enumerate(self._messages):
            role = message.get("role")
            item = Item(index, role, message)
            if role == "developer":
                item.role = "system"
                item.message = {**message, "role": "system"}
                self._note(item, "role", "The role 'developer' is sent as 'system'.")
            if role != "assistant":
                if message.get("content") is None:
                    item.message = {**item.message, "content": ""}
                    self._note(item, "empty_content", "It has no content; it is sent with an empty text.")
                yield item
            elif self._says_something(item):
                yield item

    def _says_something(self, item: Item) -> bool:
        """Put an assistant's text right, and tell whether there is anything to send."""
        message = item.message
        last = item.index == len(self._messages) - 1
        if message.get("function_call"):
            raise item.error("has function_call, OpenAI's older form: give tool_calls, and its result as role tool.")
        if message.get("prefix") and not last:
            item.message = message = {key: value for key, value in message.items() if key != "prefix"}
            self._note(item, "prefix", "It is marked to be continued and isn't the last; it is sent without the mark.")
        content = message.get("content")
        if not is_empty(content):
            return True
        if message.get("tool_calls"):
            if content is None and "content" in message:
                item.message = {**message, "content": ""}
                self._note(item, "empty_content", "Its content is None; it is sent with an empty text.")
            return True
        if message.get("refusal"):
            item.message = {**message, "content": message["refusal"]}
            self._note(item, "empty_content", "It has no content; its refusal is sent as that.")
            return True
        if last and (self._continues or message.get("prefix")):
            item.message = {**message, "content": ""}
            return True
        self._note(item, "empty_content", "It has neither content nor tool calls; it is left out.")
        return False

    # A turn: an assistant's message and what follows it, up to the next one

    def _turn(self, turn: list[Item]) -> list[Item]:
        results = [item for item in turn if item.role == "tool"]
        calls = self._calls.read(turn[0]) if turn and turn[0].role == "assistant" else []
        if not calls and results:
            raise results[0].error(
                "answers no call: the assistant's last message before it has no tool_calls. Put it right after the "
                "message with its call, or leave it out."
            )
        if not calls:
            return turn
        asker, *rest = turn
        found = matched(asker, calls, results)
        answered = {id(result): call for call, result in zip(calls, found, strict=True) if result is not None}
        for result in results:
            self._answer(result, answered[id(result)])
        missing = [self._missing(asker, call) for call, result in zip(calls, found, strict=True) if result is None]
        others = [item for item in rest if item.role != "tool"]
        for result in results:
            if others and result.index > others[0].index:
                self._note(result, "order", f"It is sent right after its call, before messages[{others[0].index}].")
        return [asker, *results, *missing, *others]

    def _answer(self, result: Item, call: Call) -> None:
        """Let a result name its call as it is sent."""
        changed: dict[str, object] = {}
        if result.message.get("tool_call_id") != call.sent_id:
            changed["tool_call_id"] = call.sent_id
        if id_of(result) != call.id:
            self._note(result, "tool_call_id", f"It doesn't tell its call; it is sent with {call.sent_id!r}, its id.")
        name = result.message.get("name")
        if name is not None and not (isinstance(name, str) and NAME.fullmatch(name)):
            changed["name"] = self.names.of(call.name)
            if name != call.name:  # else it has been told
                self._note(result, "tool_name", f"{offered.refused_name(name)}; it is sent as {changed['name']!r}.")
        if changed:
            result.message = {**result.message, **changed}

    def _missing(self, asker: Item, call: Call) -> Item:
        if not self._fill:
            raise asker.error(
                f"has no result for its call of {call.name} (id {call.id!r}): put "
                f'{{"role": "tool", "tool_call_id": {call.id!r}, "content": ...}} right after it, or pass '
                'repair="fill" to have the model told that there is none.'
            )
        detail = f"The call of {call.name} (id {call.id!r}) has no result; one is sent that says so."
        self._note(asker, "missing_result", detail)
        message = {"role": "tool", "tool_call_id": call.sent_id, "content": _NO_RESULT}
        return Item(asker.index, "tool", message)

    # All of it

    def _check_order(self, items: Sequence[Item]) -> None:
        if not items:
            msg = "messages has nothing to answer: its assistant's messages are empty. Add a user's message."
            raise InvalidConversationError(msg, parameter="messages")
        for before, item in pairwise(items):
            if item.role == "system" and before.role in ("assistant", "tool"):
                raise item.error(
                    f"stands after a message of role {before.role}: put it at the beginning or after a user's message, "
                    "or give it the role user."
                )
        first, last = items[0], items[-1]
        if first.role == "assistant" and (first is last or first.message.get("tool_calls")):
            raise first.error(
                "is the first, and has calls or stands alone: put a user's or a system message before it."
            )
        if last.role == "assistant" and not (self._continues or last.message.get("prefix")):
            raise last.error(
                "is the last: end with a user's or a tool's message, or, to have it continued, pass "
                "continue_final_message=True and add_generation_prompt=False."
            )
        if last.role != "assistant" and self._continues:
            raise last.error("is the last and can't be continued: leave out continue_final_message.")
