"""Answers and errors in the form that a request asks for, as vLLM and the gateway give them."""

from dataclasses import replace

import httpx2
import pytest

from nemotron_client.testing import (
    MockServer,
    cut,
    error,
    problem,
    stream_error,
    text,
    tool_calls,
)
from nemotron_client.testing.replies import MODEL
from tests.testing.wire import TIME, WEATHER, Chat, called, connect, events, read_to_end, said


def test_a_text_as_a_body_has_all_of_vllms_fields(server: MockServer, chat: Chat) -> None:
    server.reply(text("Good day"))
    message = {"role": "assistant", "content": "Good day", "refusal": None, "annotations": None, "audio": None}
    choice = {"index": 0, "message": {**message, "function_call": None, "reasoning": None}, "logprobs": None}
    choice |= {"finish_reason": "stop", "stop_reason": None, "token_ids": None, "routed_experts": None}
    usage = {"prompt_tokens": 4, "total_tokens": 7, "completion_tokens": 3}
    document = chat().json()
    assert document.pop("id").startswith("chatcmpl-")
    assert isinstance(document.pop("created"), int)
    assert document.pop("system_fingerprint").startswith("vllm-")
    assert document == {
        "object": "chat.completion",
        "model": MODEL,
        "choices": [choice],
        "service_tier": None,
        "usage": {**usage, "prompt_tokens_details": None, "completion_tokens_details": None},
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def test_a_text_as_a_stream_comes_word_by_word_in_vllms_chunks(server: MockServer, chat: Chat) -> None:
    server.reply(text("Good  day\n"))
    chunks = events(chat(stream=True))
    shared = {"object": "chat.completion.chunk", "model": MODEL}
    assert all(shared.items() <= chunk.items() for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1
    row = {"index": 0, "logprobs": None, "finish_reason": None}
    content = [[{**row, "delta": {"content": word}, "token_ids": None}] for word in ("Good", "  day", "\n")]
    first = [{**row, "delta": {"role": "assistant", "content": ""}}]
    empty: dict[str, str] = {}
    last = [{**row, "delta": empty, "token_ids": None, "finish_reason": "stop", "stop_reason": None}]
    assert [chunk["choices"] for chunk in chunks] == [first, *content, last]
    assert chunks[0].keys() - chunks[1].keys() == {"prompt_token_ids", "prompt_text"}
    assert chunks[-1].keys() - chunks[1].keys() == {"system_fingerprint"}


def test_usage_comes_in_a_last_chunk_without_choices_if_asked_for(server: MockServer, chat: Chat) -> None:
    server.reply(text("Good day", usage={"prompt_tokens": 7}))
    *chunks, finish, last = events(chat(stream=True, stream_options={"include_usage": True}))
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": 3}
    assert "system_fingerprint" in last
    assert not any("usage" in chunk or "system_fingerprint" in chunk for chunk in [*chunks, finish])


@pytest.mark.parametrize(("content", "deltas"), [("Good day", [" day"]), ("", [None])])
def test_another_finish_reason_shares_its_chunk_with_the_last_word(
    server: MockServer, chat: Chat, content: str, deltas: list[str | None]
) -> None:
    server.reply(text(content, finish_reason="length"))
    choices = [chunk["choices"] for chunk in events(chat(stream=True))]
    ends = {"index": 0, "logprobs": None, "finish_reason": "length", "stop_reason": None, "token_ids": None}
    assert choices[-1] == [{**ends, "delta": {"content": word} if word else {}} for word in deltas]


def test_a_text_completion_has_its_own_shapes(server: MockServer, http: httpx2.Client) -> None:
    server.always(text("Good day", finish_reason="length"))
    fields = {"model": MODEL, "prompt": ["ab", "cd"]}
    whole = http.post(f"{server.base_url}/completions", json=fields).json()
    assert (whole["object"], whole["usage"]["prompt_tokens"], "prompt_text" in whole) == ("text_completion", 4, False)
    nulls = dict.fromkeys(("logprobs", "stop_reason", "token_ids", "prompt_token_ids"))
    choice = {"index": 0, "text": "Good day", "finish_reason": "length", **nulls}
    choice |= {"prompt_logprobs": None, "routed_experts": None}
    assert whole["choices"] == [choice, {**choice, "index": 1}]
    chunks = events(http.post(f"{server.base_url}/completions", json={**fields, "stream": True}))
    assert [chunk["choices"] for chunk in chunks] == [
        [{"index": index, "text": text, "finish_reason": reason, **nulls}]
        for text, reason in (("Good", None), (" day", "length"))
        for index in (0, 1)
    ]


def test_tool_calls_as_a_body(server: MockServer, chat: Chat) -> None:
    server.always(tool_calls(("get_weather", {"city": "Zürich"}), ("now", "{broken")))
    choice = chat().json()["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    first, second = choice["message"]["tool_calls"]
    assert first["function"] == {"name": "get_weather", "arguments": '{"city": "Zürich"}'}
    assert second["function"] == {"name": "now", "arguments": "{broken"}
    assert len({first["id"], second["id"]}) == 2
    assert all(len(call["id"]) == 9 and call["id"].isalnum() and call["type"] == "function" for call in (first, second))
    assert chat().json()["choices"][0] == choice


def test_tool_calls_as_a_stream_come_in_fragments_with_the_reason_on_the_last(server: MockServer, chat: Chat) -> None:
    server.always(tool_calls(("get_weather", {"city": "Oslo"}), ("now", ""), text="One moment."))
    chunks = events(chat(stream=True))[1:]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    deltas = [choice["delta"] for choice in choices]
    assert deltas[:2] == [{"content": "One"}, {"content": " moment."}]
    one, two = (call["id"] for call in chat().json()["choices"][0]["message"]["tool_calls"])
    assert [call for delta in deltas[2:] for call in delta["tool_calls"]] == [
        {"id": one, "type": "function", "index": 0, "function": {"name": "get_weather", "arguments": '{"'}},
        {"index": 0, "function": {"arguments": "city"}},
        {"index": 0, "function": {"arguments": '": "'}},
        {"index": 0, "function": {"arguments": "Oslo"}},
        {"index": 0, "function": {"arguments": '"}'}},
        {"id": two, "type": "function", "index": 1, "function": {"name": "now", "arguments": ""}},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None] * 7 + ["tool_calls"]


def test_a_named_tool_finishes_with_stop_as_vllm_does(chat: Chat) -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    response = chat("Hello", tools=[TIME, WEATHER], tool_choice=choice)
    assert called(response) == ("get_weather", {"city": "city", "unit": "c"})
    assert response.json()["choices"][0]["finish_reason"] == "stop"
    assert said(response) == ""


def test_n_choices_are_repeated_in_a_body_and_interleaved_in_a_stream(chat: Chat) -> None:
    whole = chat(n=2).json()
    assert [choice["index"] for choice in whole["choices"]] == [0, 1]
    assert whole["usage"]["completion_tokens"] == 20
    chunks = events(chat(n=2, stream=True))
    indexes = [choice["index"] for chunk in chunks for choice in chunk["choices"]]
    assert indexes == [0, 1] * (len(indexes) // 2)


def test_an_answer_can_be_broken_off(server: MockServer) -> None:
    server.always(cut(text("Good day to you"), after=3))
    received = read_to_end(connect(server, stream=True))
    assert received.count(b"data: ") == 3
    assert b'{"content":" day"}' in received
    assert not received.endswith(b"0\r\n\r\n")
    received = read_to_end(connect(server))
    assert b'"content":"Good day to you"' in received
    assert not received.endswith(b"0\r\n\r\n")


def test_an_answer_can_be_changed_once_it_knows_its_request(server: MockServer, chat: Chat) -> None:
    server.reply(lambda request: replace(text("x")(request), status=203, headers={"Nvcf-Reqid": "7"}))
    response = chat()
    assert (response.status_code, response.headers["nvcf-reqid"], said(response)) == (203, "7", "x")


# --- Errors ---


def test_errors_have_the_shapes_of_vllm_and_of_the_gateway(server: MockServer, chat: Chat) -> None:
    server.reply(
        error(400, "no", param="n"),
        error(503, "busy", headers={"Retry-After": "2"}),
        error(400, "no", type="Bad Request"),
        problem(429, "Too Many Requests"),
        problem(401, "Unauthorized", "Authentication failed", headers={"Nvcf-Status": "errored"}),
    )
    answers = [chat() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [400, 503, 400, 429, 401]
    assert [answer.json() for answer in answers] == [
        {"error": {"message": "no", "type": "BadRequestError", "param": "n", "code": 400}},
        {"error": {"message": "busy", "type": "Service Unavailable", "param": None, "code": 503}},
        {"error": {"message": "no", "type": "Bad Request", "param": None, "code": 400}},
        {"status": 429, "title": "Too Many Requests"},
        {"status": 401, "title": "Unauthorized", "detail": "Authentication failed"},
    ]
    assert answers[1].headers["retry-after"] == "2"
    assert answers[3].headers["content-type"] == "application/problem+json"
    assert answers[4].headers["nvcf-status"] == "errored"


def test_an_error_inside_a_stream_comes_with_200_and_done(server: MockServer, chat: Chat) -> None:
    server.always(stream_error(500, "engine died", text="Good day"))
    response = chat(stream=True)
    *said_before, last = events(response)
    assert response.status_code == 200
    assert len(said_before) == 3
    assert last == {"error": {"message": "engine died", "type": "InternalServerError", "param": None, "code": 500}}
    assert chat().status_code == 500
    server.always(stream_error(503, "busy", type="Busy"))
    assert [event.keys() for event in events(chat(stream=True))] == [{"error"}]


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "message"),
    [
        ("chat/completions", b"{}", "text/plain", 400, "Unsupported Media Type: Only 'application/json' is allowed"),
        ("chat/completions", b"", "application/json", 400, "'loc': 'body', 'msg': 'Field required', 'input': 'None'}"),
        ("chat/completions", b'{"a": ', "application/json", 400, "'loc': 'body.6', 'msg': 'JSON decode error'"),
        ("chat/completions", b"[1, 2]", "application/json", 400, "'input': '<list of 2 items>'"),
        ("chat/completions", b'"ab"', "application/json", 400, "'input': 'ab'"),
        ("chat/completions", b'{"a": 1}', "application/json", 400, "'loc': 'body.messages', 'msg': 'Field required'"),
        ("chat/completions", b'{"messages": "hi"}', "application/json", 400, "'msg': 'Input should be a valid list'"),
        ("chat/completions", b'{"messages": []}', "application/json", 400, "list index out of range"),
        ("chat/completions", b'{"messages": ["hi"]}', "application/json", 400, "8 validation errors:"),
        ("chat/completions", b'{"messages": [{"content": 5}]}', "application/json", 400, "MessageParam.content'"),
        ("chat/completions", b'{"messages": [{"role": "user"}]}', "application/json", 400, "'content'"),
        ("chat/completions", b'{"messages": [], "tools": 5}', "application/json", 400, "'loc': 'body.tools'"),
        ("chat/completions", b'{"messages": [], "tools": [5]}', "application/json", 400, "body.tools.0'"),
        ("chat/completions", b'{"messages": [], "tools": [{"name": "f"}]}', "application/json", 400, "0.function'"),
        ("completions", b'{"prompt": ""}', "application/json", 400, "Either prompt or prompt_embeds must be provided"),
        (
            "completions",
            b'{"prompt": "x", "model": "nope"}',
            "application/json",
            404,
            "The model `nope` does not exist. Valid aliases: mistralai/mistral-nemotron.",
        ),
    ],
)
def test_a_bad_request_is_refused_in_vllms_words(
    *, server: MockServer, http: httpx2.Client, path: str, body: bytes, kind: str, status: int, message: str
) -> None:
    response = http.post(f"{server.base_url}/{path}", content=body, headers={"content-type": kind})
    assert response.status_code == status
    assert message in response.json()["error"]["message"]
