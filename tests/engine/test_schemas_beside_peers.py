"""What the model is told of a tool is at least as much as with other libraries."""

import json
from typing import Any

import pydantic
import pytest

from benchmarks.tool_schemas import FIXTURE, OURS, PAGE, PEERS, facts, ours, page
from tests.engine.tool_functions import FUNCTIONS

RECORDED: dict[str, Any] = json.loads(FIXTURE.read_text())
MADE: dict[str, dict[str, Any]] = RECORDED["schemas"]
NOT_TAKEN = {
    "open_arguments": ".labels",  # langchain-core offers `**labels` as one parameter of that name
    "description_in_both": ".city",  # langchain-core takes the docstring's description, all others the annotation's
}

WITH, HERE = (version.rpartition(".")[0] for version in (RECORDED["versions"]["pydantic"], pydantic.VERSION))
same_pydantic = pytest.mark.skipif(WITH != HERE, reason=f"schemas were recorded with pydantic {WITH}")


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("name", MADE)
def test_nothing_that_another_library_tells_is_missing(name: str, peer: str) -> None:
    told = {fact for fact in facts(MADE[name].get(peer, {})) if not fact[0].startswith(NOT_TAKEN.get(name, " "))}
    here = facts(MADE[name][OURS])
    if len(MADE[name][OURS]["properties"]) == 1:  # whose fields pydantic-ai offers in its place
        (only,) = MADE[name][OURS]["properties"]
        here |= {(place.removeprefix(f".{only}"), *rest) for place, *rest in here}  # type: ignore[misc] # of three
    assert told - here == set()


@same_pydantic
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_was_recorded_is_what_is_told(name: str) -> None:
    assert json.loads(json.dumps(ours(FUNCTIONS[name]))) == MADE[name][OURS]


def test_every_function_was_recorded() -> None:
    assert list(MADE) == list(FUNCTIONS)


def test_the_page_shows_what_was_recorded() -> None:
    assert PAGE.read_text() == page(RECORDED)


def test_facts_are_counted_wherever_they_stand() -> None:
    referred = {"$ref": "#/$defs/A", "description": "One.  ", "$defs": {"A": {"type": "string", "description": "Two."}}}
    assert facts(referred) == facts({"type": "string", "description": "One.\nTwo."})
    assert len(facts(referred)) == 3
