"""Functions as tools: their parameters become a JSON schema, and what the model gives becomes what they take.

The parameters are the fields of a pydantic model. It is made when it is first needed, since a name in an annotation may
be defined later than the function.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter
from types import GenericAlias
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    NoReturn,
    NotRequired,
    Required,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
)

import typing_extensions
from pydantic import ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind
from pydantic_core import ErrorDetails, SchemaError, to_json

from .docstrings import read_docstring
from .schemas import Schema, as_object, compact, mended
from .signatures import Function, Names, docstring_of, hints_of, mentions, needs_value, parameters_of, plain, refuse
from .texts import REQUIRED, UNKNOWN, BadArgumentsError, Problem, cut, read_arguments, shown, told

if TYPE_CHECKING:
    from pydantic import BaseModel, JsonValue

# What is raised for a type that no JSON schema can be made of, or that a limit doesn't fit.
_UNUSABLE = (PydanticUserError, PydanticUndefinedAnnotation, SchemaError, TypeError, ValueError, AttributeError)
_UNPACKS = (Unpack, typing_extensions.Unpack)
_MARKS = (Required, NotRequired, typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly)


class _SchemaWriter(GenerateJsonSchema):
    # A default that JSON can't hold is left out, and that is all there is to say about it.
    ignored_warning_kinds: set[JsonSchemaWarningKind] = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as its base has it


@dataclass(frozen=True, slots=True)
class _Field:
    """One thing that the model may give.

    Attributes:
        name: Of the parameter, or of a key of ``**options: Unpack[...]``.
        hint: Its type.
        default: As the signature has it.
        description: As the docstring has it.
        may_be_missing: Whether the function is called without it where nothing was given.
    """

    name: str
    hint: object
    default: object = Parameter.empty
    description: str | None = None
    may_be_missing: bool = False

    @property
    def definition(self) -> object:
        """What ``create_model`` takes."""
        own = FieldInfo.from_annotation(Annotated[self.hint, Field()])  # type: ignore[arg-type] # as good as a type
        alias = own.alias or self.name
        said = next((each for each in own.metadata if isinstance(each, str)), self.description)
        known = Field(
            alias=alias,
            validation_alias=own.validation_alias or alias,
            description=own.description or said,
        )
        hint: object = Annotated[self.hint, known]
        if self.may_be_missing:
            return hint, Field(default_factory=dict)
        return hint if self.default is Parameter.empty else (hint, self.default)


class FunctionParameters:
    """What the model may give to a function, and how that becomes the function's arguments."""

    def __init__(self, tool: str, function: Function, *, injected: type, names: Names) -> None:
        """Look at a function.

        Args:
            tool: The tool's name, for errors.
            function: The function.
            injected: The class of what is passed beside the model's arguments: the model never sees such parameters.
            names: What annotations may mention beside the names of the function's module.

        Raises:
            ToolDefinitionError: It takes what can't be given by name.
        """
        self._tool = tool
        self._function = function
        self._injected = injected
        self._parameters = parameters_of(tool, function)
        for name, each in self._parameters.items():
            if each.kind is Parameter.VAR_POSITIONAL:
                refuse(tool, f"the model can't give *{name}, which has no names: take a list instead", name)
        # A name that is defined where the function is, but not in its module, is known at this moment only.
        self._early_hints = hints_of(function, self._parameters, names)

    @property
    def needs_injected(self) -> bool:
        """Whether what is passed beside the model's arguments must hold something."""
        return any(needs_value(hint, self._injected) for hint in self._hints.values())

    def of_method(self, method: Function) -> FunctionParameters:
        """Return the same of the function when it has become the method of an object."""
        bound = FunctionParameters(self._tool, method, injected=self._injected, names={})
        bound._early_hints = {name: each for name, each in self._early_hints.items() if name in bound._parameters}
        return bound

    @property
    def schema(self) -> Schema:
        """The parameters as JSON schema.

        Raises:
            ToolDefinitionError: There is a type that no schema can be made of.
        """
        return self._made[1]

    def parse(self, text: str) -> dict[str, object]:
        """Read a call's arguments.

        Args:
            text: JSON as the model wrote it.

        Returns:
            Python values by parameter, defaults included.

        Raises:
            BadArgumentsError: They aren't JSON, or not what the function takes.
            ToolDefinitionError: There is a type that no schema can be made of.
        """
        model, schema = self._made
        try:
            given = model.model_validate_json(text)
        except ValidationError:
            data = mended(read_arguments(text), schema, schema)
            try:
                given = model.model_validate_json(to_json(data))
            except ValidationError as error:
                problems = error.errors(include_url=False, include_input=False)
                raise BadArgumentsError(told(_problem(each, data) for each in problems)) from None
        extra = given.model_extra or {}
        hidden = self._all_names.intersection(extra)
        if hidden:  # what the developer gives, the model can't
            raise BadArgumentsError(told(Problem((name,), UNKNOWN) for name in sorted(hidden)))
        values, were_given = vars(given), given.model_fields_set
        return extra | {
            field.name: values[key]
            for key, field in self._fields.items()
            if key in were_given or not field.may_be_missing
        }

    def call(self, arguments: Mapping[str, object], injected: object) -> object:
        """Call the function.

        Args:
            arguments: As :meth:`parse` gave them.
            injected: What the model never sees.
        """
        left = {**arguments, **dict.fromkeys(self._injected_names, injected)}
        kinds = ((name, each.kind) for name, each in self._parameters.items())
        first = [left.pop(name) for name, kind in kinds if kind is Parameter.POSITIONAL_ONLY]
        return self._function(*first, **left)

    @cached_property
    def _hints(self) -> dict[str, object]:
        late = {name: each for name, each in self._parameters.items() if name not in self._early_hints}
        hints = self._early_hints | hints_of(self._function, late, {})
        for name, each in late.items():
            if name not in hints:
                reason = f"the annotation {each.annotation!r} of {name} can't be read: define or import what it names"
                refuse(self._tool, f"{reason} in the function's module, not for type checkers only", name)
        return hints

    @cached_property
    def _injected_names(self) -> list[str]:
        return [name for name, hint in self._hints.items() if mentions(hint, self._injected)]

    @cached_property
    def _all_names(self) -> set[str]:
        """Every parameter, those included that a partial or an object gives."""
        listed = inspect.signature(plain(self._function)).parameters.values()
        return {each.name for each in listed if each.kind is not Parameter.VAR_KEYWORD}

    @cached_property
    def _fields(self) -> dict[str, _Field]:
        _, descriptions = read_docstring(docstring_of(self._function))
        found: list[_Field] = []
        for name, each in self._parameters.items():
            if each.kind is Parameter.VAR_KEYWORD:
                found += _keys_of(self._hints[name])
            elif name not in self._injected_names:
                found.append(_Field(name, self._hints[name], each.default, descriptions.get(name)))
        return {f"p{number}": field for number, field in enumerate(found)}

    @cached_property
    def _extra(self) -> object:
        """The type of ``**arguments`` of any name; None where there are none."""
        hints = [self._hints[name] for name, each in self._parameters.items() if each.kind is Parameter.VAR_KEYWORD]
        return hints[0] if hints and get_origin(hints[0]) not in _UNPACKS else None

    @cached_property
    def _made(self) -> tuple[type[BaseModel], Schema]:
        for name, each in self._parameters.items():
            if name in {"self", "cls"} and each.annotation is Parameter.empty:
                refuse(self._tool, f"{name} is missing: give the method of an object, like agent.search", name)
        try:
            model, schema = self._make(self._fields, self._extra)
        except _UNUSABLE as error:
            self._refuse_the_type(error)
        return model, compact(schema)

    def _make(self, fields: Mapping[str, _Field], extra: object) -> tuple[type[BaseModel], Schema]:
        # The fields go by other names than the parameters, which may be any that pydantic has a use for, like `copy`
        # or `model_config`, or that begin with an underscore.
        definitions: dict[str, Any] = {key: field.definition for key, field in fields.items()}
        if extra is not None:
            definitions["__pydantic_extra__"] = (GenericAlias(dict, (str, extra)), ...)
        config = ConfigDict(extra="forbid" if extra is None else "allow", allow_inf_nan=False)
        model = create_model("Arguments", __config__=config, **definitions)
        schema: Schema = model.model_json_schema(schema_generator=_SchemaWriter)
        return model, {"type": "object", "properties": {}, **schema}

    def _refuse_the_type(self, whole: Exception) -> NoReturn:
        for key, field in self._fields.items():
            try:
                self._make({key: field}, None)
            except _UNUSABLE as error:
                refuse(self._tool, _unusable(field.name, error), field.name)
        refuse(self._tool, _unusable("its parameters", whole))


def _unusable(what: str, error: Exception) -> str:
    reason = cut(str(getattr(error, "message", error)).partition("\n")[0].partition(". ")[0].rstrip("."))
    return (
        f"no JSON schema can be made of the type of {what} ({reason}): use one that JSON can hold, "
        "or keep it from the model, by ToolContext or functools.partial"
    )


def _keys_of(hint: object) -> Iterator[_Field]:
    """List what a TypedDict allows in ``**options: Unpack[Options]``; nothing of another type."""
    if get_origin(hint) not in _UNPACKS:
        return
    (options,) = get_args(hint)
    for name, each in get_type_hints(options, include_extras=True).items():
        kind = each
        while get_origin(kind) in _MARKS:
            (kind,) = get_args(kind)
        yield _Field(name, kind, may_be_missing=name not in options.__required_keys__)


def _problem(error: ErrorDetails, data: JsonValue) -> Problem:
    """Put a finding of pydantic's into words that know nothing of pydantic."""
    kind, context = error["type"], error.get("ctx", {})
    missing = kind.startswith("missing")
    place, value = _find(error["loc"], data, new=missing)
    if missing:
        return Problem(place, REQUIRED)
    if kind == "extra_forbidden":
        return Problem(place, UNKNOWN)
    if kind == "union_tag_not_found":
        return Problem((*place, str(context["discriminator"]).strip("'")), REQUIRED)
    if kind == "union_tag_invalid":
        tag = (*place, str(context["discriminator"]).strip("'"))
        return Problem(tag, f"should be one of {context['expected_tags']}", shown(context["tag"]))
    text = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    subject, should, rule = text.partition(" should ")
    if should and subject.isalpha():  # "Input should be ...", "String should have ..."
        return Problem(place, f"should {rule}", shown(value))
    return Problem(place, text)


def _find(steps: tuple[int | str, ...], data: JsonValue, *, new: bool) -> tuple[tuple[int | str, ...], JsonValue]:
    """Follow pydantic's steps through what the model wrote, leaving out those that are names of types."""
    place: list[int | str] = []
    for number, step in enumerate(steps, start=1):
        inside: dict[int | str, JsonValue] = {}
        inside.update(enumerate(data) if isinstance(data, list) else as_object(data))
        if step in inside:
            data = inside[step]
            place.append(step)
        elif new and number == len(steps):
            place.append(step)
    return tuple(place), data
