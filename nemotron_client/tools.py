"""Tools: functions that the model may ask for, with all that it is told of them.

A tool reads and checks the model's arguments before anything runs. When it runs, and where, is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import WRAPPER_ASSIGNMENTS
from types import MappingProxyType, MethodType
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, Self, TypeAlias, TypeVar, overload

from ._json import is_object
from ._tools.definitions import SchemaParameters
from ._tools.docstrings import read_docstring
from ._tools.functions import FunctionParameters
from ._tools.signatures import Function, docstring_of, is_async, name_for, names_around, plain, refuse
from ._tools.texts import BadArgumentsError
from ._tools.texts import result_text as result_text  # noqa: PLC0414 - for loops of one's own
from .errors import ToolArgumentsError
from .messages import ToolCall

if TYPE_CHECKING:
    from typing_extensions import TypeIs

ContextT = TypeVar("ContextT")
P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")

NeedsApproval: TypeAlias = bool | Callable[[Mapping[str, object]], bool]
"""Whether a call must be approved before it runs, or a function that tells it by the arguments."""


@dataclass(frozen=True, slots=True)
class ToolContext(Generic[ContextT]):
    """What a tool is given beside the model's arguments, if it has a parameter that is annotated with this class.

    Attributes:
        value: What the caller gave as ``context``.
        tool_call: The call that is being run.
    """

    value: ContextT
    tool_call: ToolCall


class Tool(Generic[P, R_co]):
    """A function that the model may ask for; it can still be called like the function that it was made of.

    Made by :func:`tool`, :meth:`from_function` or :meth:`from_schema`.

    Attributes:
        name: As the model knows it.
        needs_approval: Whether a call must be approved before it runs, or a function that tells it by the arguments.
        timeout: Seconds that a call may take; None for no limit.
        is_async: Whether what it returns is to be awaited.
    """

    __name__: str

    def __init__(
        self,
        function: Callable[P, R_co],
        parameters: FunctionParameters | SchemaParameters,
        *,
        name: str,
        description: str | None,
        needs_approval: NeedsApproval,
        timeout: float | None,
    ) -> None:
        """Put a tool together; :func:`tool` does it in one step.

        Raises:
            ToolDefinitionError: A value is not possible.
        """
        _check(name, needs_approval, timeout)
        # So that help() and inspect.signature() show the function.
        own: dict[str, object] = {key: getattr(function, key, None) for key in WRAPPER_ASSIGNMENTS}
        vars(self).update(own, __wrapped__=function)
        self.name = name
        self.needs_approval = needs_approval
        self.timeout = timeout
        self.is_async = is_async(function)
        self._function = function
        self._parameters = parameters
        self._description = description

    @classmethod
    def from_function(
        cls,
        function: Callable[Q, R],
        *,
        name: str | None = None,
        description: str | None = None,
        needs_approval: NeedsApproval = False,
        timeout: float | None = None,
    ) -> Tool[Q, R]:
        """Make a tool of a function, which says in its annotations and its docstring all that the model has to know.

        Args:
            function: A function, plain or async; a method of an object, a partial, an object that can be called.
            name: For the model; the function's own if None.
            description: For the model; what the docstring says if None.
            needs_approval: Whether a call must be approved before it runs; a function tells it by the arguments.
            timeout: Seconds that a call may take; None for no limit.

        Raises:
            ToolDefinitionError: The model could not call it. Of types that no schema can be made of, and of names in
                annotations that are not defined yet, this is raised when the tool is first offered or called.
        """
        name = name_for(function, name, Tool)
        parameters = FunctionParameters(name, function, injected=ToolContext, names=names_around(function))
        return Tool(
            function, parameters, name=name, description=description, needs_approval=needs_approval, timeout=timeout
        )

    @classmethod
    def from_schema(
        cls,
        name: str,
        parameters: Mapping[str, object],
        function: Callable[Concatenate[dict[str, object], Q], R],
        *,
        description: str = "",
        needs_approval: NeedsApproval = False,
        timeout: float | None = None,
    ) -> Tool[Concatenate[dict[str, object], Q], R]:
        """Make a tool of a JSON schema, as MCP servers and the like have them.

        Args:
            name: For the model.
            parameters: A JSON schema of an object, draft 7.
            function: What is called with the arguments, as one dict; a :class:`ToolContext` is passed beside it if a
                parameter is annotated so.
            description: For the model.
            needs_approval: Whether a call must be approved before it runs; a function tells it by the arguments.
            timeout: Seconds that a call may take; None for no limit.

        Raises:
            ToolDefinitionError: The schema is not one that the model's servers take; of most mistakes this is raised
                when the tool is first offered or called.
        """
        described = SchemaParameters(name, function, parameters, injected=ToolContext, names=names_around(function))
        return Tool(
            function, described, name=name, description=description, needs_approval=needs_approval, timeout=timeout
        )

    @property
    def description(self) -> str:
        """What the model is told of the tool."""
        if self._description is None:
            self._description, _ = read_docstring(docstring_of(self._function))
        return self._description

    @property
    def parameters(self) -> Mapping[str, object]:
        """What the model may give, as JSON schema.

        Raises:
            ToolDefinitionError: There is no such schema.
        """
        return self._parameters.schema

    @property
    def definition(self) -> dict[str, object]:
        """What is sent to the server.

        Raises:
            ToolDefinitionError: There is no schema of the parameters.
        """
        described = {"description": self.description} if self.description else {}
        return {"type": "function", "function": {"name": self.name, **described, "parameters": self.parameters}}

    @property
    def needs_context(self) -> bool:
        """Whether a parameter is a :class:`ToolContext` of a type that None is not of."""
        return self._parameters.needs_injected

    def bind(self, tool_call: ToolCall, context: object = None) -> BoundCall:
        """Read and check the arguments of a call; nothing runs yet.

        Args:
            tool_call: As the model wrote it.
            context: For a parameter annotated :class:`ToolContext`.

        Returns:
            What runs the tool when it is called, and returns what the tool returns: of an async one, what to await.

        Raises:
            ToolArgumentsError: The arguments are not JSON, or not what the tool takes; the text is for the model. What
                validators of your own models raise beside ValueError and AssertionError comes as it is.
        """
        text = tool_call.function.arguments
        try:
            arguments = self._parameters.parse(text)
        except (BadArgumentsError, RecursionError) as error:
            reason = "the arguments are nested too deeply" if isinstance(error, RecursionError) else error
            raise ToolArgumentsError(f"{self.name}: {reason}", tool_name=self.name, arguments=text) from None
        return BoundCall(self, MappingProxyType(arguments), ToolContext(context, tool_call))

    def run(self, arguments: Mapping[str, object], context: ToolContext[object]) -> object:
        """Run the tool with arguments that :meth:`bind` has read; :class:`BoundCall` does it."""
        return self._parameters.call(arguments, context)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function itself, with nothing checked."""
        return self._function(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self: Tool[Concatenate[S, Q], R], instance: S, owner: type | None = None) -> Tool[Q, R]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Self: ...
    def __get__(self, instance: object, owner: type | None = None) -> Tool[..., object]:
        """Return the tool of an object, where the function was declared in a class; else itself."""
        class_name = plain(self._function).__qualname__.rpartition(".")[0]
        declared_in_class = class_name and not class_name.endswith("<locals>")
        if instance is None or isinstance(self._parameters, SchemaParameters) or not declared_in_class:
            return self
        method: Function = self._function.__get__(instance, owner)
        return Tool(
            method,
            self._parameters.of_method(method),
            name=self.name,
            description=self._description,
            needs_approval=self.needs_approval,
            timeout=self.timeout,
        )

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"


@dataclass(frozen=True, slots=True)
class BoundCall:
    """A call whose arguments are known to be good. Calling it runs the tool.

    Attributes:
        tool: The tool.
        arguments: Python values by parameter, defaults included; of a tool made of a schema, JSON values.
        context: What a parameter annotated :class:`ToolContext` is given.
    """

    tool: Tool[..., object]
    arguments: Mapping[str, object]
    context: ToolContext[object]

    @property
    def needs_approval(self) -> bool:
        """Whether this call must be approved before it runs."""
        rule = self.tool.needs_approval
        return rule if isinstance(rule, bool) else rule(self.arguments)

    def __call__(self) -> object:
        """Run the tool.

        Returns:
            What it returns; of an async one, what to await.
        """
        return self.tool.run(self.arguments, self.context)


@overload
def tool(
    function: Callable[P, R],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    needs_approval: NeedsApproval = False,
    timeout: float | None = None,
) -> Tool[P, R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    needs_approval: NeedsApproval = False,
    timeout: float | None = None,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    needs_approval: NeedsApproval = False,
    timeout: float | None = None,
) -> Tool[P, R] | Callable[[Callable[P, R]], Tool[P, R]]:
    """Make a tool of a function: ``@tool``, or ``@tool(timeout=10)``. As :meth:`Tool.from_function`, which says more.

    Args:
        function: The function.
        name: For the model; the function's own if None.
        description: For the model; what the docstring says if None.
        needs_approval: Whether a call must be approved before it runs, or a function that tells it by the arguments.
        timeout: Seconds that a call may take; None for no limit.

    Raises:
        ToolDefinitionError: The model could not call it.
    """

    def decorate(function: Callable[P, R]) -> Tool[P, R]:
        return Tool.from_function(
            function, name=name, description=description, needs_approval=needs_approval, timeout=timeout
        )

    return decorate if function is None else decorate(function)


def as_tool(value: object) -> Tool[..., object]:
    """Make a tool of what a caller offers as one.

    Args:
        value: A tool, or a function.

    Raises:
        ToolDefinitionError: It is neither: a definition as plain dict has nothing that could be run.
    """
    made = _existing(value)
    if made is not None:
        return made
    if is_object(value):
        refuse("defined by a dict", "there is no function to run: use Tool.from_schema(name, parameters, function)")
    if not callable(value):
        refuse(f"{value!r:.40}", "it is no function: give the function itself, without calling it")
    return Tool.from_function(value)


def _is_tool(value: object) -> TypeIs[Tool[..., object]]:
    return isinstance(value, Tool)


def _existing(value: object) -> Tool[..., object] | None:
    if isinstance(value, MethodType) and _is_tool(value.__func__):  # of @classmethod above @tool
        return value.__func__.__get__(value.__self__)
    return value if _is_tool(value) else None


def _check(name: object, needs_approval: object, timeout: object) -> None:
    if not isinstance(name, str) or not name:
        refuse("without a name", f"name={name!r} is not possible: give a string", "name")
    if not isinstance(needs_approval, bool) and (not callable(needs_approval) or is_async(needs_approval)):
        reason = f"needs_approval={needs_approval!r:.60} is not possible: give a bool or a plain function"
        refuse(name, reason, "needs_approval")
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0
    if timeout is not None and not number:
        refuse(name, f"timeout={timeout!r} is not possible: give seconds above 0, or None for no limit", "timeout")
