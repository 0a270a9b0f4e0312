"""mistral-common as the judge: how many tokens it makes of a conversation, and whether it lets one pass.

Its functions that its own types leave open are imported by name.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any, TypeAlias

from mistral_common.exceptions import MistralCommonException
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.instruct import InstructTokenizerV7, InstructTokenizerV11, InstructTokenizerV13
from mistral_common.tokens.tokenizers.tekken import SpecialTokenInfo, Tekkenizer

from nemotron_client.tokens import Template

Wire: TypeAlias = Mapping[str, object]
Conversation: TypeAlias = Sequence[Wire]

_instruct = "mistral_common.protocol.instruct"
_normalize: Any = import_module(f"{_instruct}.normalize")
_requests: Any = import_module(f"{_instruct}.request")
_validation: Any = import_module(f"{_instruct}.validator")
_ENCODERS = {"v7": InstructTokenizerV7, "v11": InstructTokenizerV11, "v13": InstructTokenizerV13}
_LATER = ("[ARGS]", "[CALL_ID]")  # control tokens that v11 added to those of the file
ARGS = len(Tekkenizer.DEPRECATED_SPECIAL_TOKENS)
"""The id that the first of them has here."""


@cache
def tekken() -> dict[str, Any]:
    """Read the file that mistral-common ships."""
    data: dict[str, Any] = json.loads((files("mistral_common") / "data" / "tekken_240911.json").read_bytes())
    return data


@cache
def tekkenizer() -> Tekkenizer:
    """Make its encoder; that takes long, and one does for all templates."""
    known, config = Tekkenizer.DEPRECATED_SPECIAL_TOKENS, tekken()["config"]
    later = [SpecialTokenInfo(rank=len(known) + n, token_str=t, is_control=True) for n, t in enumerate(_LATER)]
    return Tekkenizer(
        vocab=tekken()["vocab"],
        special_tokens=[*known, *later],
        pattern=config["pattern"],
        vocab_size=config["default_vocab_size"],
        num_special_tokens=config["default_num_special_tokens"],
        version=TokenizerVersion.v13,
    )


def tokens(template: Template, messages: Conversation, tools: Conversation | None = None) -> int:
    """Count a conversation, whether a validator takes it or not."""
    return len(ids(template, messages, tools))


def ids(template: Template, messages: Conversation, tools: Conversation | None = None) -> list[int]:
    """Return the tokens of a conversation, whether a validator takes it or not."""
    request = _normalize.get_normalizer(TokenizerVersion(template)).from_chat_completion_request(_read(messages, tools))
    encoded: list[int] = _ENCODERS[template](tekkenizer()).encode_instruct(request).tokens
    return encoded


def refusal(template: Template, messages: Conversation, tools: Conversation | None = None) -> str | None:
    """Return what a server with this template says against a conversation; None if it takes it."""
    validator = _validation.get_validator(TokenizerVersion(template), ValidationMode.serving)
    try:
        validator.validate_request(_read(messages, tools))
    except MistralCommonException as error:
        return str(error)
    return None


def _read(messages: Conversation, tools: Conversation | None) -> object:
    continued = messages[-1]["role"] == "assistant"
    return _requests.ChatCompletionRequest.from_openai(messages, tools, model="m", continue_final_message=continued)
