"""Count the tokens of a long conversation, in a fresh process, and tell what that cost."""

from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from random import Random
from time import process_time
from typing import Any, TypeAlias

from benchmarks.contenders import OURS
from benchmarks.worker import resident

MISTRAL = "mistral-common"

Conversation: TypeAlias = list[dict[str, str]]
Count: TypeAlias = Callable[[Conversation], int]

_MESSAGES, _LENGTH = 201, 1_620  # messages of so many characters: about 100,000 tokens
_PROTOCOL = Path(__file__).parents[1] / "docs" / "explanation" / "protocol.md"


def _ours() -> Callable[[], Count]:
    from nemotron_client.tokens import TokenCounter

    def load() -> Count:
        counter = TokenCounter("v7")
        return lambda messages: counter.count(messages).total

    return load


def _mistral() -> Callable[[], Count]:
    protocol, tokens = "mistral_common.protocol.instruct", "mistral_common.tokens.tokenizers"
    normalize, request, validator = (_module(f"{protocol}.{name}") for name in ("normalize", "request", "validator"))
    base, instruct, mistral, tekken = (
        _module(f"{tokens}.{name}") for name in ("base", "instruct", "mistral", "tekken")
    )

    def load() -> Count:
        # Of the templates that we know, the one whose control tokens are in the file that it ships.
        encoder = instruct.InstructTokenizerV7(
            tekken.Tekkenizer.from_file(str(files("mistral_common") / "data" / "tekken_240911.json"))
        )
        version = base.TokenizerVersion.v7
        tokenizer = mistral.MistralTokenizer(
            encoder, validator.get_validator(version, validator.ValidationMode.test), normalize.get_normalizer(version)
        )

        def count(messages: Conversation) -> int:
            asked = request.ChatCompletionRequest.from_openai(messages)
            return len(tokenizer.encode_chat_completion(asked).tokens)

        return count

    return load


def _module(name: str) -> Any:  # noqa: ANN401 - it need not be installed, not even to check types
    return import_module(name)


def _conversation() -> Conversation:
    random, text = Random(1), _PROTOCOL.read_text()
    starts = (random.randrange(len(text) - _LENGTH) for _ in range(_MESSAGES))
    return [
        {"role": "assistant" if number % 2 else "user", "content": f"{number}: {text[start : start + _LENGTH]}"}
        for number, start in enumerate(starts)
    ]


def _timed(count: Count, messages: Conversation) -> tuple[float, int]:
    started = process_time()
    tokens = count(messages)
    return process_time() - started, tokens


def measure(name: str) -> dict[str, float]:
    """Return CPU seconds and bytes: of importing, loading, a long conversation, and that with two messages more."""
    started = process_time()
    load = {OURS: _ours, MISTRAL: _mistral}[name]()
    imported, before = process_time() - started, resident()
    started = process_time()
    count = load()
    count([{"role": "user", "content": "Hello"}])
    loaded, memory = process_time() - started, resident() - before
    messages = _conversation()
    whole, tokens = _timed(count, messages)
    answer, question = ({"role": role, "content": messages[0]["content"][:200]} for role in ("assistant", "user"))
    more, _ = _timed(count, [*messages, answer, question])
    return {"import": imported, "load": loaded, "memory": memory, "whole": whole, "more": more, "tokens": tokens}
