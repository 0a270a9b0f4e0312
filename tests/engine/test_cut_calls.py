"""A call that was cut before its arguments is none, though a server tells of it as of one without any."""

import json

import pytest

from nemotron_client import ChatCompletion
from nemotron_client._engine.offered import restore
from nemotron_client._engine.wire import parse
from tests.engine.histories import call


def answer(*arguments: str, finish_reason: str = "tool_calls", choices: int = 1) -> ChatCompletion:
    calls = [call(f"abcdefgh{index}", arguments=each) for index, each in enumerate(arguments)]
    choice = {"message": {"role": "assistant", "tool_calls": calls}, "finish_reason": finish_reason}
    return parse(ChatCompletion, json.dumps({"choices": [choice] * choices}).encode())


def restored(*arguments: str, ran_out: bool, finish_reason: str = "tool_calls", choices: int = 1) -> ChatCompletion:
    whole = answer(*arguments, finish_reason=finish_reason, choices=choices)
    restore(whole, offered={"look"}, names={}, ran_out=ran_out)
    return whole


@pytest.mark.parametrize(("ran_out", "finish_reason"), [(True, "tool_calls"), (False, "length"), (True, "length")])
def test_no_arguments_in_an_answer_that_ran_out_were_cut(*, ran_out: bool, finish_reason: str) -> None:
    done = restored('{"a": 1}', "{}", ran_out=ran_out, finish_reason=finish_reason)
    assert [each.function.arguments for each in done.tool_calls] == ['{"a": 1}', ""]
    assert (done.choices[0].finish_reason, done.truncated) == ("length", True)


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
