"""The one list of parameters: what is in it, what is refused and how, and what help() shows."""

import inspect
import pydoc
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from math import inf, nan

import pytest

from nemotron_client import RetryPolicy, Timeout, TokenBudget
from nemotron_client.async_chat import AsyncChatCompletions
from nemotron_client.async_resources import AsyncTextCompletions
from nemotron_client.chat import ChatCompletions
from nemotron_client.checking import check, picked
from nemotron_client.errors import InvalidRequestError
from nemotron_client.options import (
    CallOptions,
    ChatOptions,
    ChatParameters,
    FormOptions,
    FormSettings,
    LoopOptions,
    LoopSettings,
    TextBody,
    TextOptions,
)
from nemotron_client.resources import TextCompletions

# OpenAI's chat parameters (its API reference), with what they accept.
OPENAI: Mapping[str, object] = {
    "model": "m",
    "temperature": 0.7,
    "top_p": 1,
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "n": 2,
    "stop": ["a", "b"],
    "seed": -1,
    "frequency_penalty": -2,
    "presence_penalty": 2,
    "logit_bias": {"5": -100, 6: 100.0},
    "logprobs": True,
    "top_logprobs": 20,
    "tools": [{"type": "function"}],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "response_format": {"type": "json_object"},
    "stream_options": {"include_usage": True, "continuous_usage_stats": False},
    "user": "u",
    "functions": [],
    "function_call": "auto",
    "reasoning_effort": "low",
    "verbosity": "low",
    "modalities": ["text"],
    "audio": {},
    "prediction": {},
    "web_search_options": {},
    "service_tier": "auto",
    "store": False,
    "metadata": {"a": "b"},
    "prompt_cache_key": "k",
    "safety_identifier": "s",
}
# What vLLM's ChatCompletionRequest (0.32) takes beside them, and what NIM 1.x and older servers take.
VLLM: Mapping[str, object] = {
    "thinking_token_budget": 0,
    "include_reasoning": True,
    "use_beam_search": False,
    "top_k": -1,
    "min_p": 0.5,
    "repetition_penalty": 1.1,
    "length_penalty": -0.5,
    "stop_token_ids": [1],
    "include_stop_str_in_output": True,
    "ignore_eos": True,
    "min_tokens": 0,
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "truncate_prompt_tokens": -1,
    "truncation_side": "left",
    "prompt_logprobs": 0,
    "logprob_token_ids": [1],
    "allowed_token_ids": (1, 2),
    "bad_words": ["x"],
    "echo": False,
    "add_generation_prompt": False,
    "continue_final_message": True,
    "add_special_tokens": False,
    "documents": [{"text": "x"}],
    "chat_template": "x",
    "chat_template_kwargs": {"a": 1},
    "structured_outputs": {"choice": ["a"]},
    "priority": -1,
    "request_id": "r",
    "return_tokens_as_token_ids": True,
    "return_token_ids": True,
    "cache_salt": "s",
    "kv_transfer_params": {},
    "vllm_xargs": {"a": 1},
    "guided_json": {"type": "object"},
    "guided_regex": "a+",
    "guided_choice": ["a"],
    "guided_grammar": "g",
    "nvext": {"a": 1},
}
TEXT: Mapping[str, object] = {"prompt": "Once", "suffix": "end", "echo": True, "logprobs": 5, "best_of": 2}
CALL: Mapping[str, object] = {
    "timeout": Timeout(),
    "max_retries": 0,
    "retry": RetryPolicy(),
    "extra_headers": {"a": "b"},
    "extra_body": {"a": object()},
    "repair": "strict",
    "budget": TokenBudget(reserve=2),
}


def test_every_parameter_of_openai_and_of_vllm_is_in_the_list_and_nothing_else() -> None:
    assert set(inspect.get_annotations(ChatOptions)) == {*OPENAI, *VLLM, *CALL}


def test_what_is_accepted_comes_back_as_it_was_given() -> None:
    given = {**OPENAI, **VLLM}
    assert check({**given, **CALL}, ChatParameters) == given
    assert check({**TEXT, **CALL}, TextBody) == TEXT
    assert picked({**given, **CALL}, CallOptions) == CALL


def test_none_is_not_set_and_for_the_time_limit_no_limit() -> None:
    nothing = dict.fromkeys(inspect.get_annotations(ChatOptions))
    assert check(nothing, ChatParameters) == {}
    assert picked(nothing, CallOptions) == dict.fromkeys(CALL)
    assert picked({"seed": 1}, CallOptions) == {}


IMPOSSIBLE: Mapping[str, list[object]] = {
    "temperature": [3, -0.1, 2.01, "hot", nan, True],
    "top_p": [0, 1.1, nan],
    "max_tokens": [0, -1, 1.0, "5", True],
    "max_completion_tokens": [0],
    "n": [0, -1, 1.5],
    "stop": [["a", "b", "c", "d", "e"], 5, [1], b"x", {"a"}],
    "seed": [1.5, "1", inf],
    "frequency_penalty": [-2.1, 2.1],
    "presence_penalty": [-2.1, 2.1],
    "logit_bias": [{"1": 101}, {"1": -101}, {"1": "x"}, [1]],
    "logprobs": ["yes", 1],
    "top_logprobs": [-1, 21],
    "tools": [[], {}, "x", [5], "auto"],
    "tool_choice": ["any", 5, ["auto"]],
    "parallel_tool_calls": ["false", 0],
    "response_format": ["json", {1: 2}, dict],
    "stream_options": [True, {"include_usag": True}, {"include_usage": 1}],
    "top_k": [-2, 1.5],
    "min_p": [-0.1, 1.1],
    "repetition_penalty": [0, -1],
    "min_tokens": [-1],
    "stop_token_ids": [["a"], 5, "12"],
    "bad_words": ["abc", [1]],
    "truncate_prompt_tokens": [-2],
    "truncation_side": ["middle"],
    "prompt_logprobs": [-1],
    "guided_json": [5],
    "thinking_token_budget": [-1],
    "documents": [{"text": "x"}, ["x"]],
    "model": [5, b"m"],
    "timeout": ["5", True, [1]],
    "max_retries": [-1, 1.5, True],
    "retry": [5, {"max_retries": 1}],
    "extra_headers": [{"a": 1}, ["a"], "a: b"],
    "extra_body": [[1], {1: 2}, "{}"],
}


@pytest.mark.parametrize(
    ("name", "value"), [pytest.param(n, v, id=f"{n}={v!r}"[:60]) for n, values in IMPOSSIBLE.items() for v in values]
)
def test_an_impossible_value_is_refused_by_name_with_what_is_possible(name: str, value: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        picked({name: value}, CallOptions) if name in CALL else check({name: value}, ChatParameters)
    assert caught.value.parameter == name
    text = str(caught.value)
    assert text.startswith(f"{name}={'...' if name == 'extra_headers' else repr(value)} is not possible: give ")
    assert caught.value.__suppress_context__  # pydantic's own words are of no use to the caller


def test_a_long_value_is_not_shown_whole() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check({"user": ["x" * 1000]}, ChatParameters)
    assert str(caught.value) == f"user=['{'x' * 98}... is not possible: give a string."
    with pytest.raises(InvalidRequestError, match="x'\\] is not"):
        check({"user": ["x" * 96]}, ChatParameters)


TAKERS: Mapping[str, tuple[Iterable[str], Callable[[dict[str, object]], Mapping[str, object]]]] = {
    "chat": (ChatParameters.__annotations__, lambda given: check(given, ChatParameters)),
    "text": (TextBody.__annotations__, lambda given: check(given, TextBody)),
    "call": (CallOptions.__annotations__, lambda given: picked(given, CallOptions)),
    "form": (FormOptions.__annotations__, lambda given: picked(given, FormOptions)),
    "loop": (["max_turns", "show_errors"], lambda given: picked(given, LoopOptions)),
}


@pytest.mark.parametrize(("names", "take"), TAKERS.values(), ids=TAKERS)
def test_every_parameter_says_what_it_accepts(
    names: Iterable[str], take: Callable[[dict[str, object]], Mapping[str, object]]
) -> None:
    descriptions: dict[str, str] = {}
    for name in names:
        with pytest.raises(InvalidRequestError) as caught:
            take({name: object()})  # which is impossible everywhere
        descriptions[name] = str(caught.value).partition(": give ")[2]
    assert [name for name, text in descriptions.items() if len(text) < 8] == []
    assert [name for name, text in descriptions.items() if "include_usage" in text and name != "stream_options"] == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tempratur", "temperature"),
        ("max_token", "max_tokens"),
        ("top-p", "top_p"),
        ("tool", "tools"),
        ("timout", "timeout"),
        ("extra_header", "extra_headers"),
        ("max_turn", "max_turns"),
        ("aprovals", "approvals"),
        ("reask", "reasks"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(name: str, meant: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"{name} is not a parameter. Did you mean {meant}?") as caught:
        check({name: None, "seed": 1} | {name: 5}, ChatParameters)
    assert caught.value.parameter == name


@pytest.mark.parametrize(
    ("name", "calls"), [("claim", "run_tools() and stream_tools()"), ("reasks", "parse() and stream_parse()")]
)
def test_an_option_of_another_call_is_told_where_it_belongs(name: str, calls: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(f"{name} is not a parameter. {calls} take it.")):
        check({name: 1}, ChatParameters)


def test_an_unknown_name_gets_the_way_to_send_it() -> None:
    with pytest.raises(InvalidRequestError, match=r"xyzzy is not a parameter\. .* use extra_body"):
        check({"xyzzy": 1}, ChatParameters)


@pytest.mark.parametrize("name", ["prompt", "suffix", "best_of", "messages"])
def test_what_belongs_to_the_other_route_is_no_parameter(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"{name} is not a parameter"):
        check({name: "x"}, ChatParameters)


@pytest.mark.parametrize(
    ("method", "first", "options"),
    [
        (ChatCompletions.create, ["self", "messages", "stream"], ChatOptions),
        (ChatCompletions.stream, ["self", "messages"], ChatOptions),
        (AsyncChatCompletions.create, ["self", "messages", "stream"], ChatOptions),
        (AsyncChatCompletions.stream, ["self", "messages"], ChatOptions),
        (TextCompletions.create, ["self", "prompt", "stream"], TextOptions),
        (AsyncTextCompletions.create, ["self", "prompt", "stream"], TextOptions),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_help_and_signature_list_every_option(
    method: Callable[..., object], first: list[str], options: type[ChatOptions | TextOptions]
) -> None:
    shown = inspect.signature(method).parameters
    assert list(shown) == [*first, *options.__annotations__]
    assert all(shown[name].kind is inspect.Parameter.KEYWORD_ONLY for name in options.__annotations__)
    text = pydoc.plain(pydoc.render_doc(method))
    assert [name for name in options.__annotations__ if f" {name}:" not in text] == []


DEFAULTS = {"method": "auto", "reasks": 2, "max_turns": 10, "show_errors": False}


@pytest.mark.parametrize(
    ("method", "own"),
    [
        (ChatCompletions.parse, {}),
        (ChatCompletions.stream_parse, {"reasks": 0}),
        (ChatCompletions.run_tools, {}),
        (ChatCompletions.stream_tools, {}),
    ],
)
def test_a_signature_shows_what_holds_for_an_option_that_is_not_given(
    method: Callable[..., object], own: dict[str, object]
) -> None:
    shown = inspect.signature(method).parameters
    options = shown.keys() - {"self", "messages", "response_format", "tools", "approvals", "claim"}
    assert {name: shown[name].default for name in options} == {name: {**DEFAULTS, **own}.get(name) for name in options}


def test_each_form_and_loop_option_has_a_default() -> None:
    assert [each.name for each in fields(FormSettings)] == list(FormOptions.__annotations__)
    assert [each.name for each in fields(LoopSettings)] == list(LoopOptions.__annotations__)


def test_stream_is_no_option_of_what_always_streams() -> None:
    with pytest.raises(InvalidRequestError, match="leave stream out"):
        check({"stream": True}, ChatParameters)


def test_a_number_too_long_to_be_written_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequestError, match="max_tokens=<thousands of digits> is not possible: give"):
        check({"max_tokens": -(10**5000)}, ChatParameters)
