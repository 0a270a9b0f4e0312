"""Who is measured: each client library asks the same question, whole and streamed, blocking and not.

Peers are imported by name, so that none of them has to be installed, not even to check types.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from benchmarks.server import MODEL

RAW, OURS, EVENTS = "httpx2 by hand", "nemotron_client", "nemotron_client .stream()"


@dataclass(frozen=True)
class Contender:
    """One library, ready to be used.

    Attributes:
        answer: Get a whole answer to a prompt.
        stream: Read a streamed answer; returns how many pieces of text came.
        aanswer: The same as `answer`, asynchronous.
        astream: The same as `stream`, asynchronous.
    """

    answer: Callable[[str], object]
    stream: Callable[[str], int]
    aanswer: Callable[[str], Awaitable[object]]
    astream: Callable[[str], Awaitable[int]]


def _by_hand(base_url: str) -> Contender:
    import httpx2

    url, limits = f"{base_url}/chat/completions", httpx2.Limits(max_connections=1000, max_keepalive_connections=20)
    client, async_client = httpx2.Client(limits=limits), httpx2.AsyncClient(limits=limits)

    def body(prompt: str, *, stream: bool) -> dict[str, object]:
        return {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "stream": stream}

    def answer(prompt: str) -> object:
        return client.post(url, json=body(prompt, stream=False)).json()

    async def aanswer(prompt: str) -> object:
        return (await async_client.post(url, json=body(prompt, stream=False))).json()

    def stream(prompt: str) -> int:
        pieces = 0
        with client.stream("POST", url, json=body(prompt, stream=True)) as response:
            for line in response.iter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    chunk = json.loads(line.removeprefix("data: "))
                    pieces += bool(chunk["choices"][0]["delta"].get("content"))
        return pieces

    async def astream(prompt: str) -> int:
        pieces = 0
        async with async_client.stream("POST", url, json=body(prompt, stream=True)) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    chunk = json.loads(line.removeprefix("data: "))
                    pieces += bool(chunk["choices"][0]["delta"].get("content"))
        return pieces

    return Contender(answer, stream, aanswer, astream)


def _ours(base_url: str) -> Contender:
    from nemotron_client import AsyncNemotron, Nemotron

    chat = Nemotron(base_url=base_url, model=MODEL).chat.completions
    async_chat = AsyncNemotron(base_url=base_url, model=MODEL).chat.completions

    def stream(prompt: str) -> int:
        pieces = 0
        with chat.create(messages=prompt, stream=True) as chunks:
            for chunk in chunks:
                pieces += bool(chunk.choices[0].delta.content)
        return pieces

    async def astream(prompt: str) -> int:
        pieces = 0
        async with await async_chat.create(messages=prompt, stream=True) as chunks:
            async for chunk in chunks:
                pieces += bool(chunk.choices[0].delta.content)
        return pieces

    return Contender(
        lambda prompt: chat.create(messages=prompt), stream, lambda prompt: async_chat.create(messages=prompt), astream
    )


def _our_events(base_url: str) -> Contender:
    from nemotron_client import AsyncNemotron, Nemotron

    chat = Nemotron(base_url=base_url, model=MODEL).chat.completions
    async_chat = AsyncNemotron(base_url=base_url, model=MODEL).chat.completions

    def stream(prompt: str) -> int:
        with chat.stream(messages=prompt) as events:
            return sum(event.type == "text.delta" for event in events)

    async def astream(prompt: str) -> int:
        pieces = 0
        async with async_chat.stream(messages=prompt) as events:
            async for event in events:
                pieces += event.type == "text.delta"
        return pieces

    return replace(_ours(base_url), stream=stream, astream=astream)


def _openai(base_url: str) -> Contender:
    openai: Any = import_module("openai")
    chat = openai.OpenAI(base_url=base_url, api_key="none").chat.completions
    async_chat = openai.AsyncOpenAI(base_url=base_url, api_key="none").chat.completions

    def question(prompt: str) -> dict[str, Any]:
        return {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}

    def stream(prompt: str) -> int:
        chunks = chat.create(**question(prompt), stream=True)
        return sum(bool(chunk.choices[0].delta.content) for chunk in chunks)

    async def astream(prompt: str) -> int:
        pieces = 0
        async for chunk in await async_chat.create(**question(prompt), stream=True):
            pieces += bool(chunk.choices[0].delta.content)
        return pieces

    return Contender(
        lambda prompt: chat.create(**question(prompt)),
        stream,
        lambda prompt: async_chat.create(**question(prompt)),
        astream,
    )


def _openai_events(base_url: str) -> Contender:
    openai: Any = import_module("openai")
    chat = openai.OpenAI(base_url=base_url, api_key="none").chat.completions
    async_chat = openai.AsyncOpenAI(base_url=base_url, api_key="none").chat.completions

    def stream(prompt: str) -> int:
        with chat.stream(model=MODEL, messages=[{"role": "user", "content": prompt}]) as events:
            return sum(event.type == "content.delta" and bool(event.delta) for event in events)

    async def astream(prompt: str) -> int:
        pieces = 0
        async with async_chat.stream(model=MODEL, messages=[{"role": "user", "content": prompt}]) as events:
            async for event in events:
                pieces += event.type == "content.delta" and bool(event.delta)
        return pieces

    return replace(_openai(base_url), stream=stream, astream=astream)


def _mistralai(base_url: str) -> Contender:
    chat = import_module("mistralai.client").Mistral(api_key="none", server_url=base_url.removesuffix("/v1")).chat

    def question(prompt: str) -> dict[str, Any]:
        return {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}

    def stream(prompt: str) -> int:
        with chat.stream(**question(prompt)) as events:
            return sum(bool(event.data.choices[0].delta.content) for event in events)

    async def astream(prompt: str) -> int:
        pieces = 0
        async with await chat.stream_async(**question(prompt)) as events:
            async for event in events:
                pieces += bool(event.data.choices[0].delta.content)
        return pieces

    return Contender(
        lambda prompt: chat.complete(**question(prompt)),
        stream,
        lambda prompt: chat.complete_async(**question(prompt)),
        astream,
    )


def _chat_nvidia(base_url: str) -> Contender:
    make = import_module("langchain_nvidia_ai_endpoints").ChatNVIDIA
    chat = make(base_url=base_url, model=MODEL, api_key="none")

    async def astream(prompt: str) -> int:
        pieces = 0
        async for chunk in chat.astream(prompt):
            pieces += bool(chunk.content)
        return pieces

    return Contender(
        chat.invoke, lambda prompt: sum(bool(chunk.content) for chunk in chat.stream(prompt)), chat.ainvoke, astream
    )


def _litellm(base_url: str) -> Contender:
    litellm: Any = import_module("litellm")

    def question(prompt: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": prompt}]
        return {"model": f"openai/{MODEL}", "api_base": base_url, "api_key": "none", "messages": messages}

    def stream(prompt: str) -> int:
        chunks = litellm.completion(**question(prompt), stream=True)
        return sum(bool(chunk.choices[0].delta.content) for chunk in chunks)

    async def astream(prompt: str) -> int:
        pieces = 0
        async for chunk in await litellm.acompletion(**question(prompt), stream=True):
            pieces += bool(chunk.choices[0].delta.content)
        return pieces

    return Contender(
        lambda prompt: litellm.completion(**question(prompt)),
        stream,
        lambda prompt: litellm.acompletion(**question(prompt)),
        astream,
    )


def _pydantic_ai(base_url: str) -> Contender:
    models, providers = import_module("pydantic_ai.models.openai"), import_module("pydantic_ai.providers.openai")
    provider = providers.OpenAIProvider(base_url=base_url, api_key="none")
    agent = import_module("pydantic_ai").Agent(models.OpenAIChatModel(MODEL, provider=provider))

    def stream(prompt: str) -> int:
        return sum(bool(piece) for piece in agent.run_stream_sync(prompt).stream_text(delta=True, debounce_by=None))

    async def astream(prompt: str) -> int:
        pieces = 0
        async with agent.run_stream(prompt) as result:
            async for piece in result.stream_text(delta=True, debounce_by=None):
                pieces += bool(piece)
        return pieces

    return Contender(agent.run_sync, stream, agent.run, astream)


CONTENDERS: dict[str, Callable[[str], Contender]] = {
    RAW: _by_hand,
    OURS: _ours,
    EVENTS: _our_events,
    "openai": _openai,
    "openai .stream()": _openai_events,
    "mistralai": _mistralai,
    "ChatNVIDIA": _chat_nvidia,
    "litellm": _litellm,
    "pydantic-ai": _pydantic_ai,
}
"""Makes each one, given a base URL; raises ImportError where it is not installed."""

BASE_IMPORT = "httpx2, pydantic, one model"
_BASE_CODE = "import httpx2, pydantic\nclass M(pydantic.BaseModel):\n text: str\n"

IMPORTS = {
    BASE_IMPORT: _BASE_CODE,
    OURS: "import nemotron_client",
    f"{OURS}, asynchronous": "from nemotron_client import AsyncNemotron",
    "openai": "import openai",
    "mistralai": "from mistralai.client import Mistral",
    "ChatNVIDIA": "from langchain_nvidia_ai_endpoints import ChatNVIDIA",
    "litellm": "import litellm",
    "pydantic-ai": "from pydantic_ai import Agent\nfrom pydantic_ai.models.openai import OpenAIChatModel",
    "instructor": "import instructor, openai\ninstructor.from_openai(openai.OpenAI(api_key='none'))",
}
"""What a program imports to use each one."""

_MESSAGES = f'model={MODEL!r}, messages=[{{"role": "user", "content": "Say hello."}}]'
FIRST_ANSWERS = {
    RAW: f'{_BASE_CODE}httpx2.Client().post(URL + "/chat/completions", json=dict({_MESSAGES})).json()',
    OURS: f"import nemotron_client\nnemotron_client.Nemotron(base_url=URL).chat.completions.create({_MESSAGES})",
    "openai": f'import openai\nopenai.OpenAI(base_url=URL, api_key="none").chat.completions.create({_MESSAGES})',
    "mistralai": "from mistralai.client import Mistral\n"
    f'Mistral(server_url=URL[:-3], api_key="none").chat.complete({_MESSAGES})',
    "ChatNVIDIA": "from langchain_nvidia_ai_endpoints import ChatNVIDIA\n"
    f'ChatNVIDIA(base_url=URL, model={MODEL!r}, api_key="none").invoke("Say hello.")',
    "litellm": "import litellm\n"
    f'litellm.completion(api_base=URL, custom_llm_provider="openai", api_key="none", {_MESSAGES})',
}
"""Programs that get one answer; URL is put in."""
