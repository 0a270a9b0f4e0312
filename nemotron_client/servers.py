"""Pydantic models of what a server tells of itself: its models, its version, whether it is ready."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import AliasChoices, Field

from .messages import Wire


class Model(Wire):
    """A model that a server offers.

    Attributes:
        id: Its name, for ``model=``.
        object: ``"model"``.
        created: When, in seconds since 1970; not to be relied on.
        owned_by: Who the server says made it.
        max_model_len: The window in tokens; only vLLM-based servers say it.
    """

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = ""
    max_model_len: int | None = Field(default=None, description="The window in tokens; only vLLM-based servers say it.")


class ModelList(list[Model]):
    """The models that a server offers; also as ``.data``, as OpenAI has it."""

    @property
    def data(self) -> list[Model]:
        """The same models."""
        return self


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a server can answer requests now; true or false in a condition.

    Attributes:
        ready: Whether it can.
        detail: What it said, or why it could not be asked.
        status_code: The HTTP status of the answer; None when none came.
    """

    ready: bool
    detail: str
    status_code: int | None = None

    def __bool__(self) -> bool:
        """Return whether the server is ready."""
        return self.ready


class ServerVersion(Wire):
    """What a server says of its version: vLLM sends ``version``, NIM sends ``release`` and ``api``.

    Attributes:
        version: vLLM's version, or the NIM's release.
        api: The version of NIM's API; None elsewhere.
    """

    version: str | None = Field(default=None, validation_alias=AliasChoices("version", "release"))
    api: str | None = None
