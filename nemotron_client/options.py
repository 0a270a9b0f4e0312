"""The one list of parameters: names, types and limits of everything a call can be given.

The TypedDicts are what type checkers complete and check (``**options: Unpack[ChatOptions]``), what ``help()`` shows,
and what :func:`check` validates with. None means "not set" (for ``timeout`` it means "no limit"); what is not set is
not sent.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Literal, Protocol, TypeAlias, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, Field, GetPydanticSchema, InstanceOf, TypeAdapter, ValidationError, with_config
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import callable_schema, is_instance_schema
from typing_extensions import TypedDict

from ._json import is_object, short
from .budget import TokenBudget
from .errors import InvalidRequestError
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
    add_generation_prompt: Annotated[bool, _FLAG] | None
    continue_final_message: Annotated[bool, _FLAG] | None
    documents: Annotated[Sequence[Json], _OBJECTS] | None
    chat_template: Annotated[str, _TEXT] | None
    chat_template_kwargs: Annotated[Json, _OBJECT] | None
    logprob_token_ids: Annotated[Sequence[int], _TOKENS] | None


@with_config(_STRICT)
class ChatParameters(_Chat, _Shape, _Tools, total=False):
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


class ParseOptions(_Chat, CallOptions, FormOptions, total=False):
    """Everything that ``chat.completions.parse`` takes beside its own parameters."""


class RunOptions(_Chat, _ToolUse, CallOptions, LoopOptions, total=False):
    """Everything that ``chat.completions.run_tools`` takes beside its own parameters."""


class TextOptions(TextParameters, CallOptions, total=False):
    """Everything that ``completions.create`` takes beside ``stream``."""


_CALL_OPTIONS = frozenset(CallOptions.__annotations__)
_Parameters: TypeAlias = type[ChatParameters | TextBody | CallOptions | FormOptions | LoopOptions]
_F = TypeVar("_F", bound=Callable[..., object])

# One for each parameter that was ever given: a call pays for what it sets, not for all there is.
_ADAPTERS: dict[tuple[str, str], TypeAdapter[Any]] = {}


_KINDS: dict[str, TypeAdapter[Any]] = {}
OptionsT = TypeVar("OptionsT", CallOptions, FormOptions, LoopOptions)


def picked(options: Json, kind: type[OptionsT]) -> OptionsT:
    """Pick the options of one kind that never go into a request's body, and check them.

    Args:
        options: What the caller gave.
        kind: Which to pick.

    Raises:
        InvalidRequestError: A value that is not possible.
    """
    given = {name: value for name, value in options.items() if name in kind.__annotations__}
    if not given:
        return kind()
    try:
        adapter = _KINDS.get(kind.__name__) or _KINDS.setdefault(kind.__name__, TypeAdapter(kind))
        checked: OptionsT = adapter.validate_python(given)
    except ValidationError as error:
        name = str(error.errors(include_url=False, include_input=False)[0]["loc"][0])
        raise _impossible(name, given[name], kind) from None
    return checked


def without(options: Json, kind: type[FormOptions | LoopOptions]) -> dict[str, object]:
    """Return the other options."""
    return {name: value for name, value in options.items() if name not in kind.__annotations__}


def refuse_taken(options: Json, own: type[ParseOptions | RunOptions], use: str) -> None:
    """Refuse parameters that a method has a use of its own for, in ``extra_body`` too.

    Args:
        options: What the caller gave.
        own: What the method takes.
        use: What for, for the error.

    Raises:
        InvalidRequestError: One is given.
    """
    taken = ChatParameters.__annotations__.keys() - own.__annotations__.keys() | {"stream"}
    body = options.get("extra_body")
    extra: Json = body if is_object(body) else {}
    for given, refused, place in (
        (options, taken, "here"),
        (extra, taken | {"messages", "tool_choice"}, "in extra_body"),
    ):
        for name, value in given.items():
            if name in refused and value is not None:
                raise InvalidRequestError(f"{name} can't be given {place}: {use}.", parameter=name)


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
    shown = "..." if name == "extra_headers" else short(value)  # a header may hold a key
    accepted = _description(parameters.__annotations__[name])
    return InvalidRequestError(f"{name}={shown} is not possible: give {accepted}.", parameter=name)


def _description(hint: object) -> str:
    parts = (hint, *get_args(hint))  # Annotated[...], or Annotated[...] | None
    marks = [mark for part in parts for mark in getattr(part, "__metadata__", ()) if isinstance(mark, FieldInfo)]
    return marks[0].description or ""


# Each list is shown by several methods, of two clients.
_LISTED: dict[str, list[Parameter]] = {}


def _listed(options: type[ChatOptions | ParseOptions | RunOptions | TextOptions]) -> list[Parameter]:
    hints = get_type_hints(options)
    return [Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=hint) for name, hint in hints.items()]


def with_signature(options: type[ChatOptions | ParseOptions | RunOptions | TextOptions]) -> Callable[[_F], _F]:
    """Make ``help()`` and editors at runtime show every option by name and type.

    Args:
        options: The TypedDict that the function takes as ``**options``.

    Returns:
        A decorator that gives the function a ``__signature__``.
    """
    listed = _LISTED.get(options.__name__) or _LISTED.setdefault(options.__name__, _listed(options))

    def decorate(function: _F) -> _F:
        shown = signature(function)
        own = [each for each in shown.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
        # PEP 362's way to say it, of which type checkers know nothing.
        vars(function)["__signature__"] = Signature([*own, *listed], return_annotation=shown.return_annotation)
        return function

    return decorate
