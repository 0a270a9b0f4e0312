"""Texts, conversations and tokens to be turned into each other."""

from typing import Any

from tests.engine.histories import asked, call, result, said, system, tool, user

TOKENIZE: dict[str, dict[str, Any]] = {
    "neither": {},
    "both": {"prompt": "x", "messages": [user()]},
    "a prompt": {"prompt": "Hello world"},
    "an empty prompt": {"prompt": ""},
    "a list": {"prompt": [1, 2]},
    "a conversation": {"messages": [user("Hello")], "tools": [tool()]},
    "tools a number": {"messages": [user("Hello")], "tools": 5},
    "another model": {"prompt": "x", "model": "nope"},
    "assistant last": {"messages": [user("Hello"), said()]},
    "no messages": {"messages": []},
    "texts of tokens": {"prompt": "Hé world", "return_token_strs": True},
    "texts of a conversation's tokens": {"messages": [system(), user("Hé")], "return_token_strs": True},
    "without a start": {"prompt": "Hello", "add_special_tokens": False},
    "a conversation with tools": {
        "messages": [
            system(),
            user("a"),
            user("b"),
            asked(call(arguments='{"a": 1e15}')),
            result(),
            said("c"),
            user("d"),
        ],
        "tools": [tool(), tool("time", description="Tell the time.")],
    },
    "arguments that are no object": {"messages": [user(), asked(call(arguments="[1]")), result(), user()]},
    "a message that is none": {"messages": [5]},
}
DETOKENIZE: dict[str, dict[str, Any]] = {
    "tokens": {"tokens": [1, 22177, 4, 33, 999, 131_071]},
    "half a character": {"tokens": [1232, 1195]},
    "none": {"tokens": []},
    "texts": {"tokens": ["x"]},
    "below zero": {"tokens": [-1]},
    "over": {"tokens": [131_072]},
    "missing": {},
    "another model": {"tokens": [5], "model": "nope"},
}
