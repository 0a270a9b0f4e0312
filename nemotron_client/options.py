"""The one list of parameters: names, types and limits of everything a call can be given.

The TypedDicts are what type checkers complete and check (``**options: Unpack[ChatOptions]``), what ``help()`` shows,
and what :func:`check` validates with. None means "not set" (for ``timeout`` it means "no limit"); what is not set is
not sent.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, Field, GetPydanticSchema, InstanceOf, TypeAdapter, ValidationError, with_config
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import is_instance_schema
from typing_extensions import TypedDict

from .errors import InvalidRequestError
from .retry import RetryPolicy
from .timeouts import Timeout

Json: TypeAlias = Mapping[str, object]
Prompt: TypeAlias = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]

_STRICT = ConfigDict(strict=True, extra="forbid")
_LONGEST_SHOWN = 100

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
_STRINGS = Field(description="a sequence of strings")
_TOKENS = Field(description="a sequence of token ids")
_OBJECTS = Field(description="a sequence of mappings")
_STOP = Field(description="a string, or up to 4 strings")
_TOOLS = Field(
    min_length=1, description='a list of {"type": "function", "function": {"name": ..., "parameters": ...}}, not empty'
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
_POLICY = Field(description="a RetryPolicy")

_Bias = Annotated[float, Field(ge=-100, le=100)]
# Not InstanceOf, which looks inside: at types that only tenacity has, which is imported when a strategy is given.
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


class _Sampling(TypedDict, total=False):
    # OpenAI's, for both routes
    model: Annotated[str, _TEXT] | None
    temperature: Annotated[float, _TEMPERATURE] | None
    top_p: Annotated[float, _TOP_P] | None
    max_tokens: Annotated[int, _COUNT] | None
    n: Annotated[int, _COUNT] | None
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
    response_format: Annotated[Json, _OBJECT] | None
    structured_outputs: Annotated[Json, _OBJECT] | None
    guided_json: Annotated[str | Json, _SCHEMA] | None
    guided_regex: Annotated[str, _TEXT] | None
    guided_choice: Annotated[Sequence[str], _STRINGS] | None
    guided_grammar: Annotated[str, _TEXT] | None
    nvext: Annotated[Json, _OBJECT] | None
    priority: Annotated[int, _WHOLE] | None
    request_id: Annotated[str, _TEXT] | None
    cache_salt: Annotated[str, _TEXT] | None
    thinking_token_budget: Annotated[int, _NATURAL] | None
    kv_transfer_params: Annotated[Json, _OBJECT] | None
    vllm_xargs: Annotated[Json, _OBJECT] | None


@with_config(_STRICT)
class ChatParameters(_Sampling, total=False):
    """The body of ``chat.completions.create``, but for ``messages`` and ``stream``."""

    # OpenAI's
    max_completion_tokens: Annotated[int, _COUNT] | None
    logprobs: Annotated[bool, _FLAG] | None
    top_logprobs: Annotated[int, _UP_TO_20] | None
    tools: Annotated[Sequence[Json], _TOOLS] | None
    tool_choice: Annotated[Literal["auto", "none", "required"] | Json, _TOOL_CHOICE] | None
    parallel_tool_calls: Annotated[bool, _FLAG] | None
    functions: Annotated[Sequence[Json], _OBJECTS] | None
    function_call: Annotated[str | Json, _FUNCTION_CALL] | None
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
    add_generation_prompt: Annotated[bool, _FLAG] | None
    continue_final_message: Annotated[bool, _FLAG] | None
    documents: Annotated[Sequence[Json], _OBJECTS] | None
    chat_template: Annotated[str, _TEXT] | None
    chat_template_kwargs: Annotated[Json, _OBJECT] | None
    logprob_token_ids: Annotated[Sequence[int], _TOKENS] | None


class TextParameters(_Sampling, total=False):
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


class TextOptions(TextParameters, CallOptions, total=False):
    """Everything that ``completions.create`` takes beside ``stream``."""


_CALL_OPTIONS = frozenset(CallOptions.__annotations__)
_Parameters: TypeAlias = type[ChatParameters | TextBody | CallOptions]
_F = TypeVar("_F", bound=Callable[..., object])

# One for each parameter that was ever given: a call pays for what it sets, not for all there is.
_ADAPTERS: dict[tuple[str, str], TypeAdapter[Any]] = {}


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
        name = str(error.errors(include_url=False, include_input=False)[0]["loc"][0])
        raise _impossible(name, given[name], CallOptions) from None


def check(options: Json, parameters: type[ChatParameters | TextBody]) -> dict[str, object]:
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
    for name, value in body.items():
        try:
            _adapter(name, parameters).validate_python(value)
        except ValidationError:
            raise _impossible(name, value, parameters) from None
    return body


def _adapter(name: str, parameters: _Parameters) -> TypeAdapter[Any]:
    key = (name, parameters.__name__)
    adapter = _ADAPTERS.get(key)
    if adapter is None:
        if name not in parameters.__annotations__:
            raise _unknown(name, parameters)
        adapter = _ADAPTERS[key] = TypeAdapter(parameters.__annotations__[name], config=ConfigDict(strict=True))
    return adapter


def _unknown(name: str, parameters: _Parameters) -> InvalidRequestError:
    if name == "stream":
        return InvalidRequestError("stream() always streams: leave stream out.", parameter=name)
    close = get_close_matches(name, [*parameters.__annotations__, *_CALL_OPTIONS], n=1, cutoff=0.75)
    hint = f"Did you mean {close[0]}?" if close else "To send a field that this client doesn't know, use extra_body."
    return InvalidRequestError(f"{name} is not a parameter. {hint}", parameter=name)


def _impossible(name: str, value: object, parameters: _Parameters) -> InvalidRequestError:
    shown = "..." if name == "extra_headers" else _short(value)  # a header may hold a key
    accepted = _description(parameters.__annotations__[name])
    return InvalidRequestError(f"{name}={shown} is not possible: give {accepted}.", parameter=name)


def _description(hint: object) -> str:
    parts = (hint, *get_args(hint))  # Annotated[...], or Annotated[...] | None
    marks = [mark for part in parts for mark in getattr(part, "__metadata__", ()) if isinstance(mark, FieldInfo)]
    return marks[0].description or ""


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
    hints = get_type_hints(options)

    def decorate(function: _F) -> _F:
        shown = signature(function)
        own = [each for each in shown.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
        listed = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=hint) for name, hint in hints.items()
        ]
        # PEP 362's way to say it, of which type checkers know nothing.
        vars(function)["__signature__"] = Signature([*own, *listed], return_annotation=shown.return_annotation)
        return function

    return decorate
