"""How many tokens a conversation is: judged by mistral-common, and by what a real vLLM counted."""

import json
import re
import sys
from collections import deque
from collections.abc import Sequence
from random import Random
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from nemotron_client import _tekken
from nemotron_client.errors import ConfigurationError, InvalidRequestError
from nemotron_client.messages import (
    AssistantMessage,
    FunctionCall,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from nemotron_client.tokens import TEMPLATES, Template, TokenCounter
from tests import captures
from tests.engine import conversations, judge
from tests.engine.judge import Conversation, Wire

USER: Wire = {"role": "user", "content": "What is the weather in Paris?"}
CALL = {"id": "abcdefgh1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
CALLING: Wire = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT: Wire = {"role": "tool", "tool_call_id": "abcdefgh1", "content": "18 degrees"}
TOOL: Wire = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Tell it.", "parameters": {"a": 1}},
}

each_template = pytest.mark.parametrize("template", TEMPLATES)


@given(st.randoms(use_true_random=True))
def test_any_conversation_has_as_many_tokens_as_mistral_common_says_and_no_more_than_its_bound(random: Random) -> None:
    messages, tools = conversations.conversation(random), conversations.tools(random)
    for template in TEMPLATES:
        count = TokenCounter(template).count(messages, tools)
        assert count.total == judge.tokens(template, messages, tools) <= TokenCounter.bound(messages, tools)
        assert count.total == 1 + sum(count.messages) + count.tools
        assert len(count.messages) == len(messages)
        assert min(count.messages) >= 0


def calling(arguments: object = "{}", name: str = "f", call_id: str = "abcdefgh1") -> Wire:
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


ODD: dict[str, Conversation] = {
    "a-developers-message": [{"role": "developer", "content": "Be brief."}, USER],
    "system-messages-in-a-row": [{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, USER],
    "tools-but-no-user": [{"role": "system", "content": "a"}],
    "no-parts": [{"role": "user", "content": []}],
    "empty-parts": [{"role": "user", "content": [{"type": "text", "text": t} for t in ("", "a", "", "b")]}],
    "an-empty-message-between-two": [USER, {"role": "user", "content": ""}, USER],
    "an-assistant-that-begins": [{"role": "assistant", "content": "Hello!"}, USER],
    "an-answer-of-spaces": [USER, {"role": "assistant", "content": "   "}, USER],
    "spaces-within-an-answer-in-two-messages": [
        USER,
        {"role": "assistant", "content": "a   "},
        {"role": "assistant", "content": "b   "},
        USER,
    ],
    "calls-in-two-messages-of-one-answer": [USER, CALLING, calling('{"a": 2}', call_id="abcdefgh2"), RESULT],
    "an-answer-to-be-continued": [USER, {"role": "assistant", "content": "It is "}],
    "a-call-to-be-continued": [USER, CALLING],
    "a-long-id": [USER, calling(call_id="call_0123456789"), {**RESULT, "tool_call_id": "call_0123456789"}],
    "a-name-that-json-escapes": [USER, calling(name='say "é"\n'), RESULT],
    "arguments-that-are-none": [USER, calling(None), RESULT],
    "arguments-that-are-an-object": [USER, calling({"é": [1e15, "{}"]}), RESULT],
    **{f"arguments-{number}": [USER, calling(each), RESULT] for number, each in enumerate(conversations.ARGUMENTS)},
}


@each_template
@pytest.mark.parametrize("messages", ODD.values(), ids=ODD)
def test_what_no_validator_takes_is_counted_alike_too(template: Template, messages: Conversation) -> None:
    count = TokenCounter(template).count(messages, [TOOL]).total
    assert count == judge.tokens(template, messages, [TOOL]) <= TokenCounter.bound(messages, [TOOL])


@each_template
@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
def test_the_bound_holds_where_each_byte_is_a_token(template: Template, role: str) -> None:
    one, two = "\x01\x02\x03", "\x04\x05"
    message = {"role": role, "content": one, **({"tool_call_id": two} if role == "tool" else {})}
    between: Wire = {"role": "assistant" if role == "user" else "user", "content": one}
    for messages in ([message, between], [message, message, between], [message, between, message]):
        count = TokenCounter(template).count(messages).total
        assert count == judge.tokens(template, messages) <= TokenCounter.bound(messages) <= count + 3 * len(messages)


@pytest.mark.parametrize("template", ["v7", "v11"])
@pytest.mark.parametrize("call_id", ["null", ""])
def test_a_call_without_an_id_is_counted_without_it(template: Template, call_id: str) -> None:
    messages = [USER, calling(call_id=call_id), RESULT]
    assert TokenCounter(template).count(messages).total == judge.tokens(template, messages)


@each_template
@pytest.mark.parametrize(
    "function",
    [{"name": "f"}, {"name": "f", "parameters": None, "description": None}, {"name": "f", "strict": True}],
    ids=["a-name-only", "nulls", "strict"],
)
def test_a_definition_is_completed_as_mistral_common_does(template: Template, function: Wire) -> None:
    tools = [{"type": "function", "function": function}]
    assert TokenCounter(template).count([USER], tools).total == judge.tokens(template, [USER], tools)


def usage(capture: captures.Capture) -> int | None:
    told = re.search(rb'"prompt_tokens":(\d+)', capture.body) if capture.path == "/v1/chat/completions" else None
    return int(told[1]) if told else None


COUNTED = [
    (template, name)
    for template in TEMPLATES
    for name in captures.names(f"vllm-{template}/")
    if usage(captures.load(name)) is not None
]


@pytest.mark.parametrize(("template", "name"), COUNTED)
def test_a_real_vllm_counted_the_same(template: Template, name: str) -> None:
    capture = captures.load(name)
    request = json.loads(capture.request_body)
    assert TokenCounter(template).count(request["messages"], request.get("tools")).total == usage(capture)


def test_there_are_chats_that_a_real_vllm_counted() -> None:
    assert {template for template, _ in COUNTED} == {"v7", "v13"}
    assert len(COUNTED) >= 18


def test_a_string_is_one_user_message() -> None:
    assert TokenCounter().count("Hello") == TokenCounter().count([{"role": "user", "content": "Hello"}])
    assert TokenCounter().count("Hello").total == 4  # <s>[INST]Hello[/INST], as vLLM says of it
    assert TokenCounter.bound("Hello") >= 4


@each_template
def test_the_message_classes_count_as_the_dicts_that_are_sent(template: Template) -> None:
    dicts: Conversation = [{"role": "system", "content": "Be brief."}, USER, CALLING, RESULT]
    call = ToolCall(id="abcdefgh1", function=FunctionCall(name="get_weather", arguments='{"city":"Paris"}'))
    classes: Sequence[Message] = [
        SystemMessage(content="Be brief."),
        UserMessage(content="What is the weather in Paris?"),
        AssistantMessage(content=None, tool_calls=[call], reasoning="It is not sent."),
        ToolMessage(content="18 degrees", tool_call_id="abcdefgh1"),
    ]
    mixed: Sequence[Message] = [*classes[:2], {"role": "assistant", "content": "", "tool_calls": [call]}, classes[3]]
    counter = TokenCounter(template)
    assert counter.count(classes) == counter.count(mixed) == counter.count(dicts)
    assert counter.bound(classes) == counter.bound(mixed) == counter.bound(dicts)


def test_an_answer_without_calls_counts_as_its_text() -> None:
    answers: Sequence[Message] = [UserMessage(content="Hello"), AssistantMessage(content="Hi")]
    assert TokenCounter().count(answers).messages == (3, 1)


class Parameters(BaseModel):
    kind: str = "object"
    required: list[str] | None = None


@pytest.mark.parametrize(
    ("parameters", "becomes"),
    [
        pytest.param(Parameters(), {"kind": "object"}, id="a-model"),
        pytest.param(MappingProxyType({"a": (1, 2)}), {"a": [1, 2]}, id="a-mapping"),
        pytest.param({"enum": deque("ab")}, {"enum": ["a", "b"]}, id="a-sequence"),
    ],
)
def test_a_definition_counts_as_what_it_becomes_in_json(parameters: object, becomes: object) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": each}} for each in (parameters, becomes)]
    assert TokenCounter().count("Hello", tools[:1]) == TokenCounter().count("Hello", tools[1:])


@each_template
def test_what_is_no_text_is_not_counted(template: Template) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with_image: Conversation = [{"role": "user", "content": [image, {"type": "text", "text": "What is this?"}, "text"]}]
    without = [
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "text", "text": "text"}]}
    ]
    assert TokenCounter(template).count(with_image) == TokenCounter(template).count(without)


def test_each_message_is_told_with_what_the_template_puts_around_it() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    said = [*messages, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Hello"}]
    assert TokenCounter().count(messages).messages == (5, 3)
    assert TokenCounter().count(said).messages == (5, 3, 2, 3)


def test_messages_in_a_row_share_their_tokens_by_length() -> None:
    long, short = {"role": "user", "content": "Hello " * 100}, {"role": "user", "content": "Hi"}
    count = TokenCounter().count([long, short, {"role": "user", "content": ""}])
    assert count.messages[0] > 90 > count.messages[1] > 0
    assert sum(count.messages) + 1 == count.total


def test_a_longer_conversation_costs_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def tokens(text: str) -> int:
        asked.append(text)
        return 1

    monkeypatch.setattr(_tekken, "count", _tekken.Counts(tokens))
    counter, messages = TokenCounter(), [USER, CALLING, RESULT, {"role": "assistant", "content": "Mild."}]
    counter.count(messages, [TOOL])
    asked.clear()
    counter.count([*messages, {"role": "user", "content": "Thanks!"}], [TOOL])
    assert asked == ["Thanks!"]


def test_a_changed_message_is_seen() -> None:
    counter, message = TokenCounter(), {"role": "user", "content": "Hello"}
    before = counter.count([message]).total
    message["content"] = "Hello, hello, hello!"
    assert counter.count([message]).total > before


@pytest.mark.parametrize(
    "arguments", ["9" * 5000, "[" * 100_000, '{"a": ' * 5000 + "1" + "}" * 5000], ids=["digits", "open", "deep"]
)
@each_template
def test_arguments_that_python_can_not_read_are_counted_as_text(template: Template, arguments: str) -> None:
    messages = [USER, calling(arguments), RESULT]
    assert len(arguments) / 100 < TokenCounter(template).count(messages).total <= TokenCounter.bound(messages)


def test_nothing_is_loaded_before_an_exact_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nemotron_client._tekken")
    monkeypatch.delattr("nemotron_client._tekken")
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    assert TokenCounter().bound([USER, CALLING, RESULT], [TOOL]) > 50
    with pytest.raises(ModuleNotFoundError):
        TokenCounter().count([USER])


def test_an_unknown_template_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"template='v3'\): give one of v7, v11, v13"):
        TokenCounter("v3")  # type: ignore[arg-type] # on purpose


BAD = [
    pytest.param("", None, "messages", "messages is empty", id="an-empty-string"),
    pytest.param([], None, "messages", "messages is empty", id="an-empty-list"),
    pytest.param(None, None, "messages", "messages is a NoneType", id="None"),
    pytest.param([USER, "Hi"], None, "messages[1]", "messages[1] is a str", id="a-string-in-the-list"),
    pytest.param([{"role": "bot", "content": "a", "b": 1}], None, "messages[0].role", "has role 'bot'", id="a-role"),
    pytest.param([{"role": "user"}], None, "messages[0].content", "has no content", id="no-content"),
    pytest.param([{"role": "user", "content": 5}], None, "messages[0].content", "of type int", id="a-number"),
    pytest.param([USER], 5, "tools", "tools is a int", id="tools-that-are-no-list"),
    pytest.param(
        [USER],
        [{"function": {"name": "f", "parameters": {"a": object()}}}],
        "tools",
        "tools can't be written as JSON: a value of type object",
        id="a-tool-that-has-no-form-in-json",
    ),
    pytest.param(
        [USER, calling({"a": object()})],
        None,
        "the arguments of a tool call",
        "the arguments of a tool call can't be written as JSON",
        id="arguments-that-have-no-form-in-json",
    ),
]


@pytest.mark.parametrize("how", ["count", "bound"])
@pytest.mark.parametrize(("messages", "tools", "parameter", "words"), BAD)
def test_what_can_not_be_counted_is_refused_with_its_place(
    how: str, messages: object, tools: object, parameter: str, words: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        getattr(TokenCounter(), how)(messages, tools)
    assert caught.value.parameter == parameter
    assert words in str(caught.value)
