"""A call that was cut before its arguments is none, though a server tells of it as of one without any."""

import json

import pytest

from nemotron_client import ChatCompletion, Usage
from nemotron_client._engine.calls import chat_call
from nemotron_client._engine.offered import restore
from nemotron_client._engine.wire import parse
from nemotron_client.config import resolve
from nemotron_client.options import ChatOptions
from tests.engine.histories import call


def answer(*arguments: str, finish_reason: str = "tool_calls", choices: int = 1) -> ChatCompletion:
    calls = [call(f"abcdefgh{index}", arguments=each) for index, each in enumerate(arguments)]
    choice = {"message": {"role": "assistant", "tool_calls": calls}, "finish_reason": finish_reason}
    return parse(ChatCompletion, json.dumps({"choices": [choice] * choices}).encode())


def restored(*arguments: str, ran_out: bool, finish_reason: str = "tool_calls", choices: int = 1) -> ChatCompletion:
    whole = answer(*arguments, finish_reason=finish_reason, choices=choices)
    restore(whole, offered={"look"}, names={}, ran_out=ran_out)
    return whole


@pytest.mark.parametrize(
    ("ran_out", "finish_reason", "told"),
    [
        (True, "tool_calls", "length"),
        (False, "length", "length"),
        (True, "length", "length"),
        (False, "abort", "abort"),
        (True, "error", "error"),
    ],
)
def test_no_arguments_in_an_answer_that_is_not_all_there_were_cut(
    *, ran_out: bool, finish_reason: str, told: str
) -> None:
    done = restored('{"a": 1}', "{}", ran_out=ran_out, finish_reason=finish_reason)
    assert [each.function.arguments for each in done.tool_calls] == ['{"a": 1}', ""]
    assert (done.choices[0].finish_reason, done.truncated) == (told, True)


@pytest.mark.parametrize(
    ("arguments", "ran_out", "choices"),
    [
        (("{}",), False, 1),
        (("{}", '{"a": 1}'), True, 1),  # the last has all of its arguments
        (("{}",), True, 2),  # two answers of half as many tokens
        ((), True, 1),
    ],
)
def test_else_it_is_a_call_without_arguments(*, arguments: tuple[str, ...], ran_out: bool, choices: int) -> None:
    done = restored(*arguments, ran_out=ran_out, choices=choices)
    assert [each.function.arguments for each in done.tool_calls] == [*arguments]
    assert (done.choices[0].finish_reason, done.truncated) == ("tool_calls", False)


def test_a_named_call_that_says_stop_is_whole() -> None:
    done = restored("{}", ran_out=True, finish_reason="stop")
    assert (done.tool_calls[0].function.arguments, done.truncated) == ("{}", False)


@pytest.mark.parametrize(
    ("options", "window", "tokens", "ran_out"),
    [
        ({"max_tokens": 8}, None, 8, True),
        ({"max_tokens": 8}, None, 7, False),
        ({"max_tokens": 9, "max_completion_tokens": 8}, None, 8, True),
        ({"extra_body": {"max_tokens": -1}}, None, 8, False),  # llama.cpp's way to set no limit
        ({}, None, 8, False),
        ({}, 18, 8, True),  # with a prompt of ten
        ({}, 19, 8, False),
        ({"max_tokens": 8}, 4096, None, False),
    ],
)
def test_an_answer_has_run_out_if_it_has_all_the_tokens_that_it_could_have(
    *, options: ChatOptions, window: int | None, tokens: int | None, ran_out: bool
) -> None:
    config = resolve({}, base_url="http://127.0.0.1:8000/v1", model="m")
    made = chat_call(config, "Hello", {**options}, stream=False)
    usage = None if tokens is None else Usage(prompt_tokens=10, completion_tokens=tokens, total_tokens=10 + tokens)
    assert made.ran_out(usage, window) == ran_out
