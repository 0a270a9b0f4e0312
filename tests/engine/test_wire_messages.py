"""What callers give as messages, and what is sent of it."""

from types import MappingProxyType

import pytest

from nemotron_client.completions import ChatCompletion
from nemotron_client.errors import InvalidRequestError
from nemotron_client.messages import AssistantMessage, FunctionCall, SystemMessage, ToolCall, ToolMessage, UserMessage
from tests.engine.driving import chat, sent

USER = {"role": "user", "content": "Hi"}
NOTHING: dict[str, object] = {}
NO_PARTS: list[object] = []


@pytest.mark.parametrize(
    ("messages", "as_sent"),
    [
        pytest.param("Hi", [USER], id="a-string-is-one-user-message"),
        pytest.param([USER], [USER], id="dicts"),
        pytest.param((MappingProxyType(USER),), [USER], id="other-mappings"),
        pytest.param(
            [{"role": "user", "content": "Hi", "name": "x"}], [{**USER, "name": "x"}], id="further-fields-of-a-dict"
        ),
        pytest.param(
            [{"role": "developer", "content": NO_PARTS}], [{"role": "developer", "content": NO_PARTS}], id="developer"
        ),
        pytest.param(
            [{"role": "user", "content": None}], [{"role": "user", "content": None}], id="null-content-of-the-user"
        ),
        pytest.param(
            [{"role": "assistant", "content": None, "prefix": True}],
            [{"role": "assistant", "content": None, "prefix": True}],
            id="null-content-of-the-assistant",
        ),
        pytest.param(
            [{"role": "assistant", "tool_calls": NO_PARTS}],
            [{"role": "assistant", "tool_calls": NO_PARTS}],
            id="no-content-of-the-assistant",
        ),
        pytest.param(
            [SystemMessage(content="Be brief."), UserMessage(content=[{"type": "text", "text": "Hi", "x": None}])],
            [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Hi", "x": None}]},
            ],
            id="classes",
        ),
        pytest.param(
            [ToolMessage(content="4", tool_call_id="a")],
            [{"role": "tool", "content": "4", "tool_call_id": "a"}],
            id="a-tools-result",
        ),
        pytest.param(
            [ToolMessage(content="4", tool_call_id="a", name="f")],
            [{"role": "tool", "content": "4", "tool_call_id": "a", "name": "f"}],
            id="a-named-result",
        ),
        pytest.param(
            [UserMessage.model_validate({"content": "Hi", "name": "x"})],
            [{**USER, "name": "x"}],
            id="further-fields-of-a-class",
        ),
        pytest.param(
            [AssistantMessage(content="Hello", reasoning="Hm.")],
            [{"role": "assistant", "content": "Hello"}],
            id="an-answer-without-its-reasoning",
        ),
        pytest.param(
            [AssistantMessage(refusal="No.")], [{"role": "assistant", "content": "No."}], id="a-refusal-as-content"
        ),
        pytest.param(
            [AssistantMessage(content="Hello", refusal="no")],
            [{"role": "assistant", "content": "Hello", "refusal": "no"}],
            id="a-refusal-beside-content",
        ),
        pytest.param(
            [AssistantMessage.model_validate({"content": "Hel", "prefix": True, "audio": {"id": "a"}})],
            [{"role": "assistant", "content": "Hel", "prefix": True}],
            id="a-beginning-to-be-continued",
        ),
        pytest.param([AssistantMessage()], [{"role": "assistant", "content": ""}], id="an-empty-answer"),
        pytest.param(
            [
                AssistantMessage.model_validate(
                    {
                        "tool_calls": [{"id": "a", "index": 0, "function": {"name": "f", "arguments": "{}", "x": 1}}],
                        "audio": None,
                    }
                )
            ],
            [
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                }
            ],
            id="an-answer-that-calls-tools",
        ),
        pytest.param(
            [
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [ToolCall(id="a", function=FunctionCall(name="f", arguments="{}"))],
                }
            ],
            [
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                }
            ],
            id="a-dict-that-holds-calls",
        ),
    ],
)
def test_messages_of_every_shape_are_sent(messages: object, as_sent: object) -> None:
    assert sent({"repair": "off"}, messages) == {"messages": as_sent}


@pytest.mark.parametrize(
    ("messages", "parameter", "words"),
    [
        pytest.param("", "messages", "messages is empty", id="an-empty-string"),
        pytest.param([], "messages", "messages is empty", id="an-empty-list"),
        pytest.param(None, "messages", "messages is a NoneType", id="None"),
        pytest.param(b"Hi", "messages", "messages is a bytes", id="bytes"),
        pytest.param(USER, "messages", "messages is a dict", id="one-message-without-its-list"),
        pytest.param(
            UserMessage(content="Hi"), "messages", "messages is a UserMessage", id="one-class-without-its-list"
        ),
        pytest.param(["Hi"], "messages[0]", "messages[0] is a str", id="a-string-in-the-list"),
        pytest.param([USER, None], "messages[1]", "messages[1] is a NoneType", id="None-in-the-list"),
        pytest.param(
            [{"content": "Hi"}], "messages[0].role", "has role None: give one of system, developer, user", id="no-role"
        ),
        pytest.param([{"role": "bot", "content": "Hi"}], "messages[0].role", "has role 'bot'", id="an-unknown-role"),
        pytest.param(
            [{"role": ["user"], "content": "Hi"}], "messages[0].role", "has role ['user']", id="a-role-that-is-no-name"
        ),
        pytest.param(
            [{"role": "user"}], "messages[0].content", "messages[0] (role user) has no content", id="no-content"
        ),
        pytest.param(
            [{"role": "user", "content": 5}],
            "messages[0].content",
            "has content of type int",
            id="content-of-another-type",
        ),
        pytest.param(
            [{"role": "assistant", "content": NOTHING}],
            "messages[0].content",
            "has content of type dict",
            id="content-of-the-assistant",
        ),
        pytest.param(
            [ChatCompletion()],
            "messages[0]",
            "give its choices[0].message",
            id="a-whole-completion-in-place-of-its-message",
        ),
    ],
)
def test_what_is_no_message_is_refused_with_its_place(messages: object, parameter: str, words: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        chat(messages=messages)
    assert caught.value.parameter == parameter
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [AssistantMessage(content="Hello"), AssistantMessage(content="Hello", refusal=None, reasoning=None)],
    ids=["fields-unset", "fields-null"],
)
def test_the_nulls_of_a_message_that_was_dumped_are_not_sent(answer: AssistantMessage) -> None:
    dumped = answer.model_dump()
    assert sent({}, [USER, dumped, USER]) == {"messages": [USER, {"role": "assistant", "content": "Hello"}, USER]}
    assert dumped["reasoning"] is None  # the caller's own stays as it is
    result = ToolMessage(content="4", tool_call_id="abcdefgh1").model_dump()
    call = ToolCall(id="abcdefgh1", function=FunctionCall(name="f", arguments="{}"))
    asker = AssistantMessage(tool_calls=[call]).model_dump()
    body = sent({}, [USER, asker, result])
    assert body == sent({}, [USER, AssistantMessage(tool_calls=[call]), ToolMessage(**result)])


def test_repair_off_sends_nulls_as_they_were_given() -> None:
    given = [{"role": "assistant", "content": "Hello", "refusal": None}]
    assert sent({"repair": "off"}, given) == {"messages": given}
