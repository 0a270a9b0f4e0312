"""The exact bytes of a request, for every option there is, as respx sees them under either HTTP library."""

import json
from collections.abc import Iterator

import pytest
import respx

from nemotron_client.options import ChatParameters, TextBody
from tests.client.conftest import Variant
from tests.contract.conftest import MODEL, Connect, Library

# Each option, and the JSON that is sent for it.
BOTH: dict[str, tuple[object, str]] = {
    "temperature": (0.2, "0.2"),
    "top_p": (1.0, "1.0"),
    "max_tokens": (5, "5"),
    "stop": (["a", "b"], '["a","b"]'),
    "seed": (-1, "-1"),
    "frequency_penalty": (-2, "-2"),
    "presence_penalty": (2.0, "2.0"),
    "logit_bias": ({7: -100}, '{"7":-100}'),
    "stream_options": ({"include_usage": True}, '{"include_usage":true}'),
    "user": ("größer", '"größer"'),
    "top_k": (-1, "-1"),
    "min_p": (0.0, "0.0"),
    "repetition_penalty": (1.1, "1.1"),
    "length_penalty": (1, "1"),
    "min_tokens": (0, "0"),
    "stop_token_ids": ([2], "[2]"),
    "include_stop_str_in_output": (True, "true"),
    "ignore_eos": (False, "false"),
    "skip_special_tokens": (False, "false"),
    "spaces_between_special_tokens": (True, "true"),
    "bad_words": (["x"], '["x"]'),
    "allowed_token_ids": ((1, 2), "[1,2]"),
    "use_beam_search": (False, "false"),
    "truncate_prompt_tokens": (-1, "-1"),
    "truncation_side": ("left", '"left"'),
    "prompt_logprobs": (0, "0"),
    "add_special_tokens": (True, "true"),
    "return_token_ids": (True, "true"),
    "return_tokens_as_token_ids": (True, "true"),
    "priority": (3, "3"),
    "request_id": ("r", '"r"'),
    "cache_salt": ("s", '"s"'),
    "thinking_token_budget": (0, "0"),
    "kv_transfer_params": ({"a": None}, '{"a":null}'),
    "vllm_xargs": ({"a": 1}, '{"a":1}'),
    "n": (2, "2"),
    "response_format": ({"type": "json_object"}, '{"type":"json_object"}'),
    "structured_outputs": ({"regex": "a+"}, '{"regex":"a+"}'),
    "guided_json": ({"type": "object"}, '{"type":"object"}'),
    "guided_regex": ("a+", '"a+"'),
    "guided_choice": (["a"], '["a"]'),
    "guided_grammar": ("g", '"g"'),
    "nvext": ({"guided_json": {}}, '{"guided_json":{}}'),
    "echo": (True, "true"),
}
_FUNCTION = '{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{}}}}'
CHAT: dict[str, tuple[object, str]] = {
    **BOTH,
    "tools": ([json.loads(_FUNCTION)], f"[{_FUNCTION}]"),
    "tool_choice": ("required", '"required"'),
    "parallel_tool_calls": (False, "false"),
    "functions": ([{"name": "f"}], '[{"name":"f"}]'),
    "function_call": ({"name": "f"}, '{"name":"f"}'),
    "max_completion_tokens": (5, "5"),
    "logprobs": (True, "true"),
    "top_logprobs": (20, "20"),
    "reasoning_effort": ("low", '"low"'),
    "verbosity": ("low", '"low"'),
    "modalities": (["text"], '["text"]'),
    "audio": ({}, "{}"),
    "prediction": ({"type": "content"}, '{"type":"content"}'),
    "web_search_options": ({}, "{}"),
    "service_tier": ("auto", '"auto"'),
    "store": (False, "false"),
    "metadata": ({"a": "b"}, '{"a":"b"}'),
    "prompt_cache_key": ("k", '"k"'),
    "safety_identifier": ("i", '"i"'),
    "include_reasoning": (False, "false"),
    "add_generation_prompt": (True, "true"),
    "continue_final_message": (False, "false"),
    "documents": ([{"a": 1}], '[{"a":1}]'),
    "chat_template": ("t", '"t"'),
    "chat_template_kwargs": ({"a": 1}, '{"a":1}'),
    "logprob_token_ids": ([1], "[1]"),
}
TEXT: dict[str, tuple[object, str]] = {**BOTH, "suffix": ("x", '"x"'), "logprobs": (0, "0"), "best_of": (1, "1")}


@pytest.fixture
def router(library: Library) -> Iterator[respx.Router]:
    # pytest-httpx2 makes httpcore2 known to respx; its own fixture takes no part in a choice between the two.
    with respx.mock(using="httpcore2" if library == "httpx2" else "httpcore") as router:
        yield router


def test_every_option_is_here_and_no_other() -> None:
    assert CHAT.keys() | {"model"} == ChatParameters.__annotations__.keys()
    assert TEXT.keys() | {"model", "prompt"} == TextBody.__annotations__.keys()


async def test_each_option_of_a_chat_is_sent_as_just_these_bytes(connect: Connect, router: respx.Router) -> None:
    route = router.post("http://localhost/v1/chat/completions").respond(json={"choices": [{"index": 0}]})
    client = connect()
    for name, (value, sent) in CHAT.items():
        options: dict[str, object] = {name: value}
        await client.create("Hi", **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - any of them
        head = '{"messages":[{"role":"user","content":"Hi"}],'
        assert route.calls.last.request.content.decode() == f'{head}"{name}":{sent},"model":"{MODEL}"}}'


async def test_each_option_of_a_text_is_sent_as_just_these_bytes(connect: Connect, router: respx.Router) -> None:
    route = router.post("http://localhost/v1/completions").respond(json={"choices": [{"index": 0, "text": "x"}]})
    client = connect()
    for name, (value, sent) in TEXT.items():
        options: dict[str, object] = {name: value}
        await client.complete("Hi", **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - any of them
        assert route.calls.last.request.content.decode() == f'{{"prompt":"Hi","{name}":{sent},"model":"{MODEL}"}}'


async def test_the_head_of_a_request_is_just_this(connect: Connect, router: respx.Router, variant: Variant) -> None:
    route = router.post("http://localhost/v1/chat/completions").respond(json={"choices": [{"index": 0}]})
    await connect(api_key="made-up").create("Hi")
    headers = route.calls.last.request.headers
    assert {name: headers[name] for name in ("accept", "authorization", "content-type")} == {
        "accept": "application/json",
        "authorization": "Bearer made-up",
        "content-type": "application/json",
    }
    assert headers["user-agent"].startswith("nemotron-client/"), variant
