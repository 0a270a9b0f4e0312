"""How the test servers behave beyond their scripts: as vLLM, or as NVIDIA's hosted gateway."""

from collections.abc import Mapping
from typing import Any, Literal

import httpx2
import pytest

from nemotron_client import (
    AuthenticationError,
    BadRequestError,
    ContextLengthExceededError,
    InternalServerError,
    ModelGoneError,
    NemotronError,
    RateLimitError,
)
from nemotron_client.testing import FakeServer, Hosted, MockServer, Reply, text
from nemotron_client.testing.replies import MODEL
from tests.engine import judge
from tests.engine.histories import asked, call, result, said, tool, user
from tests.testing.wire import KEY, Ask, asking, told

Kind = Literal["vllm", "hosted"]
FILLED = "word " * 40


# --- Both count tokens for real ---


@pytest.mark.parametrize("kind", ["vllm", "hosted"])
def test_usage_and_the_recorded_request_count_tokens_as_the_model_does(kind: Kind) -> None:
    with FakeServer(personality=kind) as fake:
        messages = [{"role": "user", "content": "What is the weather in Zürich?"}]
        done = fake.client().chat.completions.create(messages=messages, tools=[tool()])
        assert done.usage is not None
        (request,) = fake.asked
        assert done.usage.prompt_tokens == request.tokens == judge.tokens("v13", messages, [tool()])
        request.assert_asked(tokens=request.tokens)
        with pytest.raises(AssertionError, match=f"tokens expected\n(?s:.*)-1\n\\+{request.tokens}"):
            request.assert_asked(tokens=1)


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [("Hello there", 3), (["Hello", "there"], 4), ([1, 22177], 2), ([[1], [1, 22177]], 3), ([], 0), (None, 0)],
)
def test_prompts_are_counted_with_the_token_that_stands_before_each(prompt: object, tokens: int) -> None:
    with FakeServer() as fake:
        fake.always(text("x"))
        answer = asking(fake)("completions", prompt=prompt).json()
        assert answer["usage"]["prompt_tokens"] == fake.requests[0].tokens == tokens


def test_what_is_no_conversation_has_no_tokens() -> None:
    with FakeServer(text("x")) as fake:
        assert asking(fake)(messages=[{"role": "nobody"}]).json()["usage"]["prompt_tokens"] == 0


@pytest.mark.parametrize(("limit", "content", "reason"), [(10, " today?", "stop"), (9, " today?", "length")])
def test_the_end_of_an_answer_is_a_token_too(vllm: Ask, limit: int, content: str, reason: str) -> None:
    answer = vllm(max_tokens=limit).json()
    assert answer["choices"][0]["message"]["content"].endswith(content)
    assert (answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"]) == (reason, limit)


@pytest.mark.parametrize(("stream", "reason"), [(False, "tool_calls"), (True, "length")])
def test_a_call_that_is_cut_has_arguments_that_are_no_json(*, vllm: Ask, stream: bool, reason: str) -> None:
    got = vllm(messages=[user("look")], tools=[tool(parameters=CITY)], max_tokens=6, stream=stream)
    assert f'"finish_reason":"{reason}"' in got.text
    assert "look" in got.text
    assert '\\"}"' not in got.text


CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


# --- vLLM ---


def test_vllm_clamps_in_silence_what_fits_the_window_only_alone(vllm: Ask) -> None:
    answer = vllm(messages=[user(FILLED)], max_tokens=60).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == 64


def test_vllm_passes_unknown_fields_over_in_silence(vllm: Ask) -> None:
    assert vllm(guided_json={}, unheard_of=1).status_code == 200


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": [user("word " * 70)]}, "your prompt contains 74 input tokens, which exceeds this limit even"),
        ({"messages": [user("word " * 60)]}, "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"),
        ({"max_tokens": 65}, "max_tokens=65 cannot be greater than max_model_len=64."),
        ({"temperature": "-1"}, "temperature must be non-negative, got -1.0."),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "Unknown message role: nobody"),
        ({"messages": [{"role": "user"}]}, "'content'"),
        ({"messages": [user(None)]}, "body.messages.0.ChatCompletionUserMessageParam.content"),
        ({"messages": [user(), asked(call()), {"role": "tool", "content": "4"}]}, "'tool_call_id'"),
        ({"messages": [user(), said()]}, "Cannot set `add_generation_prompt` to True when the last message is from"),
        ({"messages": [user(), said(""), user()]}, "Invalid assistant message: role='assistant' content=''"),
        ({"messages": [user(), asked(call()), result("zzz")]}, "Unexpected tool call id zzz in tool results"),
    ],
)
def test_vllm_refuses_in_its_own_words(vllm: Ask, fields: Mapping[str, object], message: str) -> None:
    response = vllm(**fields)
    assert response.status_code == 400
    assert message in told(response)


def test_no_answer_follows_what_is_no_schema(vllm: Ask, hosted: Ask) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"minItems": "x"}}}
    for ask in (vllm, hosted):
        assert "Grammar error: " in told(ask(response_format=wanted))
        assert "Expected positive integer for 'minItems'" in ask(response_format=wanted, stream=True).text


def test_vllm_knows_only_a_lower_bound_of_a_prompt_that_is_too_long(vllm: Ask) -> None:
    assert "your prompt contains at least 65 input tokens" in told(vllm("completions", prompt="word " * 70))


def test_vllm_continues_the_last_message_if_it_is_told_to(vllm: Ask) -> None:
    continued: dict[str, object] = {"continue_final_message": True, "add_generation_prompt": False}
    assert vllm(messages=[user(), said()], **continued).status_code == 200


def test_vllm_counts_at_tokenize_what_it_then_reports(vllm: Ask) -> None:
    counted = vllm("../tokenize", messages=[user("Hello")], tools=[tool()]).json()["count"]
    assert counted == vllm(tools=[tool()]).json()["usage"]["prompt_tokens"]


# --- The hosted gateway ---


def test_the_gateway_marks_what_a_worker_answered(hosted: Ask) -> None:
    done, refused = hosted(), hosted(unheard_of=1)
    assert (done.headers["nvcf-status"], refused.headers["nvcf-status"]) == ("fulfilled", "errored")
    assert len(done.headers["nvcf-reqid"]) == 36
    assert "nvcf-reqid" not in hosted(model="nope").headers


def test_the_gateway_marks_scripted_replies_too_but_not_what_was_never_sent() -> None:
    lost = Reply(status=0, end="reset")
    with FakeServer(text("x"), lost, personality=Hosted(deprecated="2027-01-01T00:00:00Z")) as fake:
        ask = asking(fake)
        response = ask()
        with pytest.raises(httpx2.ReadError):
            ask()
        assert response.headers["nvcf-status"] == "fulfilled"
        assert response.headers["deprecation"] == "2027-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"guided_json": {}, "nvext": {}}, "Validation: Unsupported parameter(s): guided_json, nvext"),
        (
            {"messages": [user(FILLED)], "max_tokens": 30},
            (
                "You passed 44 input tokens and requested 30 output tokens. However, the model's context length is "
                "only 64 tokens, resulting in a maximum input length of 34 tokens. Please reduce the length of the "
                "input prompt. (parameter=input_tokens, value=44)"
            ),
        ),
        ({"temperature": 3}, "temperature must be in [0, 2], got 3.0. (parameter=temperature, value=3.0)"),
        ({"messages": []}, "list index out of range"),
        ({"messages": [user(), asked(call()), result(), user()]}, "Unexpected role 'user' after role 'tool'"),
    ],
)
def test_a_worker_refuses_in_the_words_that_users_reported(
    hosted: Ask, fields: Mapping[str, object], message: str
) -> None:
    response = hosted(**fields)
    assert (response.status_code, told(response)) == (400, message)


def test_a_worker_continues_the_last_message_if_it_is_told_to(hosted: Ask) -> None:
    assert hosted(messages=[user(), said()], continue_final_message=True).status_code == 200
    assert hosted("completions", prompt="Once").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "answer"),
    [
        ("POST", "chat/completions", b"{", 500, "failed to decode json body: "),
        ("POST", "chat/completions", b"[]", 400, '"code":"missing_required_field"'),
        ("POST", "chat/completions", b"x" * 26_214_401, 400, '"code":"invalid_image_format"'),
        ("POST", "chat/completions", b'{"model": "nope"}', 404, "404 page not found\n"),
        ("POST", "embeddings", b"{}", 404, "404 page not found\n"),
        ("POST", "../tokenize", b"{}", 404, "404 page not found\n"),
        ("GET", "health/ready", b"", 404, "404 page not found\n"),
        ("GET", "models/nope", b"", 404, "Model does not exist by the name of nope\n"),
        ("GET", f"models/{MODEL}", b"", 200, '"owned_by":"mistralai"'),
        ("GET", "models", b"", 200, f'"data":[{{"id":"{MODEL}","object":"model","created":735790403,'),
    ],
)
def test_the_gateway_answers_by_itself(method: str, path: str, body: bytes, status: int, answer: str) -> None:
    with FakeServer(personality="hosted") as fake:
        http = fake.attach(httpx2.Client(trust_env=False))
        response = http.request(method, f"{fake.base_url}/{path}", content=body)
        assert response.status_code == status
        assert answer in response.text


@pytest.mark.parametrize(
    ("condition", "kind", "listed"),
    [
        (Hosted(retired="2026-07-27T00:00:00Z"), ModelGoneError, 0),
        (Hosted(offline="Under maintenance."), InternalServerError, 1),
    ],
)
def test_a_model_that_is_gone_or_offline_is_refused_everywhere(
    condition: Hosted, kind: type[NemotronError], listed: int
) -> None:
    with FakeServer(personality=condition) as fake:
        client = fake.client(model=MODEL, max_retries=0)
        with pytest.raises(kind):
            client.models.retrieve(MODEL)
        with pytest.raises(kind):
            client.chat.completions.create(messages="Hello")
        assert len(client.models.list().data) == listed


def test_the_rate_limit_is_a_bare_429_until_the_minute_is_over() -> None:
    now = [0.0]
    with FakeServer(personality=Hosted(rate_limit=2, clock=lambda: now[0])) as fake:
        client = fake.client(model=MODEL, max_retries=0)
        for _ in range(2):
            client.chat.completions.create(messages="Hello")
        with pytest.raises(RateLimitError) as refused:
            client.chat.completions.create(messages="Hello")
        assert refused.value.body == {"status": 429, "title": "Too Many Requests"}
        assert refused.value.retry_after is None
        now[0] = 60.0
        assert client.chat.completions.create(messages="Hello").text
        assert client.models.list().data


def test_the_gateway_tells_a_missing_key_from_a_wrong_one() -> None:
    with FakeServer(api_key=KEY, personality="hosted") as fake:
        ask = asking(fake)
        assert (ask().status_code, ask().text) == (401, "Header of type `authorization` was missing")
        with pytest.raises(AuthenticationError, match="Authentication failed"):
            fake.client(api_key="nvapi-another").chat.completions.create(messages="Hello")
        assert fake.client(api_key=KEY).chat.completions.create(messages="Hello").text


def test_the_client_repairs_what_the_gateway_would_refuse_of_another_providers_history() -> None:
    messages = [user(), asked(call("call_" + "a" * 24)), result("call_" + "a" * 24), user("And now?")]
    with FakeServer(personality="hosted") as fake:
        with pytest.raises(BadRequestError, match="Tool call id was call_a"):
            fake.client().chat.completions.create(messages=[*messages[:-1]], repair="off")
        assert (
            fake.client(base_url="https://integrate.api.nvidia.com/v1", api_key=KEY)
            .chat.completions.create(messages=messages)
            .repairs
        )


def test_a_conversation_that_overflows_is_told_with_its_numbers() -> None:
    with MockServer(personality="hosted", max_model_len=64) as server, httpx2.Client(trust_env=False) as http:
        body = {"model": MODEL, "messages": [user("word " * 70)]}
        assert http.post(f"{server.base_url}/chat/completions", json=body).status_code == 400
    with FakeServer(personality="hosted", max_model_len=64) as fake:
        with pytest.raises(ContextLengthExceededError) as refused:
            fake.client(model=MODEL).chat.completions.create(messages="word " * 70)
        assert (refused.value.limit, refused.value.prompt_tokens) == (64, 74)


def test_a_personality_that_does_not_exist_is_refused_with_those_that_do() -> None:
    wrong: Any = "tgi"
    with pytest.raises(ValueError, match='personality=\'tgi\': give "vllm", "hosted" or Hosted'):
        FakeServer(personality=wrong)
