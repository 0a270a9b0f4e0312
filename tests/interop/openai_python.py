"""The model card's first prototype: openai for Python."""

import json
import os
from importlib import import_module
from typing import Any

OpenAI: Any = import_module("openai").OpenAI
MODEL = "mistralai/mistral-nemotron"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]

client = OpenAI(base_url=os.environ["NVIDIA_BASE_URL"], api_key=os.environ["NVIDIA_API_KEY"])


def ask(question: str, **options: object) -> Any:  # noqa: ANN401 - openai is not installed where this is checked
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(
        model=MODEL, messages=messages, temperature=0.6, top_p=0.7, max_tokens=200, **options
    )


assert ask("Hello").choices[0].message.content == "Hello! How can I help you today?"
told = "".join(chunk.choices[0].delta.content or "" for chunk in ask("Tell me a story.", stream=True))
assert told.startswith("Once upon a time")
weather = "What is the weather in Paris?"
(call,) = ask(weather, tools=TOOLS).choices[0].message.tool_calls
assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
pieces: list[Any] = [chunk.choices[0].delta.tool_calls or [] for chunk in ask(weather, tools=TOOLS, stream=True)]
assert json.loads("".join(piece[0].function.arguments for piece in pieces if piece)) == {"city": "Paris"}
