"""What is done with the options of a call: checked against their lists, picked apart, shown by ``help()``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from difflib import get_close_matches
from inspect import Parameter, Signature, signature
from typing import Any, TypeAlias, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from ._json import is_object, short
from .errors import InvalidRequestError
from .options import (
    CallOptions,
    ChatOptions,
    ChatParameters,
    FormOptions,
    FormSettings,
    Json,
    LoopOptions,
    LoopSettings,
    ParseOptions,
    RunOptions,
    TextBody,
    TextOptions,
)

_CALL_OPTIONS = frozenset(CallOptions.__annotations__)
_OF_OTHER_CALLS = {
    **dict.fromkeys(FormOptions.__annotations__, "parse() and stream_parse()"),
    **dict.fromkeys((*LoopOptions.__annotations__, "approvals", "claim"), "run_tools() and stream_tools()"),
}
_DEFAULTS: Json = {each.name: each.default for kind in (FormSettings, LoopSettings) for each in fields(kind)}
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
    close = get_close_matches(name, [*parameters.__annotations__, *_CALL_OPTIONS, *_OF_OTHER_CALLS], n=1, cutoff=0.75)
    if name in _OF_OTHER_CALLS:
        hint = f"{_OF_OTHER_CALLS[name]} take it."
    elif close:
        hint = f"Did you mean {close[0]}?"
    else:
        hint = "To send a field that this client doesn't know, use extra_body."
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
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(name), annotation=hint)
        for name, hint in hints.items()
    ]


def with_signature(
    options: type[ChatOptions | ParseOptions | RunOptions | TextOptions], **defaults: object
) -> Callable[[_F], _F]:
    """Make ``help()`` and editors at runtime show every option by name, type and default.

    Args:
        options: The TypedDict that the function takes as ``**options``.
        defaults: Where the function's differ from those of other functions.

    Returns:
        A decorator that gives the function a ``__signature__``.
    """
    listed = _LISTED.get(options.__name__) or _LISTED.setdefault(options.__name__, _listed(options))
    listed = [each.replace(default=defaults.get(each.name, each.default)) for each in listed]

    def decorate(function: _F) -> _F:
        shown = signature(function)
        own = [each for each in shown.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
        # PEP 362's way to say it, of which type checkers know nothing.
        vars(function)["__signature__"] = Signature([*own, *listed], return_annotation=shown.return_annotation)
        return function

    return decorate
