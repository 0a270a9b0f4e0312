"""The one list of parameters: names, types and limits of everything a call can be given.

The TypedDicts are what type checkers complete and check (``**options: Unpack[ChatOptions]``), what ``help()`` shows,
and what :func:`check` validates with. None means "not set" (for ``timeout`` it means "no limit"); what is not set is
not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from inspect import Parameter, Signature, signature
from typing import Annotated, Literal, TypeAlias, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, Field, GetPydanticSchema, InstanceOf, TypeAdapter, ValidationError, with_config
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import is_instance_schema
from typing_extensions import TypedDict

from .errors import InvalidRequestError
from .retry import RetryPolicy
from .timeouts import Timeout

Json: TypeAlias = Mapping[str, object]
_LONGEST_SHOWN = 100
Prompt: TypeAlias = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]

_STRICT = ConfigDict(strict=True, extra="forbid")

# The description says what is accepted; it ends up in help() and in the error for a value that is not.
_Temperature = Annotated[float, Field(ge=0, le=2, description="a number from 0 to 2; higher draws more freely")]
_TopP = Annotated[float, Field(gt=0, le=1, description="a number above 0, up to 1")]
_Penalty = Annotated[float, Field(ge=-2, le=2, description="a number from -2 to 2")]
_Count = Annotated[int, Field(ge=1, description="a whole number from 1")]
_Natural = Annotated[int, Field(ge=0, description="a whole number from 0")]
_Whole = Annotated[int, Field(description="a whole number")]
_Flag = Annotated[bool, Field(description="True or False")]
_Text = Annotated[str, Field(description="a string")]
_Object = Annotated[Json, Field(description="a mapping with string keys")]
_Stop = Annotated[
    str | Annotated[Sequence[str], Field(max_length=4)], Field(description="a string, or up to 4 strings")
]
_Strings = Annotated[Sequence[str], Field(description="a sequence of strings")]
_Tokens = Annotated[Sequence[int], Field(description="a sequence of token ids")]
_Objects = Annotated[Sequence[Json], Field(description="a sequence of mappings")]
_Tools = Annotated[Sequence[Json], Field(min_length=1, description="at least one tool; leave it out for none")]
_Bias = Annotated[
    Mapping[str | int, Annotated[float, Field(ge=-100, le=100)]],
    Field(description="a mapping of token ids to numbers from -100 to 100"),
]
_ToolChoice = Annotated[
    Literal["auto", "none", "required"] | Json,
    Field(description='"auto", "none", "required" or {"type": "function", "function": {"name": ...}}'),
]
# Not InstanceOf: that looks inside too, at types that only tenacity has, which is imported when a strategy is given.
_Policy = Annotated[
    RetryPolicy, GetPydanticSchema(lambda kind, _: is_instance_schema(kind)), Field(description="a RetryPolicy")
]


class StreamOptions(TypedDict, total=False):
    """What a stream tells beside its chunks."""

    include_usage: bool
    continuous_usage_stats: bool


@with_config(_STRICT)
class CallOptions(TypedDict, total=False):
    """What concerns the call and is not part of the request's body."""

    timeout: (
        Annotated[InstanceOf[Timeout] | float, Field(description="seconds, a Timeout, or None for no limit")] | None
    )
    max_retries: _Natural | None
    retry: _Policy | None
    extra_headers: Annotated[Mapping[str, str], Field(description="a mapping of names to strings")] | None
    extra_body: _Object | None


class _Sampling(TypedDict, total=False):
    # OpenAI's, for both routes
    model: _Text | None
    temperature: _Temperature | None
    top_p: _TopP | None
    max_tokens: _Count | None
    n: _Count | None
    stop: _Stop | None
    seed: _Whole | None
    frequency_penalty: _Penalty | None
    presence_penalty: _Penalty | None
    logit_bias: _Bias | None
    stream_options: StreamOptions | None
    user: _Text | None
    # vLLM and NIM, for both routes
    top_k: Annotated[int, Field(ge=-1, description="a whole number; 0 or -1 for all tokens")] | None
    min_p: Annotated[float, Field(ge=0, le=1, description="a number from 0 to 1")] | None
    repetition_penalty: Annotated[float, Field(gt=0, description="a number above 0; 1 is none")] | None
    length_penalty: Annotated[float, Field(description="a number")] | None
    min_tokens: _Natural | None
    stop_token_ids: _Tokens | None
    include_stop_str_in_output: _Flag | None
    ignore_eos: _Flag | None
    skip_special_tokens: _Flag | None
    spaces_between_special_tokens: _Flag | None
    bad_words: _Strings | None
    allowed_token_ids: _Tokens | None
    use_beam_search: _Flag | None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, description="a whole number from -1")] | None
    truncation_side: Annotated[Literal["left", "right"], Field(description='"left" or "right"')] | None
    prompt_logprobs: _Natural | None
    add_special_tokens: _Flag | None
    return_token_ids: _Flag | None
    return_tokens_as_token_ids: _Flag | None
    response_format: _Object | None
    structured_outputs: _Object | None
    guided_json: Annotated[str | Json, Field(description="a JSON schema")] | None
    guided_regex: _Text | None
    guided_choice: _Strings | None
    guided_grammar: _Text | None
    nvext: _Object | None
    priority: _Whole | None
    request_id: _Text | None
    cache_salt: _Text | None
    thinking_token_budget: _Natural | None
    kv_transfer_params: _Object | None
    vllm_xargs: _Object | None


@with_config(_STRICT)
class ChatParameters(_Sampling, total=False):
    """The body of ``chat.completions.create``, but for ``messages`` and ``stream``."""

    # OpenAI's
    max_completion_tokens: _Count | None
    logprobs: _Flag | None
    top_logprobs: Annotated[int, Field(ge=0, le=20, description="a whole number from 0 to 20")] | None
    tools: _Tools | None
    tool_choice: _ToolChoice | None
    parallel_tool_calls: _Flag | None
    functions: _Objects | None
    function_call: Annotated[str | Json, Field(description='"auto", "none" or {"name": ...}')] | None
    reasoning_effort: _Text | None
    verbosity: _Text | None
    modalities: _Strings | None
    audio: _Object | None
    prediction: _Object | None
    web_search_options: _Object | None
    service_tier: _Text | None
    store: _Flag | None
    metadata: _Object | None
    prompt_cache_key: _Text | None
    safety_identifier: _Text | None
    # vLLM and NIM
    include_reasoning: _Flag | None
    echo: _Flag | None
    add_generation_prompt: _Flag | None
    continue_final_message: _Flag | None
    documents: _Objects | None
    chat_template: _Text | None
    chat_template_kwargs: _Object | None
    logprob_token_ids: _Tokens | None


class TextParameters(_Sampling, total=False):
    """The body of ``completions.create``, but for ``prompt`` and ``stream``."""

    suffix: _Text | None
    echo: _Flag | None
    logprobs: Annotated[int, Field(ge=0, description="a whole number from 0")] | None
    best_of: _Count | None


@with_config(_STRICT)
class TextBody(TextParameters):
    """The body of ``completions.create``, but for ``stream``."""

    prompt: Annotated[Prompt, Field(description="a string, strings, token ids, or sequences of token ids")]


class ChatOptions(ChatParameters, CallOptions, total=False):
    """Everything that ``chat.completions.create`` takes beside ``messages`` and ``stream``."""


class TextOptions(TextParameters, CallOptions, total=False):
    """Everything that ``completions.create`` takes beside ``stream``."""


_CALL_OPTIONS = frozenset(CallOptions.__annotations__)
_Parameters: TypeAlias = type[ChatParameters] | type[TextBody] | type[CallOptions]
_F = TypeVar("_F", bound=Callable[..., object])


# Made when the first call is checked: it takes some milliseconds that importing need not cost.
_ADAPTERS: dict[str, TypeAdapter[Json]] = {}


def _adapter(parameters: _Parameters) -> TypeAdapter[Json]:
    adapter = _ADAPTERS.get(parameters.__name__)
    if adapter is None:
        adapter = _ADAPTERS[parameters.__name__] = TypeAdapter(parameters)
    return adapter


@cache
def _call_adapter() -> TypeAdapter[CallOptions]:
    return TypeAdapter(CallOptions)


def call_options(options: Json) -> CallOptions:
    """Pick the options that concern the call only, and check them.

    Args:
        options: What the caller gave.

    Raises:
        InvalidRequestError: A value that is not possible.
    """
    given = {name: value for name, value in options.items() if name in _CALL_OPTIONS}
    if not given:
        return CallOptions()
    try:
        return _call_adapter().validate_python(given)
    except ValidationError as error:
        raise _refusal(error, given, CallOptions) from None


def check(options: Json, parameters: _Parameters) -> dict[str, object]:
    """Pick what goes into the body from the options of a call, and check it.

    Args:
        options: What the caller gave.
        parameters: The list to check against.

    Returns:
        The parameters as the caller gave them, without those that are None and those that concern the call only.

    Raises:
        InvalidRequestError: A name that doesn't exist, or a value that is not possible.
    """
    body = {name: value for name, value in options.items() if value is not None and name not in _CALL_OPTIONS}
    try:
        _adapter(parameters).validate_python(body)
    except ValidationError as error:
        raise _refusal(error, body, parameters) from None
    return body


def _refusal(error: ValidationError, given: Json, parameters: _Parameters) -> InvalidRequestError:
    name = str(error.errors(include_url=False, include_input=False)[0]["loc"][0])
    known = get_type_hints(parameters, include_extras=True)
    if name not in known:
        close = get_close_matches(name, [*known, *_CALL_OPTIONS], n=1)
        hint = (
            f"Did you mean {close[0]}?" if close else "To send a field that this client doesn't know, use extra_body."
        )
        return InvalidRequestError(f"{name} is not a parameter. {hint}", parameter=name)
    shown = "..." if name == "extra_headers" else _short(given.get(name))  # a header may hold a key
    return InvalidRequestError(f"{name}={shown} is not possible: give {_accepted(known[name])}.", parameter=name)


def _accepted(hint: object) -> str:
    for part in (hint, *get_args(hint)):
        for mark in getattr(part, "__metadata__", ()):
            if isinstance(mark, FieldInfo) and mark.description:
                return mark.description
    return 'a mapping such as {"include_usage": True}'


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def with_signature(options: type[ChatOptions | TextOptions]) -> Callable[[_F], _F]:
    """Make ``help()`` and editors at runtime show every option by name and type.

    Args:
        options: The TypedDict that the function takes as ``**options``.

    Returns:
        A decorator that gives the function a ``__signature__``.
    """

    def decorate(function: _F) -> _F:
        shown = signature(function)
        own = [p for p in shown.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        listed = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=hint)
            for name, hint in options.__annotations__.items()
        ]
        # PEP 362's way to say it, of which type checkers know nothing.
        vars(function)["__signature__"] = Signature([*own, *listed], return_annotation=shown.return_annotation)
        return function

    return decorate
