"""The form of the bodies that vLLM takes: fields of the names and types of its own classes, in their order.

What pydantic says of a body that has another form is so what vLLM says. A class of ours begins with an underscore,
which tells that its name is not in vLLM's words. Pure.
"""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass

from nemotron_client.testing.message_forms import AnyMessage

DEFAULT_OF_TEXT = 16
"""How many tokens a text completion has where the request doesn't say it."""

_Signed: TypeAlias = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
_Stop: TypeAlias = str | Annotated[list[str], Field(max_length=4)] | None


class _Open(BaseModel):
    # Fields of other names are let pass, and their names read: half a character can't be one.
    model_config = ConfigDict(extra="allow")


class Function(_Open):
    """What a tool is."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(_Open):
    type: Literal["function"] = "function"
    function: Function


class _JSONSchema(_Open):
    name: str
    description: str | None = None
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(_Open):
    """How an answer is asked for in JSON, as OpenAI has it."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JSONSchema | None = None


class StructuralTag(_Open):
    """A structural tag of vLLM's newer form."""

    type: Literal["structural_tag"]
    format: Any


class _LegacyStructuralTag(_Open):
    type: Literal["structural_tag"]
    structures: list[dict[str, Any]]
    triggers: list[str]


# Each for itself, as pydantic tells of each.
_No: TypeAlias = Literal["none"]
_Auto: TypeAlias = Literal["auto"]
_Required: TypeAlias = Literal["required"]


class _Named(_Open):
    name: str


class NamedChoice(_Open):
    """The tool that is to be called."""

    function: _Named
    type: Literal["function"] = "function"


class StreamOptions(_Open):
    """What the chunks of a stream tell besides."""

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class StructuredOutputs(_Open):
    """What an answer is held to, in vLLM's own way of asking; `response_format` comes to the same."""

    json_: str | dict[str, Any] | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False
    whitespace_pattern: str | None = None
    structural_tag: str | None = None


@dataclass
class RepetitionDetectionParams:
    """When an answer that repeats itself is ended, by vLLM's name."""

    max_pattern_size: int = 0
    min_pattern_size: int = 0
    min_count: int = 0


class Body(_Open):
    """What requests for chat completions and text completions have in common."""

    model: str | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    max_tokens: int | None = None
    presence_penalty: float | None = None
    response_format: ResponseFormat | StructuralTag | _LegacyStructuralTag | None = None
    seed: _Signed | None = None
    stop: _Stop = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None
    use_beam_search: bool = False
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    watermarking: bool | None = None
    length_penalty: float = 1.0
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    min_tokens: int = 0
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, le=2**63 - 1)] | None = None
    truncation_side: Literal["left", "right"] | None = None
    prompt_logprobs: int | None = None
    logprob_token_ids: list[int] | None = None
    allowed_token_ids: list[int] | None = None
    bad_words: list[str] = []
    structured_outputs: StructuredOutputs | None = None
    priority: _Signed = 0
    request_id: str = ""
    session_id: str | None = None
    return_tokens_as_token_ids: bool | None = None
    return_token_ids: bool | None = None
    return_token_offsets: bool | None = False
    cache_salt: Annotated[str, Field(min_length=1)] | None = None
    kv_transfer_params: dict[str, Any] | None = None
    ec_transfer_params: dict[str, Any] | None = None
    vllm_xargs: dict[str, str | int | float | list[str | int | float]] | None = None
    stream_interval: Annotated[int, Field(ge=1)] | None = None
    repetition_detection: RepetitionDetectionParams | None = None
    thinking_token_budget: object = None  # whose form `contradictions` has looked at

    @property
    def stops(self) -> list[str]:
        """The texts at which the answer ends."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class ChatBody(Body):
    """A body for /v1/chat/completions."""

    messages: list[AnyMessage]
    n: int | None = 1
    logprobs: bool | None = False
    top_logprobs: int | None = 0
    max_completion_tokens: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: _No | _Auto | _Required | NamedChoice | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    include_reasoning: bool = True
    parallel_tool_calls: bool | None = True
    echo: bool = False
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False
    documents: list[dict[str, str]] | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    media_io_kwargs: dict[str, dict[str, Any]] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None
    return_prompt_text: bool | None = None

    @property
    def most_tokens(self) -> int | None:
        """How many tokens the answer may have, as far as the request says."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def most_logprobs(self) -> int | None:
        """How many alternatives are wanted for each token."""
        return self.top_logprobs


_Tokens: TypeAlias = list[Annotated[int, Field(ge=0)]]
Prompt: TypeAlias = _Tokens | list[_Tokens] | str | list[str]
"""What a text completion goes on from: a text, the ids of tokens, or several of one of these."""


class TextBody(Body):
    """A body for /v1/completions."""

    prompt: Prompt | None = None
    n: int = 1
    prompt_embeds: bytes | list[bytes] | None = None
    echo: bool | None = False
    logprobs: int | None = None
    suffix: str | None = None
    add_special_tokens: bool = True

    @property
    def most_tokens(self) -> int:
        """How many tokens the answer may have."""
        return DEFAULT_OF_TEXT if self.max_tokens is None else self.max_tokens

    @property
    def most_logprobs(self) -> int | None:
        """How many alternatives are wanted for each token."""
        return self.logprobs


class TokenizedText(_Open):
    """A body for /tokenize that has a text."""

    model: str | None = None
    prompt: str
    add_special_tokens: bool = True
    return_token_strs: bool | None = False


class TokenizedChat(_Open):
    """A body for /tokenize that has a conversation."""

    model: str | None = None
    messages: list[AnyMessage]
    add_generation_prompt: bool = True
    return_token_strs: bool | None = False
    continue_final_message: bool = False
    add_special_tokens: bool = False
    tools: list[_Tool] | None = None


class Detokenized(_Open):
    """A body for /detokenize."""

    model: str | None = None
    tokens: _Tokens
