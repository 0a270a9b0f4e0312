"""What users give, which their checkers must accept; checked by `checkers.py`, never run."""

from typing import Any, Literal, TypedDict, assert_type

import httpx
import httpx2
from tenacity import stop_after_attempt, stop_after_delay, wait_exponential_jitter, wait_fixed
from typing_extensions import Unpack

from nemotron_client import (
    AsyncNemotron,
    ChatCompletion,
    ChatCompletionChunk,
    ChatOptions,
    ChatStream,
    Completion,
    HookEvent,
    Message,
    Nemotron,
    RetryPolicy,
    RetryScheduled,
    Stream,
    SystemMessage,
    TextOptions,
    Timeout,
    ToolMessage,
    UnopenedStream,
    UserMessage,
)


def messages_are_strings_dicts_or_objects(
    client: Nemotron,
    plain: list[dict[str, str]],
    loose: list[dict[str, Any]],
    objects: list[UserMessage],
    pair: tuple[SystemMessage, UserMessage],
) -> None:
    create = client.chat.completions.create
    assert_type(create(messages=plain), ChatCompletion)
    assert_type(create(messages=loose), ChatCompletion)
    assert_type(create(messages=objects), ChatCompletion)
    assert_type(create(messages=pair), ChatCompletion)
    create(messages=[{"role": "user", "content": "Hi"}])
    create(messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}])
    create(messages=[SystemMessage(content="Be brief."), {"role": "user", "content": "Hi"}, *objects, *plain])


class Turn(TypedDict):
    role: Literal["user", "assistant"]
    content: str


def messages_may_be_typed_dicts_of_the_users_own(client: Nemotron, history: list[Turn]) -> None:
    assert_type(client.chat.completions.create(messages=history), ChatCompletion)


def an_answer_is_an_input_message(client: Nemotron) -> None:
    messages: list[Message] = [{"role": "user", "content": "Hi"}]
    done = client.chat.completions.create(messages=messages)
    messages.append(done.choices[0].message)
    messages.extend(ToolMessage(content="18 °C", tool_call_id=call.id) for call in done.tool_calls)
    messages.append({"role": "user", "content": "Thanks"})
    assert_type(client.chat.completions.create(messages=messages), ChatCompletion)


def options_come_from_settings(
    client: Nemotron, temperature: float | None, max_tokens: int | None, stop: list[str] | None, seed: int | None
) -> None:
    done = client.chat.completions.create(
        messages="Hi", temperature=temperature, max_tokens=max_tokens, stop=stop, seed=seed, top_p=1
    )
    assert_type(done, ChatCompletion)


def options_may_hold_nested_dicts(client: Nemotron, schema: dict[str, Any]) -> None:
    city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    weather = {"type": "function", "function": {"name": "weather", "parameters": city}}
    done = client.chat.completions.create(
        messages="Hi",
        tools=[weather, {"type": "function", "function": {"name": "search", "parameters": schema}}],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
        stream_options={"include_usage": True},
        logit_bias={"17": 2, "18": -0.5},
        extra_body={"chat_template_kwargs": {"thinking": True}},
        extra_headers={"x-team": "search"},
    )
    assert_type(done, ChatCompletion)


def options_are_prepared_beforehand(client: Nemotron, *, either: bool) -> None:
    options: ChatOptions = {"temperature": 0.2, "stop": ["\n"], "timeout": 30}
    options["tool_choice"] = "auto"
    if either:
        options["max_tokens"] = 10
    assert_type(client.chat.completions.create(messages="Hi", **options), ChatCompletion)
    assert_type(client.chat.completions.create(messages="Hi", stream=True, **options), Stream[ChatCompletionChunk])
    assert_type(client.chat.completions.stream(messages="Hi", **options), UnopenedStream[ChatStream])
    assert_type(client.chat.completions.create(messages="Hi", **ChatOptions(seed=1)), ChatCompletion)
    assert_type(client.completions.create(prompt="Once", **TextOptions(best_of=2)), Completion)


async def options_are_passed_through(client: AsyncNemotron, question: str, **options: Unpack[ChatOptions]) -> str:
    done = await client.chat.completions.create(messages=question, **options)
    assert_type(done, ChatCompletion)
    async with client.chat.completions.stream(messages=question, **options) as stream:
        return done.text + await stream.get_final_text()


def a_timeout_is_limits_a_number_or_none(client: Nemotron, seconds: float | None) -> None:
    Nemotron(timeout=Timeout(connect=5, first_event=None, idle=30.0, total=seconds))
    Nemotron(timeout=30)
    AsyncNemotron(timeout=2.5)
    AsyncNemotron(timeout=None)
    client.chat.completions.create(messages="Hi", timeout=Timeout(total=5))
    client.chat.completions.create(messages="Hi", timeout=5)
    client.chat.completions.create(messages="Hi", timeout=seconds)


def retries_are_composed_of_tenacity_strategies(client: Nemotron) -> None:
    policy = RetryPolicy(
        max_retries=5,
        rate_limit_wait=120,
        wait=wait_exponential_jitter(initial=1, max=20) + wait_fixed(1),
        stop=stop_after_delay(30) | stop_after_attempt(5),
    )
    Nemotron(retry=policy)
    AsyncNemotron(retry=RetryPolicy(wait=lambda state: float(state.attempt_number)))
    client.chat.completions.create(messages="Hi", retry=policy)
    client.chat.completions.create(messages="Hi", max_retries=0)


def other_settings_make_another_client(client: Nemotron, asynchronous: AsyncNemotron) -> None:
    assert_type(client.with_options(timeout=5, max_retries=0), Nemotron)
    assert_type(asynchronous.with_options(timeout=None, retry=RetryPolicy(), model="a-model"), AsyncNemotron)


def clients_are_context_managers() -> None:
    with Nemotron(
        api_key="made-up", base_url="https://example.org/v1", model="a-model", headers={"x-team": "search"}
    ) as client:
        assert_type(client, Nemotron)
    assert_type(client.close(), None)


async def asynchronous_clients_are_context_managers() -> None:
    async with AsyncNemotron(proxy="http://localhost:3128", verify="/etc/ssl/own.pem", allow_insecure=True) as client:
        assert_type(client, AsyncNemotron)
    assert_type(await client.close(), None)


def http_clients_of_either_library_are_taken() -> None:
    Nemotron(http_client=httpx2.Client(http2=True))
    Nemotron(http_client=httpx.Client(proxy="http://localhost:3128"))
    AsyncNemotron(http_client=httpx2.AsyncClient())
    AsyncNemotron(http_client=httpx.AsyncClient())


def hooks_get_typed_events(seen: list[HookEvent], names: list[str]) -> None:
    def tell(event: HookEvent) -> None:
        if isinstance(event, RetryScheduled):
            assert_type(event.delay, float)
        if event.type == "response.received":
            assert_type(event.request_id, str | None)

    Nemotron(on_event=tell)
    Nemotron(on_event=seen.append)
    AsyncNemotron(on_event=lambda event: names.append(event.type))
