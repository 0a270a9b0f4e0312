"""What crosses the wire, as the caller sees it."""

from math import inf

import pytest
from pydantic import BaseModel

from nemotron_client.completions import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    Completion,
    ResponseInfo,
    TextChoice,
    TokenLogprob,
    Usage,
)
from nemotron_client.messages import AssistantMessage, ToolCall
from nemotron_client.servers import Model, ModelList, Readiness, ServerVersion


def choice(finish_reason: str | None = "stop", *arguments: str, content: str | None = "Hi") -> Choice:
    calls = [{"id": "a", "function": {"name": "f", "arguments": each}} for each in arguments] or None
    message = AssistantMessage.model_validate({"content": content, "tool_calls": calls})
    return Choice(message=message, finish_reason=finish_reason)


def test_what_one_mostly_wants_is_within_reach() -> None:
    done = ChatCompletion(choices=[choice("tool_calls", "{}"), choice(content="other")])
    assert (done.text, [call.id for call in done.tool_calls]) == ("Hi", ["a"])
    assert Completion(choices=[TextChoice(text="x"), TextChoice(text="y")]).text == "x"


@pytest.mark.parametrize(
    "empty", [ChatCompletion(), ChatCompletion(choices=[choice(content=None)])], ids=["no-choices", "no-content"]
)
def test_what_is_not_there_is_empty(empty: ChatCompletion) -> None:
    assert (empty.text, empty.tool_calls, empty.truncated) == ("", [], False)
    assert Completion().text == ""
    assert not Completion().truncated


@pytest.mark.parametrize(
    ("finish_reason", "cut"),
    [
        *((reason, True) for reason in ("length", "model_length", "abort", "error")),
        *((reason, False) for reason in ("stop", "tool_calls", None)),
    ],
)
def test_a_finish_reason_tells_whether_an_answer_is_cut_short(finish_reason: str | None, *, cut: bool) -> None:
    assert ChatCompletion(choices=[choice(), choice(finish_reason)]).truncated is cut
    assert Completion(choices=[TextChoice(), TextChoice(finish_reason=finish_reason)]).truncated is cut


@pytest.mark.parametrize(
    ("arguments", "cut"),
    [
        ('{"city": "Berl', True),
        ('{"city": "Berlin"', True),
        ('{"where": {"city": "Berlin"}', True),
        ('{"cities": ["Berlin"', True),
        ("{", True),
        ('{"city": "Berlin"}', False),
        ('{"city": "Berlin"} \n', False),
        ("[1]", False),
        ("{}", False),
        ("", False),
        ("{city: Berlin}", False),
        ("{}}", False),
    ],
)
def test_a_call_cut_in_the_middle_is_cut_short_whatever_the_finish_reason(arguments: str, *, cut: bool) -> None:
    assert choice("tool_calls", "{}", arguments).truncated is cut


def test_an_answer_carries_the_http_answer_it_came_in() -> None:
    info = ResponseInfo(200, "r1", {"x-secret": "value"})
    done = ChatCompletion().answered_by(info)
    assert done.response is info
    assert ChatCompletion().response == ResponseInfo()
    assert "value" not in repr(info)  # too long to be read in a repr


def test_a_list_of_models_is_a_list_and_has_data() -> None:
    models = ModelList([Model(id="a")])
    assert models.data is models
    assert [model.id for model in models] == ["a"]


@pytest.mark.parametrize("ready", [True, False])
def test_readiness_is_a_condition(*, ready: bool) -> None:
    assert bool(Readiness(ready, "detail")) is ready


def test_a_version_has_two_names() -> None:
    assert ServerVersion.model_validate({"version": "0.32.0"}).version == "0.32.0"
    nim = ServerVersion.model_validate({"release": "1.8.0", "api": "1.2"})
    assert (nim.version, nim.api) == ("1.8.0", "1.2")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Choice, {"index": 0, "message": {"role": "assistant"}}),
        (ChunkChoice, {"index": 0, "delta": {}}),
        (TextChoice, {"index": 0, "text": ""}),
        (ChatCompletion, {"id": "", "object": "chat.completion", "created": 0, "model": "", "choices": []}),
        (ChatCompletionChunk, {"id": "", "object": "chat.completion.chunk", "created": 0, "model": "", "choices": []}),
        (Completion, {"id": "", "object": "text_completion", "created": 0, "model": "", "choices": []}),
        (ToolCall, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}),
        (Usage, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
        (TokenLogprob, {"token": "", "logprob": -inf, "top_logprobs": []}),
    ],
)
def test_what_a_server_may_leave_out_has_a_default(model: type[BaseModel], expected: object) -> None:
    assert model.model_validate_json("{}").model_dump(exclude_none=True) == expected


def test_only_what_was_set_is_marked_as_set() -> None:
    assert AssistantMessage(content="Hi").model_fields_set == {"content"}


def test_what_is_none_is_not_shown() -> None:
    done = ChatCompletion.model_validate({"choices": [{"message": {"content": "Hi", "audio": None}}], "service": None})
    assert repr(done.choices[0]) == "Choice(index=0, message=AssistantMessage(role='assistant', content='Hi'))"
    assert "None" not in repr(done)
