"""Tools as they are offered: names that the model accepts, and back again; parameters that are a schema."""

from collections.abc import Mapping
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client._engine.mistral import Prepared, prepare
from nemotron_client._engine.naming import NAME, make_id
from nemotron_client._engine.offered import names_of, restore_names
from nemotron_client.completions import ChatCompletion, ChatCompletionChunk
from nemotron_client.errors import InvalidConversationError, ToolDefinitionError
from nemotron_client.messages import Repair
from tests.engine.histories import Json, asked, call, result, tool, user

LONG = "n" * 70
NOTHING: Mapping[str, object] = {"type": "object", "properties": {}}


def offered(*tools: Json, choice: object = None) -> Prepared:
    return prepare([user()], tools, choice)


def refused(*tools: Json, choice: object = None) -> tuple[str | None, str]:
    with pytest.raises(ToolDefinitionError) as caught:
        offered(*tools, choice=choice)
    return caught.value.parameter, str(caught.value)


class TestNames:
    @pytest.mark.parametrize("name", ["get_weather", "a", "A-1_b", "n" * 64])
    def test_one_that_the_model_accepts_is_sent_as_it_is(self, name: str) -> None:
        choice = {"type": "function", "function": {"name": name}}
        assert offered(tool(name), choice=choice) == Prepared([user()], [tool(name)], choice)

    @pytest.mark.parametrize(
        ("name", "as_sent"),
        [
            ("weather.get", "weather_get"),
            ("server:get weather", "server_get_weather"),
            (LONG, "n" * 64),
            ("größe", "gr__e"),
            ("天気", f"___{make_id('天気')}"),
        ],
    )
    def test_another_is_mapped_wherever_it_stands(self, name: str, as_sent: str) -> None:
        history = [user(), asked(call(name=name)), result(name=name), user()]
        choice = {"type": "function", "function": {"name": name}}
        prepared = prepare(history, [tool(name)], choice)
        assert prepared.tools == [tool(as_sent)]
        assert prepared.messages == [user(), asked(call(name=as_sent)), result(name=as_sent), user()]
        assert prepared.tool_choice == {"type": "function", "function": {"name": as_sent}}
        assert prepared.names == {as_sent: name}
        detail = (
            f"The tool name {name!r} is not up to 64 letters, digits, underscores and dashes; "
            f"tools[0] is sent as {as_sent!r}."
        )
        assert prepared.repairs == (Repair("tool_name", None, detail),)

    def test_one_that_only_the_history_has_is_mapped_and_told_once(self) -> None:
        history = [user(), asked(call(name="a.b")), result(), asked(call(name="a.b")), result()]
        prepared = prepare(history)
        assert prepared.messages == [user(), asked(call(name="a_b")), result(), asked(call(name="a_b")), result()]
        detail = "The tool name 'a.b' is not up to 64 letters, digits, underscores and dashes; it is sent as 'a_b'."
        assert prepared.repairs == (Repair("tool_name", 1, detail),)

    def test_two_never_become_one(self) -> None:
        history = [user(), asked(call(name="a_c")), result()]
        prepared = prepare(history, [tool("a.b"), tool("a/b"), tool("a b"), tool("a_b"), tool("a.c")])
        mapped = {own: sent for sent, own in prepared.names.items()}
        assert mapped == {
            "a.b": f"a_b_{make_id('a.b', 1)}",
            "a/b": f"a_b_{make_id('a/b', 1)}",
            "a b": f"a_b_{make_id('a b', 1)}",
            "a.c": f"a_c_{make_id('a.c', 1)}",
        }

    @given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=8, unique=True))
    def test_all_are_accepted_told_apart_and_lead_back(self, names: list[str]) -> None:
        prepared = offered(*map(tool, names))
        sent = names_of(prepared.tools or ())
        assert all(NAME.fullmatch(name) for name in sent)
        assert [prepared.names.get(name, name) for name in sent] == names

    def test_the_name_of_a_result_that_no_server_accepts_becomes_that_of_its_call(self) -> None:
        for name in ("functions.look", "", 5):
            prepared = prepare([user(), asked(call()), result(name=name)])
            assert prepared.messages[-1] == result(name="look")
            detail = (
                f"The tool name {name!r} is not up to 64 letters, digits, underscores and dashes; it is sent as 'look'."
            )
            assert prepared.repairs == (Repair("tool_name", 2, detail),)

    @pytest.mark.parametrize("name", [None, "", 5])
    def test_a_tool_without_one_is_an_error(self, name: object) -> None:
        assert refused(tool(), tool(name)) == (
            "tools[1].function.name",
            f"tools[1] has the name {name!r}: give one of up to 64 letters, digits, underscores and dashes.",
        )

    def test_two_tools_of_one_name_are_an_error(self) -> None:
        assert refused(tool("a"), tool("b"), tool("a")) == (
            "tools[2].function.name",
            "tools[2] has the name 'a', which tools[0] has too: give each tool a name of its own.",
        )

    def test_a_choice_of_a_tool_that_isnt_offered_is_an_error(self) -> None:
        assert refused(tool("a"), tool("b"), choice={"type": "function", "function": {"name": "c"}}) == (
            "tool_choice",
            "tool_choice names the tool 'c', which is not among tools: a, b.",
        )

    @pytest.mark.parametrize("choice", [None, "auto", "required", {"type": "function"}, {"function": {}}])
    def test_a_choice_that_names_none_is_left_alone(self, choice: object) -> None:
        assert offered(tool(), choice=choice).tool_choice == choice

    def test_and_so_is_one_where_the_tools_are_not_known(self) -> None:
        choice = {"type": "function", "function": {"name": "a.b"}}
        history = [user(), asked(call()), result()]
        assert prepare(history, None, choice) == Prepared(history, None, choice)


class TestParameters:
    @pytest.mark.parametrize(
        "parameters",
        [
            {},
            {"type": "object", "properties": {"city": {"type": "string", "minLength": 1}}, "required": ["city"]},
            {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "integer"}}},
            {"type": "object", "properties": {"pair": {"type": "array", "prefixItems": [{"type": "string"}]}}},
        ],
    )
    def test_a_schema_is_sent_as_it_is(self, parameters: Json) -> None:
        assert offered(tool(parameters=parameters)) == Prepared([user()], [tool(parameters=parameters)])

    @pytest.mark.parametrize("function", [{"name": "look"}, {"name": "look", "parameters": None}])
    def test_none_are_those_of_a_tool_that_takes_nothing(self, function: Json) -> None:
        prepared = offered({"type": "function", "function": function})
        assert prepared.tools == [tool(parameters=NOTHING)]
        assert prepared.repairs == (
            Repair("parameters", None, "The tool 'look' has no parameters; it is sent as one that takes none."),
        )

    @pytest.mark.parametrize(
        ("parameters", "place", "reason"),
        [
            ({"type": "objekt"}, ".type", "'objekt' is not valid under any of the given schemas"),
            (
                {"type": "object", "properties": {"city": {"type": "str"}}},
                ".properties.city.type",
                "'str' is not valid under any of the given schemas",
            ),
            ({"anyOf": [{}, {"minLength": -1}]}, ".anyOf[1].minLength", "-1 is less than the minimum of 0"),
            ({"required": "city"}, ".required", "'city' is not of type 'array'"),
            (
                {"properties": {"n": {"exclusiveMinimum": True}}},
                ".properties.n.exclusiveMinimum",
                "True is not of type 'number'",
            ),
        ],
    )
    def test_what_is_no_schema_of_draft_7_is_an_error(self, parameters: Json, place: str, reason: str) -> None:
        for _ in range(2):  # the verdict is kept
            where = f"tools[0].function.parameters{place}"
            assert refused(tool(parameters=parameters)) == (
                where,
                f"The tool 'look' has parameters that are no JSON Schema of draft 7: {where}: {reason}.",
            )

    def test_a_long_reason_is_shortened(self) -> None:
        _, words = refused(tool(parameters={"type": "x" * 1000}))
        assert words.endswith("xxx....")
        assert len(words) < 400

    def test_a_schema_without_end_is_an_error(self) -> None:
        schema: Json = {}
        for _ in range(250):
            schema = {"type": "array", "items": schema}
        assert refused(tool(parameters=schema))[1].endswith("it is nested too deeply.")

    def test_parameters_that_are_no_object_are_an_error(self) -> None:
        assert refused(tool(parameters=[1])) == (
            "tools[0].function.parameters",
            "The tool 'look' has parameters of type list: give a JSON Schema of an object.",
        )

    @pytest.mark.parametrize("bad", [{}, {"type": "function"}, {"type": "function", "name": "look", "function": None}])
    def test_a_tool_without_a_function_is_an_error(self, bad: Json) -> None:
        assert refused(bad) == (
            "tools[0].function",
            'tools[0] has no function: give {"type": "function", "function": {"name": ..., "parameters": ...}}.',
        )

    def test_a_schema_may_be_any_mapping(self) -> None:
        schema = {"type": "object", "properties": MappingProxyType({"a": {"enum": range(3)}})}
        assert offered(tool(parameters=MappingProxyType(schema))).repairs == ()
        assert refused(tool(parameters=MappingProxyType({"type": "x"})))[0] == "tools[0].function.parameters.type"

    def test_one_that_has_no_form_in_json_is_left_for_the_error_that_names_the_place(self) -> None:
        given_tool = tool(parameters={"type": object()})
        assert offered(given_tool).tools == [given_tool]


def test_strict_changes_no_tool_either() -> None:
    with pytest.raises(ToolDefinitionError) as caught:
        prepare([user()], [{"type": "function", "function": {"name": "look"}}], mode="strict")
    assert caught.value.parameter == "tools"
    assert str(caught.value) == (
        "The tool 'look' has no parameters; it is sent as one that takes none. But repair=\"strict\" changes nothing."
    )


def test_the_callers_tools_are_told_of_before_the_messages() -> None:
    prepared = prepare([user(None)], [tool("a.b")])
    assert [repair.rule for repair in prepared.repairs] == ["tool_name", "empty_content"]
    with pytest.raises(InvalidConversationError):
        prepare([user(None)], [tool()], mode="strict")


class TestWayBack:
    NAMES: Mapping[str, str] = {"a_b": "a.b"}

    def test_an_answer_calls_the_tools_by_the_callers_names(self) -> None:
        calls = [call(name="a_b"), call("abcdefgh2", "look")]
        answer = ChatCompletion.model_validate({"choices": [{"message": asked(*calls)}, {"message": {}}]})
        restore_names(answer, self.NAMES)
        assert [each.function.name for each in answer.tool_calls] == ["a.b", "look"]

    def test_so_does_a_chunk(self) -> None:
        deltas = [{"function": {"name": "a_b"}}, {"function": {"arguments": "{"}}, {"id": "x"}]
        chunk = ChatCompletionChunk.model_validate({"choices": [{"delta": {"tool_calls": deltas}}, {}]})
        restore_names(chunk, self.NAMES)
        functions = [each.function for each in chunk.choices[0].delta.tool_calls or ()]
        assert [function and function.name for function in functions] == ["a.b", None, None]
