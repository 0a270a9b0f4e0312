"""The model card's second prototype: ChatNVIDIA, NVIDIA's client for LangChain."""

import os
import warnings
from importlib import import_module
from typing import Any

ChatNVIDIA: Any = import_module("langchain_nvidia_ai_endpoints").ChatNVIDIA
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "", "parameters": PARAMETERS}}]

warnings.simplefilter("ignore")  # it warns of models that it can't look up
client = ChatNVIDIA(
    model="mistralai/mistral-nemotron",
    base_url=os.environ["NVIDIA_BASE_URL"],
    api_key=os.environ["NVIDIA_API_KEY"],
    temperature=0.6,
    top_p=0.7,
    max_tokens=200,
)
with_tools = client.bind_tools(TOOLS)
weather = [{"role": "user", "content": "What is the weather in Paris?"}]

assert client.invoke([{"role": "user", "content": "Hello"}]).content == "Hello! How can I help you today?"
told = "".join(chunk.content for chunk in client.stream([{"role": "user", "content": "Tell me a story."}]))
assert told.startswith("Once upon a time")
(call,) = with_tools.invoke(weather).tool_calls
assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
first, *rest = with_tools.stream(weather)
for chunk in rest:
    first += chunk
(call,) = first.tool_calls
assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
