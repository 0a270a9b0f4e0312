"""Mistral's rules for conversations as the test servers know them, with mistral-common as the judge."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.tokens.tokenizers.base import TokenizerVersion

from nemotron_client.testing import FakeServer
from nemotron_client.testing.conversation import broken_rule
from tests.engine.histories import Json, asked, call, result, said, system, tool, user
from tests.engine.test_mistral_judged import refusal
from tests.testing.wire import Ask, asking, told

IDS = st.sampled_from(["abcdefgh1", "abcdefgh2", "call_1", "null"])
CALLS = st.builds(call, IDS, st.sampled_from(["look", "a b"]))
MESSAGES: st.SearchStrategy[Json] = st.one_of(
    st.just(user()),
    st.just(system()),
    st.builds(said, st.sampled_from(["Hello", "Yes"])),
    CALLS.map(asked),
    st.tuples(CALLS, CALLS).map(lambda pair: asked(*pair)),
    st.builds(result, IDS),
    IDS.map(lambda known: result(known, name="a b")),
)
TOOLS = st.lists(st.sampled_from([tool(), tool("a b"), tool(parameters={"type": "nope"})]), max_size=2)


HISTORY = [user(), asked(call())]
BOTH_OPEN = [user(), asked(call(), call("abcdefgh2")), result()]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([result()], "Conversation must start with a user message or system message"),
        ([user(), said()], "Expected last role User or Tool (or Assistant with prefix) for serving but got assistant"),
        ([*HISTORY, result(), system(), user()], "Unexpected role 'system' after role 'tool'"),
        ([*HISTORY, result(), result()], "Duplicate tool call id abcdefgh1 in tool results"),
        ([*HISTORY, result("abcdefgh2")], "Unexpected tool call id abcdefgh2 in tool results"),
        ([user(), asked(call(), call()), result()], "Duplicate tool call id abcdefgh1 in assistant message"),
        ([*BOTH_OPEN, said(), user()], "Not the same number of function calls and responses"),
        (BOTH_OPEN, "Not the same number of function calls and responses"),
        ([user(), asked(call("null")), result("null")], "Tool call id has to be defined in serving mode."),
        (
            [user(), asked(call("call_1")), result("call_1")],
            "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.",
        ),
        ([*HISTORY, result(name="a b")], "Function name was a b but must be a-z, A-Z, 0-9, or contain underscores"),
    ],
)
def test_a_worker_refuses_in_mistral_commons_words(messages: list[Json], message: str) -> None:
    with FakeServer(personality="hosted") as fake:
        assert told(asking(fake)(messages=messages)).startswith(message)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([user(), asked(call("null")), result("null")], "Tool call id must be a non-empty string other than 'null'"),
        ([user(), asked(call(name="a b")), result()], "Function name was a b but must be"),
        ([*BOTH_OPEN, said(), user()], "Not the same number of function calls and responses"),
        ([*HISTORY, result(), result()], "Duplicate tool call id abcdefgh1 in tool results"),
        ([user(), asked(call(), call()), result()], "Duplicate tool call id abcdefgh1 in assistant message"),
        ([result()], "Conversation must start with a user message or system message"),
        ([user(), result()], "Unexpected role 'tool' after role 'user'"),
    ],
)
def test_vllm_knows_some_of_these_rules_too(vllm: Ask, messages: list[Json], message: str) -> None:
    assert told(vllm(messages=messages)).startswith(message)


def test_vllm_lets_long_ids_a_missing_last_result_and_the_user_after_a_tool_pass(vllm: Ask) -> None:
    for messages in ([user(), asked(call("call_1")), result("call_1")], BOTH_OPEN, [*HISTORY, result(), user()]):
        assert vllm(messages=messages).status_code == 200


@settings(max_examples=150)
@given(st.lists(MESSAGES, min_size=1, max_size=6), TOOLS, st.booleans())
def test_the_rules_are_mistral_commons_but_for_the_users_turn_after_a_tools(
    messages: list[Json],
    tools: list[Json],
    continued: bool,  # noqa: FBT001 - hypothesis passes it by its place
) -> None:
    continued = continued and messages[-1]["role"] == "assistant"
    broken = broken_rule(messages, tools, continued=continued, hosted=True)
    if broken != "Unexpected role 'user' after role 'tool'":
        assert broken == refusal(messages, tools, TokenizerVersion.v11, continues=continued)
