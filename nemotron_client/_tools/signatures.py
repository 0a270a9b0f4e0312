"""What a function tells without being called: its name, its docstring, its parameters and their annotations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from inspect import Parameter
from types import MethodType, SimpleNamespace, UnionType
from typing import Annotated, Any, NoReturn, TypeAlias, Union, get_args, get_origin, get_type_hints

from nemotron_client.errors import ToolDefinitionError

Function: TypeAlias = Callable[..., object]
Names: TypeAlias = Mapping[str, object]

# What reading an annotation can end with: a name that isn't defined yet, or no type at all.
_UNREADABLE = (NameError, SyntaxError, TypeError, AttributeError)


def refuse(tool: str, reason: str, parameter: str | None = None) -> NoReturn:
    """Say why something can't be a tool.

    Raises:
        ToolDefinitionError: Always.
    """
    raise ToolDefinitionError(f"Tool {tool}: {reason}.", parameter=parameter) from None


def layers_of(function: Function) -> Iterator[Function]:
    """Go into partials, methods, decorated functions and objects that can be called, down to the plain function."""
    inside: Function | None = function
    while inside is not None:
        function = inside
        yield function
        if isinstance(function, partial):
            inside = function.func
        elif isinstance(function, MethodType):
            inside = function.__func__
        else:
            call = type(function).__call__
            inside = getattr(function, "__wrapped__", call if inspect.isfunction(call) else None)


def plain(function: Function) -> Function:
    """Find the function at the bottom of all that is around it."""
    *_, found = layers_of(function)
    return found


def _without_partials(function: Function) -> Function:
    return next(each for each in layers_of(function) if not isinstance(each, partial))


def name_of(function: Function) -> str:
    """Give the name of a function, or of the class of an object that can be called."""
    function = _without_partials(function)
    return str(getattr(function, "__name__", type(function).__name__))


def name_for(function: Function, given: str | None, tool: type) -> str:
    """Give the name by which a function is offered.

    Args:
        function: The function.
        given: The name that its author chose.
        tool: The class of tools: a function that is made of one is none.

    Raises:
        ToolDefinitionError: It can't be offered.
    """
    if not callable(function):
        refuse(f"{function!r:.40}", "it is no function: give the function itself, without calling it")
    name = name_of(function) if given is None else given
    if inspect.isclass(function):
        refuse(name, "it is a class: give a function that makes one")
    if name == "<lambda>":
        refuse(name, "a lambda has no name: give name=", "name")
    if any(isinstance(each, tool) for each in layers_of(function)):
        refuse(name, "it is made of a tool, whose settings would be lost: put @tool above all other decorators")
    if inspect.isgeneratorfunction(plain(function)) or inspect.isasyncgenfunction(plain(function)):
        refuse(name, "it yields: return a list instead")
    return name


def docstring_of(function: Function) -> str:
    """Give the docstring of a function, or of the class of an object that can be called."""
    return inspect.getdoc(plain(function)) or inspect.getdoc(_without_partials(function)) or ""


def is_async(function: Function) -> bool:
    """Tell whether what a function returns is to be awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def parameters_of(tool: str, function: Function) -> dict[str, Parameter]:
    """List the parameters of a function, without those that a partial gives.

    Raises:
        ToolDefinitionError: The signature can't be read.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        refuse(tool, "its signature can't be read: wrap it in a function of your own")
    given: Names = function.keywords if isinstance(function, partial) else {}
    return {name: each for name, each in signature.parameters.items() if name not in given}


def hints_of(function: Function, parameters: Mapping[str, Parameter], names: Names) -> dict[str, object]:
    """Read those annotations that can be read by now.

    Args:
        function: The function.
        parameters: Those of its parameters that matter.
        names: What annotations may mention beside the names of the function's module.

    Returns:
        Types by parameter; ``object``, which is any, for one without annotation.
    """
    function = plain(function)
    known = {**getattr(function, "__globals__", {}), **names}
    hints: dict[str, object] = {}
    for name, parameter in parameters.items():
        annotation = object if parameter.annotation is Parameter.empty else parameter.annotation
        scope = SimpleNamespace(
            __annotations__={name: annotation}, __type_params__=getattr(function, "__type_params__", ())
        )
        try:
            hints |= get_type_hints(scope, known, include_extras=True)
        except _UNREADABLE:
            continue
    return hints


def mentions(hint: object, kind: type) -> bool:
    """Tell whether an annotation is a class, be it with a parameter, optional or annotated."""
    origin = get_origin(hint)
    if origin in {Annotated, Union, UnionType}:
        return any(mentions(each, kind) for each in get_args(hint))
    return hint is kind or origin is kind


def needs_value(hint: object, kind: type) -> bool:
    """Tell whether an annotation is a class with a parameter that None can't be, as far as is certain."""
    if get_origin(hint) is Annotated:
        return needs_value(get_args(hint)[0], kind)
    return get_origin(hint) is kind and not _may_be_none(get_args(hint)[0])


def _may_be_none(hint: object) -> bool:
    origin = get_origin(hint) or hint
    if origin is Annotated:
        return _may_be_none(get_args(hint)[0])
    if origin in {Union, UnionType}:
        return any(map(_may_be_none, get_args(hint)))
    # Of what is no class, and of protocols, nothing is certain.
    if not isinstance(origin, type) or origin is Any or getattr(origin, "_is_protocol", False):
        return True
    return isinstance(None, origin)


def names_around(function: object) -> Names:
    """Give the names that are known where this package was called from, if that is in the module of the function."""
    package = __name__.partition(".")[0]
    frame = inspect.currentframe()
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame = frame.f_back
    defined_in: object = getattr(plain(function), "__globals__", None) if callable(function) else None
    names: dict[str, object] = {}
    while frame and frame.f_globals is defined_in:
        names = {**frame.f_locals, **names}
        frame = frame.f_back if "__qualname__" in frame.f_locals else None  # out of the body of a class
    return names
