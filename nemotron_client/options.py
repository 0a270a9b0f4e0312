"""The one list of parameters: names, types and limits of everything a call can be given.

The TypedDicts are what type checkers complete and check (``**options: Unpack[ChatOptions]``), what ``help()`` shows,
and what ``checking.py`` validates with. Where None is allowed it means "not set" (for ``timeout``, "no limit"); what
is not set is not sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, TypeAlias, get_args

from pydantic import ConfigDict, Field, GetPydanticSchema, InstanceOf, with_config
from pydantic_core.core_schema import callable_schema, is_instance_schema
from typing_extensions import TypedDict

from .budget import TokenBudget
from .messages import Repairing
from .retry import RetryPolicy
from .timeouts import Timeout

Json: TypeAlias = Mapping[str, object]
Method: TypeAlias = Literal["json_schema", "structured_outputs", "guided_json", "json_object", "prompt"]
"""A way to ask for JSON: one of the parameters that servers have for it, or words only."""

Prompt: TypeAlias = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]


class Function(Protocol):
    """Anything that can be called. With ``Callable[..., object]``, mypy gives overloads up for the Any in ``...``."""

    @property
    def __call__(self) -> object:
        """What calls it."""
        ...


_STRICT = ConfigDict(strict=True, extra="forbid")

# What is accepted, and in which words an error says so.
_TEMPERATURE = Field(ge=0, le=2, description="a number from 0 to 2; higher draws more freely")
_SHARE = Field(ge=0, le=1, description="a number from 0 to 1")
_TOP_P = Field(gt=0, le=1, description="a number above 0, up to 1")
_PENALTY = Field(ge=-2, le=2, description="a number from -2 to 2")
_ABOVE_0 = Field(gt=0, description="a number above 0; 1 changes nothing")
_NUMBER = Field(description="a number")
_COUNT = Field(ge=1, description="a whole number from 1")
_NATURAL = Field(ge=0, description="a whole number from 0")
_UP_TO_20 = Field(ge=0, le=20, description="a whole number from 0 to 20")
_OR_MINUS_1 = Field(ge=-1, description="a whole number from -1")
_WHOLE = Field(description="a whole number")
_FLAG = Field(description="True or False")
_TEXT = Field(description="a string")
_OBJECT = Field(description="a mapping with string keys")
_FORMAT = Field(description='a mapping such as {"type": "json_object"}; a class or another type goes to parse()')
_STRINGS = Field(description="a sequence of strings")
_TOKENS = Field(description="a sequence of token ids")
_OBJECTS = Field(description="a sequence of mappings")
_STOP = Field(description="a string, or up to 4 strings")
_TOOLS = Field(
    min_length=1,
    description='a list of functions, tools, or {"type": "function", "function": {"name": ...}}; not empty',
)
_BIAS = Field(description="a mapping of token ids to numbers from -100 to 100")
_TOOL_CHOICE = Field(description='"auto", "none", "required" or {"type": "function", "function": {"name": ...}}')
_FUNCTION_CALL = Field(description='"auto", "none" or {"name": ...}')
_SIDE = Field(description='"left" or "right"')
_SCHEMA = Field(description="a JSON schema")
_PROMPT = Field(description="a string, strings, token ids, or sequences of token ids")
_SECONDS = Field(description="seconds, a Timeout, or None for no limit")
_STREAM_OPTIONS = Field(description='a mapping such as {"include_usage": True}')
_HEADERS = Field(description="a mapping of names to strings")
_METHOD = Field(description=f"auto, {', '.join(get_args(Method))}")
_BUDGET = Field(description="a TokenBudget")
_REPAIR = Field(description='"auto", "fill", "strict" or "off"')
_POLICY = Field(description="a RetryPolicy")

_Bias = Annotated[float, Field(ge=-100, le=100)]
# Not InstanceOf, which looks inside: at types that only tenacity has, which is imported when a strategy is given.
_IS_CALLABLE = GetPydanticSchema(lambda _, __: callable_schema())
_IS_INSTANCE = GetPydanticSchema(lambda kind, _: is_instance_schema(kind))


@with_config(_STRICT)
class StreamOptions(TypedDict, total=False):
    """What a stream tells beside its chunks."""

    include_usage: bool
    continuous_usage_stats: bool


@with_config(_STRICT)
class CallOptions(TypedDict, total=False):
    """What concerns the call and is not part of the request's body."""

    timeout: Annotated[InstanceOf[Timeout] | float, _SECONDS] | None
    max_retries: Annotated[int, _NATURAL] | None
    retry: Annotated[RetryPolicy, _IS_INSTANCE, _POLICY] | None
    extra_headers: Annotated[Mapping[str, str], _HEADERS] | None
    extra_body: Annotated[Json, _OBJECT] | None
    repair: Annotated[Repairing, _REPAIR] | None
    budget: Annotated[InstanceOf[TokenBudget], _BUDGET] | None


class _Sampling(TypedDict, total=False):
    # OpenAI's, for both routes
    model: Annotated[str, _TEXT] | None
    temperature: Annotated[float, _TEMPERATURE] | None
    top_p: Annotated[float, _TOP_P] | None
    max_tokens: Annotated[int, _COUNT] | None
    stop: Annotated[str | Annotated[Sequence[str], Field(max_length=4)], _STOP] | None
    seed: Annotated[int, _WHOLE] | None
    frequency_penalty: Annotated[float, _PENALTY] | None
    presence_penalty: Annotated[float, _PENALTY] | None
    logit_bias: Annotated[Mapping[str, _Bias] | Mapping[int, _Bias] | Mapping[str | int, _Bias], _BIAS] | None
    stream_options: Annotated[StreamOptions, _STREAM_OPTIONS] | None
    user: Annotated[str, _TEXT] | None
    # vLLM and NIM, for both routes
    top_k: Annotated[int, _OR_MINUS_1] | None
    min_p: Annotated[float, _SHARE] | None
    repetition_penalty: Annotated[float, _ABOVE_0] | None
    length_penalty: Annotated[float, _NUMBER] | None
    min_tokens: Annotated[int, _NATURAL] | None
    stop_token_ids: Annotated[Sequence[int], _TOKENS] | None
    include_stop_str_in_output: Annotated[bool, _FLAG] | None
    ignore_eos: Annotated[bool, _FLAG] | None
    skip_special_tokens: Annotated[bool, _FLAG] | None
    spaces_between_special_tokens: Annotated[bool, _FLAG] | None
    bad_words: Annotated[Sequence[str], _STRINGS] | None
    allowed_token_ids: Annotated[Sequence[int], _TOKENS] | None
    use_beam_search: Annotated[bool, _FLAG] | None
    truncate_prompt_tokens: Annotated[int, _OR_MINUS_1] | None
    truncation_side: Annotated[Literal["left", "right"], _SIDE] | None
    prompt_logprobs: Annotated[int, _NATURAL] | None
    add_special_tokens: Annotated[bool, _FLAG] | None
    return_token_ids: Annotated[bool, _FLAG] | None
    return_tokens_as_token_ids: Annotated[bool, _FLAG] | None
    priority: Annotated[int, _WHOLE] | None
    request_id: Annotated[str, _TEXT] | None
    cache_salt: Annotated[str, _TEXT] | None
    thinking_token_budget: Annotated[int, _NATURAL] | None
    kv_transfer_params: Annotated[Json, _OBJECT] | None
    vllm_xargs: Annotated[Json, _OBJECT] | None


class _Shape(TypedDict, total=False):
    # How many answers, and of what form
    n: Annotated[int, _COUNT] | None
    response_format: Annotated[Json, _FORMAT] | None
    structured_outputs: Annotated[Json, _OBJECT] | None
    guided_json: Annotated[str | Json, _SCHEMA] | None
    guided_regex: Annotated[str, _TEXT] | None
    guided_choice: Annotated[Sequence[str], _STRINGS] | None
    guided_grammar: Annotated[str, _TEXT] | None
    nvext: Annotated[Json, _OBJECT] | None


class _Continuing(TypedDict, total=False):
    # Not for an answer of a given form: what the server adds to a message is no whole value.
    add_generation_prompt: Annotated[bool, _FLAG] | None
    continue_final_message: Annotated[bool, _FLAG] | None


class _ToolUse(TypedDict, total=False):
    tool_choice: Annotated[Literal["auto", "none", "required"] | Json, _TOOL_CHOICE] | None
    parallel_tool_calls: Annotated[bool, _FLAG] | None


class _Tools(_ToolUse, total=False):
    tools: Annotated[Sequence[Json | Annotated[Function, _IS_CALLABLE]], _TOOLS] | None
    functions: Annotated[Sequence[Json], _OBJECTS] | None
    function_call: Annotated[str | Json, _FUNCTION_CALL] | None


class _Chat(_Sampling, total=False):
    # OpenAI's
    max_completion_tokens: Annotated[int, _COUNT] | None
    logprobs: Annotated[bool, _FLAG] | None
    top_logprobs: Annotated[int, _UP_TO_20] | None
    reasoning_effort: Annotated[str, _TEXT] | None
    verbosity: Annotated[str, _TEXT] | None
    modalities: Annotated[Sequence[str], _STRINGS] | None
    audio: Annotated[Json, _OBJECT] | None
    prediction: Annotated[Json, _OBJECT] | None
    web_search_options: Annotated[Json, _OBJECT] | None
    service_tier: Annotated[str, _TEXT] | None
    store: Annotated[bool, _FLAG] | None
    metadata: Annotated[Json, _OBJECT] | None
    prompt_cache_key: Annotated[str, _TEXT] | None
    safety_identifier: Annotated[str, _TEXT] | None
    # vLLM and NIM
    include_reasoning: Annotated[bool, _FLAG] | None
    echo: Annotated[bool, _FLAG] | None
    documents: Annotated[Sequence[Json], _OBJECTS] | None
    chat_template: Annotated[str, _TEXT] | None
    chat_template_kwargs: Annotated[Json, _OBJECT] | None
    logprob_token_ids: Annotated[Sequence[int], _TOKENS] | None


@with_config(_STRICT)
class ChatParameters(_Chat, _Continuing, _Shape, _Tools, total=False):
    """The body of ``chat.completions.create``, but for ``messages`` and ``stream``."""


class TextParameters(_Sampling, _Shape, total=False):
    """The body of ``completions.create``, but for ``prompt`` and ``stream``."""

    suffix: Annotated[str, _TEXT] | None
    echo: Annotated[bool, _FLAG] | None
    logprobs: Annotated[int, _NATURAL] | None
    best_of: Annotated[int, _COUNT] | None


@with_config(_STRICT)
class TextBody(TextParameters):
    """The body of ``completions.create``, but for ``stream``."""

    prompt: Annotated[Prompt, _PROMPT]


class ChatOptions(ChatParameters, CallOptions, total=False):
    """Everything that ``chat.completions.create`` takes beside ``messages`` and ``stream``."""


@with_config(_STRICT)
class FormOptions(TypedDict, total=False):
    """How an answer of a given form is asked for."""

    method: Annotated[Method | Literal["auto"], _METHOD]
    reasks: Annotated[int, _NATURAL]


@with_config(_STRICT)
class LoopOptions(TypedDict, total=False):
    """How the agent loop goes on."""

    context: object
    max_turns: Annotated[int, _COUNT]
    show_errors: Annotated[bool, _FLAG]


@dataclass(frozen=True, slots=True)
class FormSettings:
    """The form options of a call, with the default of each."""

    method: Method | Literal["auto"] = "auto"
    reasks: int = 2


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """The loop options of a call, with the default of each."""

    context: object = None
    max_turns: int = 10
    show_errors: bool = False


class ParseOptions(_Chat, CallOptions, FormOptions, total=False):
    """Everything that ``chat.completions.parse`` takes beside its own parameters."""


class RunOptions(_Chat, _Continuing, _ToolUse, CallOptions, LoopOptions, total=False):
    """Everything that ``chat.completions.run_tools`` takes beside its own parameters."""


class TextOptions(TextParameters, CallOptions, total=False):
    """Everything that ``completions.create`` takes beside ``stream``."""
