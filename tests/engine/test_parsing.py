"""In which way a server is asked for a form, when another one is tried, and when the model is asked again."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from nemotron_client import AssistantMessage, Message, SystemMessage, Timeout, UserMessage
from nemotron_client._engine import parsing as engine
from nemotron_client._engine.exchange import Reply, Request
from nemotron_client._engine.parsing import Asking
from nemotron_client._engine.sending import Client
from nemotron_client.completions import ChatCompletion, ParsedCompletion, ResponseInfo
from nemotron_client.errors import (
    APIError,
    BadRequestError,
    ContextLengthExceededError,
    InternalServerError,
    InvalidConversationError,
    InvalidRequestError,
    RateLimitError,
    ResponseFormatError,
    UnprocessableEntityError,
)
from nemotron_client.structured import format_of_schema, format_of_type
from tests.engine.driving import HOSTED, Talk, answer, client, config, failure, reply
from tests.engine.driving import OWN as OWN_SERVER


class Person(BaseModel):
    name: str
    age: int


FORM = format_of_type(Person)
# What a server of one's own is told, so that it allows no blanks without end.
TIGHT = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
ADA = '{"name": "Ada", "age": 36}'
YOUNG = '{"name": "Ada", "age": "young"}'
SAID = Person(name="Ada", age=36)
GOOD = reply(200, answer(ADA))
INVALID = reply(200, answer(YOUNG))
OTHER_KEYS = reply(200, answer('{"person": "Ada"}'))
CHATTY = reply(200, answer("Ada is a person."))
OWN = ["json_schema", "structured_outputs", "json_object", "prompt"]
ON_HOSTED = ["json_schema", "guided_json", "json_object", "prompt"]

# Refusals of the way, in the words of servers (docs/explanation/protocol.md, "Structured output", "Error bodies").
UNKNOWN = [
    pytest.param(400, {"message": "Validation: Unsupported parameter(s): {}", "type": "Bad Request"}, id="a-gateway"),
    pytest.param(422, {"detail": "body -> {}\n  Extra inputs are not permitted (type=extra_forbidden)"}, id="text"),
    pytest.param(422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "{}"], "msg": "Extra"}]}, id="FastAPI"),
    pytest.param(400, {"error": {"message": "not supported", "type": "BadRequestError", "param": "{}"}}, id="param"),
    pytest.param(400, {"error": "'{}' isn't known here"}, id="a-string"),
]
UNFIT = {"error": {"message": 'Grammar error: Unimplemented keys: ["uniqueItems"]', "param": None, "code": 400}}


def unknown(parameter: str) -> Reply:
    return reply(400, {"message": f"Validation: Unsupported parameter(s): {parameter}", "code": 400})


def asking(
    who: Client | None = None,
    messages: str | list[Message] = "Who is Ada?",
    given: Mapping[str, object] | None = None,
    **options: object,
) -> Asking[Person]:
    return Asking(who or client(), messages, FORM, {**(given or {}), **options})


def parsing(
    who: Client | None = None,
    messages: str | list[Message] = "Who is Ada?",
    given: Mapping[str, object] | None = None,
    *,
    now: float = 0.0,
    **options: object,
) -> Talk[ParsedCompletion[Person]]:
    who = who or client()
    return Talk(engine.parse(who, asking(who, messages, given, **options), now=now))


def streaming(who: Client | None = None, **options: object) -> tuple[Asking[Person], Talk[ResponseInfo]]:
    who = who or client()
    asked = Asking(who, "Who is Ada?", FORM, options, stream=True)
    return asked, Talk(engine.open_stream(who, asked, now=0.0))


def body(request: Request) -> dict[str, Any]:
    assert request.body is not None
    data: dict[str, Any] = json.loads(request.body)
    return data


def way(request: Request) -> str:
    sent = body(request)
    shape = sent.get("response_format", {}).get("type")
    if shape is not None:
        return str(shape)
    if "nvext" in sent:
        return "guided_json"
    return "structured_outputs" if "structured_outputs" in sent else "prompt"


def ways(talk: Talk[Any]) -> list[str]:
    return [way(request) for request in talk.requests]


def says_schema(request: Request) -> bool:
    return '"properties"' in body(request)["messages"][-1]["content"]


# In which way


def test_a_server_that_knows_the_first_way_is_asked_once() -> None:
    talk = parsing(temperature=0.1)
    done = talk.end(GOOD)
    assert done.parsed == SAID
    assert (done.text, done.discarded) == (ADA, ())
    assert body(talk.requests[0]) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Who is Ada?"}],
        "temperature": 0.1,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "Person", "schema": {**FORM.schema, **TIGHT}, "strict": True},
        },
    }


def test_each_way_sends_the_schema_where_the_server_looks_for_it() -> None:
    def sent(method: str, base_url: str = OWN_SERVER) -> dict[str, Any]:
        return body(asking(client(config(base_url)), method=method).call.request(now=0))

    assert sent("structured_outputs")["structured_outputs"] == {"json": {**FORM.schema, **TIGHT}}
    assert sent("guided_json", HOSTED)["nvext"] == {"guided_json": FORM.schema}
    assert sent("json_object")["response_format"] == {"type": "json_object"}
    assert sent("prompt").keys() == {"model", "messages"}
    words = "Answer with JSON only, without any other word. It must match this JSON schema:"
    for method in ("json_object", "prompt"):
        (message,) = sent(method)["messages"]
        question, said, schema = message["content"].rsplit("\n", maxsplit=2)
        assert (question, said, json.loads(schema)) == ("Who is Ada?\n", words, FORM.schema)


def test_what_no_grammar_knows_is_sent_in_words_only() -> None:
    form = format_of_type(set[str])

    def sent(method: str) -> str:
        asked = Asking(client(), "Hi", form, {"method": method})
        return json.dumps(body(asked.call.request(now=0)))

    assert "uniqueItems" in sent("prompt")
    assert [method for method in ON_HOSTED + OWN if "uniqueItems" in sent(method)] == ["json_object", "prompt"] * 2


@pytest.mark.parametrize(("base_url", "expected"), [(OWN_SERVER, OWN), (HOSTED, ON_HOSTED)], ids=["own", "hosted"])
def test_ways_that_are_ignored_are_left_in_turn_without_a_complaint(base_url: str, expected: list[str]) -> None:
    talk = parsing(client(config(base_url)), reasks=0)
    done = talk.end(CHATTY, CHATTY, CHATTY, GOOD)
    assert ways(talk) == expected
    assert done.parsed == SAID
    assert [each.text for each in done.discarded] == ["Ada is a person."] * 3
    assert [len(body(request)["messages"]) for request in talk.requests] == [1, 1, 1, 1]


@pytest.mark.parametrize(("status", "refusal"), UNKNOWN)
@pytest.mark.parametrize(("base_url", "expected"), [(OWN_SERVER, OWN), (HOSTED, ON_HOSTED)], ids=["own", "hosted"])
def test_ways_that_are_refused_are_left_in_turn(
    base_url: str, expected: list[str], status: int, refusal: dict[str, object]
) -> None:
    def of(parameter: str) -> Reply:
        return reply(status, json.dumps(refusal).replace("{}", parameter).encode())

    talk = parsing(client(config(base_url)))
    second = "nvext" if base_url == HOSTED else "structured_outputs"
    done = talk.end(of("response_format"), of(second), of("response_format"), GOOD)
    assert ways(talk) == expected
    assert (done.parsed, done.discarded) == (SAID, ())


def test_an_answer_with_other_keys_tells_that_the_schema_was_ignored() -> None:
    talk = parsing()
    talk.end(OTHER_KEYS, GOOD)
    assert ways(talk) == OWN[:2]


def test_where_the_model_is_told_in_words_other_keys_are_its_own_mistake() -> None:
    who = client()
    who.shared.methods["m"] = "json_object"
    talk = parsing(who)
    talk.end(OTHER_KEYS, CHATTY, GOOD)
    assert ways(talk) == ["json_object", "json_object", "prompt"]


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (unknown("prompt_cache_key"), BadRequestError),
        (reply(422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "min_p"], "msg": "Extra"}]}), APIError),
        (reply(400, {"error": {"message": "Bad schema of tools", "param": "body.temperature"}}), BadRequestError),
        (reply(400, {"error": {"message": "list index out of range", "param": None}}), BadRequestError),
        (reply(400), BadRequestError),
        (reply(422, {"detail": "After the system message, roles must alternate"}), UnprocessableEntityError),
        (
            reply(400, {"error": {"message": "maximum context length is 10 tokens, guided_json or not"}}),
            ContextLengthExceededError,
        ),
        (reply(429, {"detail": "response_format"}, {"retry-after": "3600"}), RateLimitError),
        (reply(500, {"detail": "response_format"}, {"x-should-retry": "false"}), InternalServerError),
        (failure("timeout", "response_format"), APIError),
    ],
)
def test_a_refusal_of_something_else_is_an_error_at_once(refusal: Reply, kind: type[APIError]) -> None:
    talk = parsing(min_p=0.1)
    with pytest.raises(kind):
        talk.end(refusal)
    assert talk.posts == 1


def test_the_words_of_an_address_are_no_refusal_of_a_way() -> None:
    settings = config("http://localhost:8000/structured-schema/v1")
    with pytest.raises(BadRequestError):
        parsing(client(settings)).end(reply(400, {"error": "no"}))


def test_a_refusal_of_the_last_way_is_an_error() -> None:
    talk = parsing()
    with pytest.raises(BadRequestError, match="response_format"):
        talk.end(*[unknown("response_format")] * 4)


def test_a_way_that_is_forced_is_the_only_one() -> None:
    with pytest.raises(BadRequestError):
        parsing(method="guided_json").end(unknown("nvext"))
    talk = parsing(method="guided_json")
    with pytest.raises(ResponseFormatError):
        talk.end(CHATTY, CHATTY, CHATTY)
    assert ways(talk) == ["guided_json"] * 3


# What has worked is remembered


def test_the_way_that_worked_is_paid_for_once() -> None:
    who = client()
    parsing(who).end(CHATTY, unknown("structured_outputs"), GOOD)
    talk = parsing(who)
    talk.end(GOOD)
    assert ways(talk) == ["json_object"]
    assert says_schema(talk.requests[0])


def test_copies_of_a_client_know_it_too() -> None:
    who = client()
    parsing(who).end(CHATTY, GOOD)
    talk = parsing(Client(config(timeout=5), who.shared))
    talk.end(GOOD)
    assert ways(talk) == ["structured_outputs"]


def test_it_is_known_by_model() -> None:
    who = client()
    parsing(who).end(CHATTY, GOOD)
    talk = parsing(who, model="other")
    talk.end(GOOD)
    assert ways(talk) == ["json_schema"]
    assert who.shared.methods == {"m": "structured_outputs", "other": "json_schema"}


def test_a_server_that_is_asked_for_its_model_is_one_of_one_model() -> None:
    who = client(config(model=None))
    models = reply(200, {"data": [{"id": "served"}]})
    Talk(engine.parse(who, asking(who), now=0.0)).end(models, CHATTY, GOOD)
    talk = Talk(engine.parse(who, asking(who), now=0.0))
    talk.end(GOOD)
    assert ways(talk) == ["structured_outputs"]
    assert body(talk.requests[0])["model"] == "served"


def test_what_worked_is_left_when_it_works_no_more() -> None:
    who = client()
    who.shared.methods["m"] = "structured_outputs"
    parsing(who).end(CHATTY, GOOD)
    assert who.shared.methods == {"m": "json_object"}


@pytest.mark.parametrize("method", [*OWN, "guided_json"])
def test_what_is_forced_says_nothing_of_the_best_way(method: str) -> None:
    who = client()
    parsing(who, method=method).end(GOOD)
    assert who.shared.methods == {}


def test_a_refusal_of_one_schema_says_nothing_of_the_next() -> None:
    who = client()
    talk = parsing(who)
    talk.end(reply(400, UNFIT), reply(400, UNFIT), GOOD)
    assert ways(talk) == OWN[:3]
    assert who.shared.methods == {}


def test_ways_none_of_which_worked_are_tried_again() -> None:
    who = client()
    with pytest.raises(ResponseFormatError):
        parsing(who, reasks=0).end(*[CHATTY] * 4)
    assert who.shared.methods == {}


# Asked again


def test_the_model_is_told_what_is_wrong_and_what_is_wanted() -> None:
    talk = parsing()
    done = talk.end(INVALID, GOOD)
    assert ways(talk) == ["json_schema"] * 2
    question, said, complaint = body(talk.requests[1])["messages"]
    assert question == {"role": "user", "content": "Who is Ada?"}
    assert said == {"role": "assistant", "content": YOUNG}
    assert complaint["role"] == "user"
    assert complaint["content"].startswith(
        "That is not valid:\n"
        "- age: Input should be a valid integer, unable to parse string as an integer\n"
        "Answer again, with the corrected JSON only.\n\n"
        "Answer with JSON only"
    )
    assert json.loads(complaint["content"].rpartition("\n")[2]) == FORM.schema
    assert [each.text for each in done.discarded] == [YOUNG]


@pytest.mark.parametrize(("options", "times"), [({}, 3), ({"reasks": 0}, 1), ({"reasks": 4}, 5)])
def test_it_is_asked_again_so_many_times(options: dict[str, object], times: int) -> None:
    talk = parsing(given=options)
    with pytest.raises(ResponseFormatError) as caught:
        talk.end(*[INVALID] * times)
    error = caught.value
    assert talk.posts == times
    assert [len(body(request)["messages"]) for request in talk.requests] == list(range(1, 2 * times, 2))
    assert error.errors == ("age: Input should be a valid integer, unable to parse string as an integer",)
    assert (error.text, len(error.discarded)) == (YOUNG, times - 1)
    assert isinstance(error.completion, ChatCompletion)
    asked = f", asked {times} times" if times > 1 else ""
    assert str(error) == f"The answer is not of the form Person{asked}: {error.errors[0]}."


def test_the_most_that_can_be_asked_is_each_way_and_the_reasks() -> None:
    talk = parsing(reasks=1)
    with pytest.raises(ResponseFormatError) as caught:
        talk.end(CHATTY, CHATTY, CHATTY, INVALID, CHATTY)
    assert ways(talk) == [*OWN, "prompt"]
    assert caught.value.errors == ("there is no JSON object in it",)


def test_the_caller_s_messages_are_not_changed() -> None:
    messages: list[Message] = [{"role": "user", "content": [{"type": "text", "text": "Who?"}]}]
    parsing(None, messages, method="prompt").end(INVALID, GOOD)
    assert messages == [{"role": "user", "content": [{"type": "text", "text": "Who?"}]}]


def test_of_the_conversation_only_the_question_and_what_came_of_it_are_sure_to_be_sent() -> None:
    asked = asking()
    assert (candidate := asked.call.candidate) is not None
    assert candidate.kept == 1
    for text, kept in (("Ada is a person.", 1), (YOUNG, 2), (YOUNG, 3)):
        assert asked.parsed(ChatCompletion.model_validate(answer(text))) is None
        assert (candidate := asked.call.candidate) is not None
        assert candidate.kept == kept


# What is not asked again


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        (
            {"message": {"content": '{"name": "Ada",'}, "finish_reason": "length"},
            "it was cut short by max_tokens or by the window; raise max_tokens, or ask for less",
        ),
        (
            {"message": {"content": "", "refusal": "I won't."}, "finish_reason": "stop"},
            "the model refused: I won't.",
        ),
        ({"message": {"content": ""}, "finish_reason": "stop"}, "it has no text (finish_reason 'stop')"),
        ({"message": {}, "finish_reason": None}, "it has no text (finish_reason None)"),
    ],
)
def test_an_answer_that_would_end_the_same_way_again_is_an_error(choice: Mapping[str, object], why: str) -> None:
    talk = parsing()
    with pytest.raises(ResponseFormatError) as caught:
        talk.end(INVALID, reply(200, answer(choices=[{"index": 0, **choice}])))
    assert talk.posts == 2
    assert caught.value.errors == (why,)
    assert len(caught.value.discarded) == 1


def test_an_answer_whose_json_was_whole_when_it_was_cut_is_taken() -> None:
    choice = {"index": 0, "message": {"content": f"{ADA}\n\n\n\n"}, "finish_reason": "length"}
    done = parsing().end(reply(200, answer(choices=[choice])))
    assert done.parsed == SAID
    assert done.truncated


# The schema in words


@pytest.mark.parametrize(
    ("messages", "at"),
    [
        ([SystemMessage(content="Be kind."), UserMessage(content="Who?")], 1),
        ([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who?"}], 1),
        ([{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Who?"}], 1),
        ([UserMessage(content="Hi"), AssistantMessage(content="Yes?"), UserMessage(content="Who?")], 2),
        ([{"role": "user", "content": None}], 0),
        ([{"role": "system", "content": "Who?"}], 1),
    ],
)
def test_the_schema_is_told_at_the_end_of_what_the_user_says(messages: list[Message], at: int) -> None:
    sent = body(asking(None, messages, method="prompt").call.request(now=0))["messages"]
    assert [message["role"] for message in sent].count("system") == sum("Be" in str(each) for each in messages) or at
    assert sent[at]["role"] == "user"
    assert json.loads(sent[at]["content"].rpartition("\n")[2]) == FORM.schema
    assert ["schema" in message["content"] for message in sent].count(True) == 1


def test_it_is_a_part_of_its_own_beside_parts() -> None:
    parts = [{"type": "text", "text": "Who?"}]
    sent = body(asking(None, [UserMessage(content=parts)], method="prompt").call.request(now=0))["messages"]
    assert sent[0]["content"][0] == parts[0]
    assert "schema" in sent[0]["content"][1]["text"]


def test_no_message_changes_its_place_in_errors_and_repairs() -> None:
    messages: list[Message] = [{"role": "user", "content": "Hi"}, {"role": "tool", "content": "?", "tool_call_id": "1"}]
    with pytest.raises(InvalidConversationError) as caught:
        asking(None, messages, method="prompt")
    assert caught.value.parameter == "messages[1]"
    done = parsing(None, [{"role": "developer", "content": "Hi"}, {"role": "user", "content": "Who?"}], method="prompt")
    assert [repair.message for repair in done.end(GOOD).repairs] == [0]


# The time


def test_the_total_limit_spans_all_requests() -> None:
    who = client(config(timeout=Timeout(total=30)))
    talk = parsing(who, now=100.0)
    done = talk.end(
        reply(200, answer(YOUNG), sent=100.0, now=107.0),
        reply(400, unknown_body("response_format"), sent=107.0, now=108.0),
        reply(200, answer(ADA), sent=108.0, now=111.5),
    )
    assert [request.deadline for request in talk.requests] == [130.0] * 3
    assert done.response.elapsed == 11.5


def unknown_body(parameter: str) -> dict[str, object]:
    return {"message": f"Unsupported parameter(s): {parameter}"}


def test_a_wait_for_the_rate_limit_counts_from_the_time_of_the_request() -> None:
    who = client()
    talk = parsing(who, now=100.0)
    done = talk.end(
        reply(429, {}, {"retry-after": "10"}, sent=100.0, now=101.0),
        reply(400, unknown_body("response_format"), sent=111.0, now=112.0),
        reply(200, answer(YOUNG), sent=112.0, now=115.0),
        reply(200, answer(ADA), sent=115.0, now=116.0),
    )
    assert done.response.elapsed == 16.0
    assert [delay > 0 for delay in talk.delays] == [False, True, False, False]


# What can't be given


@pytest.mark.parametrize(
    "name",
    [
        *("n", "stream", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"),
        *("response_format", "structured_outputs", "nvext"),
        *("guided_json", "guided_regex", "guided_choice", "guided_grammar"),
        *("continue_final_message", "add_generation_prompt"),
    ],
)
def test_what_would_change_the_form_is_refused(name: str) -> None:
    given: list[tuple[dict[str, object], str]] = [({name: 1}, "here"), ({"extra_body": {name: 1}}, "in extra_body")]
    for options, place in given:
        with pytest.raises(InvalidRequestError, match=f"^{name} can't be given {place}") as caught:
            asking(given=options)
        assert caught.value.parameter == name
    asking(given={name: None, "extra_body": {name: None}})


def test_a_conversation_that_a_complaint_would_not_reach_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages can't be given in extra_body"):
        asking(given={"extra_body": {"messages": [{"role": "user", "content": "Hi"}]}})


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"method": "guided_regex"}, "method"),
        ({"method": None}, "method"),
        ({"reasks": -1}, "reasks"),
        ({"reasks": 1.5}, "reasks"),
        ({"temprature": 1}, "temprature"),
        ({"extra_body": 3}, "extra_body"),
    ],
)
def test_an_option_that_is_not_possible_is_named(options: dict[str, object], parameter: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        asking(given=options)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize("messages", ["", [], None, 3, [3], ({"role": "user", "content": "Hi"} for _ in range(2))])
def test_messages_that_are_none_are_refused(messages: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        asking(None, messages)  # type: ignore[arg-type] # on purpose
    assert str(caught.value.parameter).startswith("messages")


# Streams


def test_a_stream_is_told_the_schema_in_words_too_since_it_can_t_be_asked_again() -> None:
    asked, talk = streaming()
    talk.end(reply())
    (request,) = talk.requests
    assert way(request) == "json_schema"
    assert says_schema(request)
    assert (body(request)["stream"], body(request)["stream_options"]) == (True, {"include_usage": True})
    assert asked.final(ChatCompletion.model_validate(answer(ADA))).parsed == SAID


def test_a_stream_that_is_refused_is_opened_in_the_next_way() -> None:
    who = client()
    asked, talk = streaming(who)
    talk.end(unknown("response_format"), unknown("structured_outputs"), reply())
    assert ways(talk) == OWN[:3]
    asked.final(ChatCompletion.model_validate(answer(ADA)))
    assert who.shared.methods == {"m": "json_object"}


def test_a_stream_that_is_refused_for_something_else_is_an_error() -> None:
    _, talk = streaming()
    with pytest.raises(BadRequestError):
        talk.end(unknown("min_p"))


@pytest.mark.parametrize("text", ["Ada.", YOUNG, '{"name":', ""])
def test_an_invalid_answer_of_a_stream_is_an_error_and_teaches_nothing(text: str) -> None:
    who = client()
    asked, _ = streaming(who)
    with pytest.raises(ResponseFormatError) as caught:
        asked.final(ChatCompletion.model_validate(answer(text)))
    assert (caught.value.text, caught.value.discarded) == (text, ())
    assert who.shared.methods == {}


def test_the_value_of_a_stream_is_made_once() -> None:
    asked, _ = streaming()
    done = asked.final(ChatCompletion.model_validate(answer(ADA)))
    assert asked.final(ChatCompletion.model_validate(answer(ADA))) is done


def test_reasks_are_not_for_streams() -> None:
    with pytest.raises(InvalidRequestError, match="reasks can't be given to stream_parse") as caught:
        streaming(reasks=1)
    assert caught.value.parameter == "reasks"
    streaming(reasks=0)


def test_a_stream_may_say_that_it_wants_no_usage() -> None:
    asked, _ = streaming(stream_options={"include_usage": False})
    assert body(asked.call.request(now=0))["stream_options"] == {"include_usage": False}


def test_a_schema_s_value_is_plain_json() -> None:
    form = format_of_schema({"type": "array", "items": {"type": "integer"}})
    who = client()
    done = Talk(engine.parse(who, Asking(who, "Count.", form, {}), now=0.0)).end(reply(200, answer('{"value": [1]}')))
    assert done.parsed == [1]
