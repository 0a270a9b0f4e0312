"""The tokens that the test servers tell of, judged by mistral-common."""

import json
from contextlib import suppress
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client.testing import FakeServer, text, tool_calls
from nemotron_client.testing.counting import answer_tokens, prompt_tokens
from nemotron_client.testing.tokenizing import END, first_tokens, prompt_ids, shared_ids, spelled, text_ids
from tests.engine import conversations, judge
from tests.engine.histories import asked, call, user
from tests.testing.wire import WEATHER, Ask, asking, events

ARGS = 32  # where the model's own vocabulary has it
BLANKS = f"a{' ' * 1_000_000}b"  # more than tiktoken bears in one piece


def taken(messages: judge.Conversation) -> list[dict[str, Any]]:
    """Return a conversation as vLLM takes it: the arguments of calls are objects, in JSON."""
    copies: list[dict[str, Any]] = json.loads(json.dumps(messages))
    for function in (each["function"] for message in copies for each in message.get("tool_calls") or ()):
        arguments = function["arguments"]
        with suppress(ValueError, TypeError):
            arguments = json.loads(arguments)
        function["arguments"] = json.dumps(arguments if isinstance(arguments, dict) else {})
    return copies


@given(st.randoms(use_true_random=True))
def test_a_conversation_has_the_tokens_that_mistral_common_gives_it(random: Random) -> None:
    messages, tools = conversations.conversation(random), conversations.tools(random)
    read = taken([each for each in messages if each["role"] != "developer"] or [user()])
    fields = {"messages": read, "tools": tools}
    (ids,) = prompt_ids(fields)
    assert ids == [ARGS if each == judge.ARGS else each for each in judge.ids("v13", read, tools)]
    assert len(ids) == prompt_tokens(fields)


@pytest.mark.parametrize("arguments", ["[1]", "{", "", "5", "[" * 3000])
def test_arguments_that_are_no_object_are_read_as_none(arguments: str) -> None:
    (ids,) = prompt_ids({"messages": [user(), asked(call(arguments=arguments)), user()]})
    assert ids == prompt_ids({"messages": [user(), asked(call(arguments="{}")), user()]})[0]


@given(st.text(), st.lists(st.integers(0, 30)))
def test_the_tokens_of_a_text_are_shared_out_among_its_parts(whole: str, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(whole)]
    parts = [whole[start:end] for start, end in pairwise(edges)]
    shared = shared_ids(parts)
    assert len(shared) == len(parts)
    assert [token for ids in shared for token in ids] == text_ids(whole)
    assert spelled(text_ids(whole)) == whole


def test_no_text_is_too_long_to_be_told_by_its_tokens() -> None:
    assert spelled(text_ids(BLANKS)) == BLANKS
    assert len(text_ids(BLANKS)) == answer_tokens(BLANKS, (), ended=False)
    assert first_tokens(BLANKS, 1) == "a"


def test_control_tokens_have_names() -> None:
    assert spelled([0, 1, 2, 3, 19, 20, 31, 32, 33, 34, 999]) == (
        "<unk><s></s>[INST][TOOL_CONTENT]<SPECIAL_20><SPECIAL_31>[ARGS][CALL_ID]<SPECIAL_34><SPECIAL_999>"
    )


@pytest.fixture
def ask() -> Ask:
    return asking(FakeServer(text("It is short."), tool_calls(("get_weather", {"city": "Oslo"}))))


def test_an_answer_tells_its_tokens_as_many_as_it_counts(ask: Ask) -> None:
    for _ in range(2):
        whole = ask(return_token_ids=True, tools=[WEATHER]).json()
        ids = whole["choices"][0]["token_ids"]
        assert (len(ids), ids[-1]) == (whole["usage"]["completion_tokens"], END)
        assert len(whole["prompt_token_ids"]) == whole["usage"]["prompt_tokens"]


def test_a_stream_tells_the_same_tokens_piece_by_piece_with_the_usage_so_far() -> None:
    fake = FakeServer()
    ask = asking(fake)
    usage = {"include_usage": True, "continuous_usage_stats": True}
    for answer in (text("It is short."), tool_calls(("get_weather", {"city": "Oslo"}), ("now", "{}"))):
        fake.always(answer)
        whole = ask(return_token_ids=True).json()
        first, *chunks, last = events(ask(stream=True, return_token_ids=True, stream_options=usage))
        assert first["prompt_token_ids"] == whole["prompt_token_ids"]
        pieces = [chunk["choices"][0]["token_ids"] for chunk in chunks]
        assert [token for ids in pieces for token in ids] == whole["choices"][0]["token_ids"]
        counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
        assert counts == [sum(map(len, pieces[: number + 1])) for number in range(len(pieces))]
        assert counts[-1] == last["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


def test_the_probabilities_of_an_answer_are_those_of_its_tokens(ask: Ask) -> None:
    rows = ask(logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]["content"]
    assert [row["token"] for row in rows] == ["It", " is", " short", ".", "</s>"]
    assert {row["logprob"] for row in rows} == {0.0}
    assert [each["token"] for each in rows[0]["top_logprobs"]] == ["It", "a"]


def test_the_prompt_that_is_echoed_has_its_probabilities_too(ask: Ask) -> None:
    choice = ask("completions", prompt="Hello", echo=True, logprobs=1, stream=False).json()["choices"][0]
    assert choice["text"] == "HelloIt is short."
    told = choice["logprobs"]
    assert told["tokens"][:3] == ["<s>", "Hello", "It"]
    assert told["text_offset"][:4] == [0, 3, 8, 10]
    assert told["token_logprobs"][:2] == [None, 0.0]
    assert told["top_logprobs"][:2] == [None, {"Hello": 0.0}]
    assert choice["prompt_logprobs"][0] is None


def test_a_stream_echoes_the_prompt_before_its_first_word() -> None:
    ask = asking(FakeServer(text("It is short.")))
    first, second, *_ = events(ask("completions", prompt="Hello", echo=True, logprobs=0, stream=True))
    assert (first["choices"][0]["text"], second["choices"][0]["text"]) == ("HelloIt", " is")
    assert second["choices"][0]["logprobs"]["text_offset"] == [7]


def test_arguments_that_are_an_object_already_count_like_their_json() -> None:
    as_object = {"messages": [user(), asked({"function": {"name": "f", "arguments": {"a": 1}}})]}
    as_text = {"messages": [user(), asked({"function": {"name": "f", "arguments": '{"a": 1}'}})]}
    assert prompt_tokens(as_object) == prompt_tokens(as_text)
