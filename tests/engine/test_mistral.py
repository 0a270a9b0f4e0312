"""The model's conversation rules: what is put right, how it is told, and what is an error."""

from collections.abc import Sequence
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from nemotron_client._engine.mistral import Prepared, prepare
from nemotron_client._engine.naming import make_id
from nemotron_client.errors import InvalidConversationError
from nemotron_client.messages import FunctionCall, Repair, Repairing, ToolCall
from tests.engine.histories import Json, asked, call, result, said, system, tool, user

NINE = "abcdefgh1"
FOREIGN = "call_9KqY0rJ8RuG5wqQyWbq9TdC3"
SENT = "XKUzEEYyB"
OK = said("OK.")


def sent(*messages: Json, mode: Repairing = "auto", bridge: bool = False, continues: bool = False) -> list[Json]:
    return prepare(messages, mode=mode, bridge=bridge, continues=continues).messages


def repairs(*messages: Json, mode: Repairing = "auto", bridge: bool = False) -> Sequence[Repair]:
    return prepare(messages, mode=mode, bridge=bridge).repairs


def refused(*messages: Json, mode: Repairing = "auto", bridge: bool = False, continues: bool = False) -> str:
    """Return the words of the error, after the place in front of them that ``parameter`` tells too."""
    with pytest.raises(InvalidConversationError) as caught:
        prepare(messages, mode=mode, bridge=bridge, continues=continues)
    assert str(caught.value).startswith(str(caught.value.parameter))
    return str(caught.value)


class TestWhatIsRight:
    @pytest.mark.parametrize(
        "messages",
        [
            pytest.param([user()], id="a-question"),
            pytest.param([system(), system(), user(), user()], id="several-of-a-role"),
            pytest.param([user(), system(), user()], id="system-after-user"),
            pytest.param([said(), user()], id="a-greeting"),
            pytest.param([user(), said(), said(), user()], id="text"),
            pytest.param([system()], id="system-alone"),
            pytest.param([user([{"type": "text", "text": "Hi"}])], id="parts"),
            pytest.param([user("")], id="an-empty-question"),
            pytest.param([user(), asked(call()), result()], id="a-result"),
            pytest.param([user(), asked(call()), result(content="")], id="an-empty-result"),
            pytest.param([user(), asked(call(), content="Let me see."), result(name="look")], id="text-beside-a-call"),
            pytest.param(
                [user(), asked(call(), call("abcdefgh2")), result("abcdefgh2"), result()], id="results-in-any-order"
            ),
            pytest.param([user(), asked(call()), result(), asked(call()), result()], id="an-id-used-again-later"),
            pytest.param([user(), asked(call()), result(), said(), user()], id="an-answer-after-a-result"),
            pytest.param([user(), said("Hel", prefix=True)], id="a-prefix"),
            pytest.param([user(), {"role": "assistant", "tool_calls": [call()]}, result()], id="no-content-at-all"),
        ],
    )
    @pytest.mark.parametrize("mode", ["auto", "fill", "strict", "off"])
    def test_is_sent_as_it_is(self, messages: list[Json], mode: Repairing) -> None:
        prepared = prepare(messages, mode=mode, bridge=True)
        assert prepared == Prepared(messages)
        assert all(ours is theirs for ours, theirs in zip(prepared.messages, messages, strict=True))

    def test_may_be_any_mapping(self) -> None:
        message = MappingProxyType(user())
        assert sent(message) == [message]

    def test_may_hold_the_classes_of_this_library(self) -> None:
        made = ToolCall(id=NINE, function=FunctionCall(name="look", arguments="{}"))
        within = {"id": NINE, "type": "function", "function": FunctionCall(name="look", arguments="{}")}
        for given_call in (made, within):
            assert repairs(user(), asked(given_call), result()) == ()
            assert sent(user(), asked(given_call), result()) == [user(), asked(call()), result()]

    def test_an_answer_to_be_continued_may_be_empty(self) -> None:
        assert sent(user(), said(None), continues=True) == [user(), said("")]
        assert repairs(user(), said("", prefix=True)) == ()


class TestIds:
    def test_a_foreign_id_becomes_nine_characters_in_call_and_result(self) -> None:
        history = [user(), asked(call(FOREIGN)), result(FOREIGN)]
        assert sent(*history) == [user(), asked(call(SENT)), result(SENT)]
        detail = (
            f"The id {FOREIGN!r} is not a text of nine letters or digits; the call of look is sent with {SENT!r}, "
            "and so is its result."
        )
        assert repairs(*history) == (Repair("tool_call_id", 1, detail),)

    @pytest.mark.parametrize(
        "id", ["toolu_01A09q90qw90lq917835lq9", "call_1", "abcdefgh", "abcdefgh12", "abcdefgh\n", "abcdefgh-", "\ud800"]
    )
    def test_it_is_always_the_same_for_the_same_id(self, id: str) -> None:
        first = sent(user(), asked(call(id)), result(id))
        later = sent(user(), asked(call(FOREIGN)), result(FOREIGN), said(), user(), asked(call(id)), result(id))
        assert later[-2:] == first[-2:]

    @given(st.lists(st.text(max_size=12), unique=True, min_size=2, max_size=6))
    def test_two_ids_never_become_one(self, ids: list[str]) -> None:
        told_apart = [each for each in ids if each not in ("", "null")]
        _, asker, *results = sent(user(), asked(*map(call, told_apart), call("x")), *map(result, [*told_apart, "x"]))
        made = [message["tool_call_id"] for message in results]
        assert len(set(made)) == len(made)
        assert asker == asked(*map(call, made))

    def test_not_even_where_one_of_the_history_is_what_another_would_become(self) -> None:
        history = [user(), asked(call(FOREIGN)), result(FOREIGN), asked(call(SENT)), result(SENT)]
        other = make_id(FOREIGN, 1)
        assert sent(*history) == [user(), asked(call(other)), result(other), asked(call(SENT)), result(SENT)]

    def test_a_number_is_no_id(self) -> None:
        history = [user(), asked(call(123456789)), result(123456789)]
        assert sent(*history) == [user(), asked(call("123456789")), result("123456789")]
        (repair,) = repairs(*history)
        assert repair.detail.startswith("The id 123456789 is not a text of nine letters or digits;")

    @pytest.mark.parametrize("none", ["", None, "null"])
    def test_calls_without_ids_get_them_and_so_do_their_results_in_order(self, none: object) -> None:
        history = [user(), asked(call(none), call(none, "seek")), result(none, "1"), result(none, "2")]
        first, second = make_id("0 look {}"), make_id("1 seek {}")
        assert sent(*history) == [
            user(),
            asked(call(first), call(second, "seek")),
            result(first, "1"),
            result(second, "2"),
        ]
        told = [(repair.message, repair.detail) for repair in repairs(*history)]
        assert told == [
            (1, f"The call of look has no id; it is sent with {first!r}, and so is its result."),
            (1, f"The call of seek has no id; it is sent with {second!r}, and so is its result."),
        ]

    def test_names_tell_more_than_the_order(self) -> None:
        history = [
            user(),
            asked(call(""), call("", "seek")),
            result("", "2", name="seek"),
            result("", "1", name="look"),
        ]
        first, second = make_id("0 look {}"), make_id("1 seek {}")
        assert sent(*history)[2:] == [result(second, "2", name="seek"), result(first, "1", name="look")]

    def test_a_result_that_names_no_call_answers_the_only_one_that_is_open(self) -> None:
        history = [user(), asked(call(), call("abcdefgh2")), result("abcdefgh2"), result(None)]
        assert sent(*history)[-1] == result()
        detail = f"It doesn't tell its call; it is sent with {NINE!r}, its id."
        assert repairs(*history) == (Repair("tool_call_id", 3, detail),)

    def test_a_call_without_an_id_is_answered_by_the_only_result_there_is(self) -> None:
        made = make_id("0 look {}")
        assert sent(user(), asked(call(None)), result("call_1"))[1:] == [asked(call(made)), result(made)]

    def test_an_id_that_stands_twice_in_a_turn_is_told_apart_by_order(self) -> None:
        history = [user(), asked(call(), call(name="seek")), result(content="1"), result(content="2")]
        other = make_id(f"{NINE} 1")
        assert sent(*history)[1:] == [asked(call(), call(other, "seek")), result(NINE, "1"), result(other, "2")]
        detail = (
            f"The id {NINE!r} was given to an earlier call of this message; the call of seek is sent with {other!r}, "
            "and so is its result."
        )
        assert repairs(*history)[0] == Repair("tool_call_id", 1, detail)

    @pytest.mark.parametrize(
        "history",
        [
            pytest.param([asked(call(), call("abcdefgh2")), result(None)], id="one-result-without-id"),
            pytest.param([asked(call(None), call(None)), result("call_1")], id="one-id-for-two-calls-without"),
            pytest.param([asked(call(), call()), result()], id="an-id-that-stands-twice"),
            pytest.param([asked(call(None), call(None)), result(None, name="look")], id="a-name-that-two-calls-have"),
            pytest.param(
                [asked(call(None), call(None)), result(None, name="a"), result(None, name="b")], id="names-of-no-call"
            ),
        ],
    )
    def test_where_it_is_in_doubt_nothing_is_guessed(self, history: list[Json]) -> None:
        for mode in ("auto", "fill"):
            assert refused(user(), *history, mode=mode) == (
                "messages[2] (role tool) leaves open which of 2 calls in messages[1] it answers: give each call an id "
                "of its own, and each result that id as tool_call_id."
            )


class TestResults:
    def test_a_missing_one_is_an_error(self) -> None:
        assert refused(user(), asked(call(FOREIGN)), said(), user()) == (
            f"messages[1] (role assistant) has no result for its call of look (id '{FOREIGN}'): put "
            f'{{"role": "tool", "tool_call_id": \'{FOREIGN}\', "content": ...}} right after it, or pass repair="fill" '
            "to have the model told that there is none."
        )

    @pytest.mark.parametrize(
        "history",
        [
            pytest.param([asked(call())], id="at-the-end"),
            pytest.param([asked(call(), call("abcdefgh2")), result("abcdefgh2")], id="one-of-two"),
            pytest.param([asked(call()), user()], id="before-a-question"),
            pytest.param([asked(call()), user(), said(), result(), user()], id="after-the-next-answer"),
        ],
    )
    def test_wherever_it_is_missing(self, history: list[Json]) -> None:
        words = "messages[1] (role assistant) has no result for its call of look (id 'abcdefgh1')"
        assert refused(user(), *history).startswith(words)

    def test_fill_says_plainly_that_the_call_was_not_carried_out(self) -> None:
        history = [user(), asked(call(FOREIGN), call("abcdefgh2")), result("abcdefgh2"), user()]
        filled = result(SENT, "There is no result: it is not known whether this call was carried out.")
        assert sent(*history, mode="fill") == [
            user(),
            asked(call(SENT), call("abcdefgh2")),
            result("abcdefgh2"),
            filled,
            user(),
        ]
        detail = f"The call of look (id '{FOREIGN}') has no result; one is sent that says so."
        assert repairs(*history, mode="fill")[1] == Repair("missing_result", 1, detail)

    @pytest.mark.parametrize(
        ("history", "words"),
        [
            pytest.param(
                [user(), result()],
                "messages[1] (role tool) answers no call: the assistant's last message before it has no tool_calls. "
                "Put it right after the message with its call, or leave it out.",
                id="of-no-call",
            ),
            pytest.param(
                [user(), asked(call()), result(), said(), result()],
                "messages[4] (role tool) answers no call: the assistant's last message before it has no tool_calls. "
                "Put it right after the message with its call, or leave it out.",
                id="after-an-answer",
            ),
            pytest.param(
                [user(), asked(call()), result("call_2")],
                "messages[2] (role tool) answers the call 'call_2', which messages[1] did not make: a result follows "
                "the assistant's message with its call, before the assistant speaks again, and has the call's id.",
                id="of-another-call",
            ),
            pytest.param(
                [user(), asked(call(), call(None)), result("call_2"), result(None)],
                "messages[2] (role tool) answers the call 'call_2', which messages[1] did not make: a result follows "
                "the assistant's message with its call, before the assistant speaks again, and has the call's id.",
                id="of-another-call-where-one-has-no-id",
            ),
            pytest.param(
                [user(), asked(call()), result(), result()],
                "messages[3] (role tool) is one result too many: messages[1] has 1 call that it could answer, which "
                "other results answer. Keep one result for each call.",
                id="a-second-one",
            ),
            pytest.param(
                [user(), asked(call(None), call(None)), result(None), result(None), result(None)],
                "messages[4] (role tool) is one result too many: messages[1] has 2 calls that it could answer, which "
                "other results answer. Keep one result for each call.",
                id="a-third-of-two",
            ),
        ],
    )
    @pytest.mark.parametrize("mode", ["auto", "fill", "strict"])
    def test_one_that_answers_nothing_is_an_error(self, history: list[Json], words: str, mode: Repairing) -> None:
        assert refused(*history, mode=mode) == words

    def test_one_that_comes_after_the_users_next_message_is_moved_to_its_call(self) -> None:
        history = [user(), asked(call(), call("abcdefgh2")), result(), user("And?"), result("abcdefgh2")]
        assert sent(*history) == [*history[:3], history[4], history[3]]
        detail = "It is sent right after its call, before messages[3]."
        assert repairs(*history) == (Repair("order", 4, detail),)

    def test_none_is_moved_past_a_system_message(self) -> None:
        assert refused(user(), asked(call()), system(), result()).startswith(
            "messages[2] (role system) stands after a message of role tool:"
        )


class Place(BaseModel):
    city: str


class TestCalls:
    def test_arguments_that_are_no_text_become_json(self) -> None:
        history = [user(), asked(call(arguments={"city": "Größe"})), result()]
        assert sent(*history) == [user(), asked(call(arguments='{"city":"Größe"}')), result()]
        detail = "The arguments of look are no text; they are sent as JSON."
        assert repairs(*history) == (Repair("arguments", 1, detail),)

    def test_arguments_may_be_an_object_of_the_caller_s_own(self) -> None:
        history = [user(), asked(call(arguments=Place(city="Oslo"))), result()]
        assert sent(*history) == [user(), asked(call(arguments='{"city":"Oslo"}')), result()]

    def test_a_call_without_a_name_is_called_so_in_what_is_told(self) -> None:
        history = [user(), asked(call(name="", arguments="")), result()]
        assert "The arguments of an unnamed function are no JSON object; {} is sent." in {
            each.detail for each in repairs(*history)
        }

    @pytest.mark.parametrize(
        "arguments",
        [
            *(None, [1], 1.5, "", "  ", "null", "[1]", '"{}"', "5", '{"city": "Par', "{broken", "{} {}", "\ufeff{}"),
            pytest.param('{"a":' * 100_000, id="nested-too-deeply"),
        ],
    )
    def test_arguments_that_are_no_object_are_sent_as_none(self, arguments: object) -> None:
        history = [user(), asked(call(arguments=arguments)), result()]
        assert sent(*history) == [user(), asked(call(arguments="{}")), result()]
        assert repairs(*history) == (Repair("arguments", 1, "The arguments of look are no JSON object; {} is sent."),)

    @pytest.mark.parametrize("arguments", ["{}", ' {"a": NaN} ', '{"a": 1, "a": 1e999}', '{"a": "\\ud800"}'])
    def test_arguments_that_servers_read_are_left_as_they_are(self, arguments: str) -> None:
        history = [user(), asked(call(arguments=arguments)), result()]
        assert prepare(history) == Prepared(history)

    def test_a_call_that_the_server_gave_no_name_is_sent_with_one(self) -> None:
        history = [user(), asked(call(name="")), result()]
        assert sent(*history) == [user(), asked(call(name="unnamed")), result()]
        detail = "The tool name '' is not up to 64 letters, digits, underscores and dashes; it is sent as 'unnamed'."
        assert repairs(*history) == (Repair("tool_name", 1, detail),)

    def test_arguments_that_have_no_form_in_json_are_left_for_the_error_that_names_them(self) -> None:
        history = [user(), asked(call(arguments={"x": object()})), result()]
        assert prepare(history) == Prepared(history)

    @pytest.mark.parametrize(
        ("given", "told"), [({}, "no type"), ({"type": None}, "no type"), ({"type": "custom"}, "the type 'custom'")]
    )
    def test_whatever_has_a_function_is_a_call_of_one(self, given: Json, told: str) -> None:
        history = [user(), asked({"id": NINE, **given, "function": {"name": "look", "arguments": "{}"}}), result()]
        assert sent(*history) == [user(), asked(call()), result()]
        assert repairs(*history) == (
            Repair("tool_call_type", 1, f"The call of look has {told}; it is sent as a function."),
        )

    @pytest.mark.parametrize(
        "bad", [5, {}, {"id": NINE}, {"function": {}}, {"function": {"name": None}}, {"function": {"name": 5}}]
    )
    def test_a_call_without_a_name_is_an_error(self, bad: object) -> None:
        assert refused(user(), asked(call(), bad), result()) == (
            'messages[1] (role assistant) has no function name in tool_calls[1]: give {"id": ..., "function": '
            '{"name": ...}}.'
        )

    def test_calls_that_are_no_list_are_an_error(self) -> None:
        message = {"role": "assistant", "content": "", "tool_calls": call()}
        assert refused(user(), message) == "messages[1] (role assistant) has tool_calls of type dict: give a list."

    @pytest.mark.parametrize("content", [None, "Let me look."])
    def test_openais_older_form_of_a_call_is_an_error(self, content: str | None) -> None:
        old = said(content, function_call={"name": "look", "arguments": "{}"})
        assert refused(user(), old, user()) == (
            "messages[1] (role assistant) has function_call, OpenAI's older form: give tool_calls, and its result as "
            "role tool."
        )


class TestContent:
    def test_developer_is_system(self) -> None:
        assert sent({"role": "developer", "content": "x"}, user()) == [system("x"), user()]
        assert repairs({"role": "developer", "content": "x"}, user()) == (
            Repair("role", 0, "The role 'developer' is sent as 'system'."),
        )

    @pytest.mark.parametrize("message", [system(None), user(None), {"role": "user"}])
    def test_no_content_is_sent_as_an_empty_text(self, message: Json) -> None:
        assert sent(message, user()) == [{**message, "content": ""}, user()]
        detail = "It has no content; it is sent with an empty text."
        assert repairs(message, user()) == (Repair("empty_content", 0, detail),)

    def test_so_is_that_of_a_result(self) -> None:
        assert sent(user(), asked(call()), result(content=None)) == [user(), asked(call()), result(content="")]

    def test_and_that_of_a_developer(self) -> None:
        assert sent({"role": "developer", "content": None}, user()) == [system(""), user()]

    def test_none_beside_calls_is_sent_as_an_empty_text(self) -> None:
        history = [user(), asked(call(), content=None), result()]
        assert sent(*history) == [user(), asked(call()), result()]
        detail = "Its content is None; it is sent with an empty text."
        assert repairs(*history) == (Repair("empty_content", 1, detail),)

    @pytest.mark.parametrize(
        "message",
        [
            *(said(""), said(None), {"role": "assistant"}, said([], tool_calls=[])),
            said([{"type": "text", "text": ""}, {"type": "text"}]),
        ],
    )
    def test_an_assistants_message_that_says_nothing_is_left_out(self, message: Json) -> None:
        assert sent(user(), message) == [user()]
        assert sent(user(), message, user()) == [user(), user()]
        detail = "It has neither content nor tool calls; it is left out."
        assert repairs(user(), message) == (Repair("empty_content", 1, detail),)

    @pytest.mark.parametrize("part", [{"type": "text", "text": "x"}, {"type": "thinking", "thinking": "x"}, "x"])
    def test_a_message_of_parts_that_say_something_is_sent(self, part: object) -> None:
        history = [user(), said([{"type": "text", "text": ""}, part]), user()]
        assert prepare(history) == Prepared(history)

    def test_a_refusal_is_content(self) -> None:
        history = [user(), said(None, refusal="No."), user()]
        assert sent(*history) == [user(), said("No.", refusal="No."), user()]
        detail = "It has no content; its refusal is sent as that."
        assert repairs(*history) == (Repair("empty_content", 1, detail),)

    def test_a_mark_to_continue_is_taken_from_a_message_that_isnt_the_last(self) -> None:
        history = [user(), said("Hel", prefix=True), said("lo"), user()]
        assert sent(*history) == [user(), said("Hel"), said("lo"), user()]
        detail = "It is marked to be continued and isn't the last; it is sent without the mark."
        assert repairs(*history) == (Repair("prefix", 1, detail),)


class TestOrder:
    def test_a_user_after_a_tool_is_bridged_where_the_server_wants_it(self) -> None:
        history = [user(), asked(call()), result(), user("And?"), user("Well?")]
        assert sent(*history, bridge=True) == [*history[:3], OK, *history[3:]]
        detail = "It follows a tool's message; an assistant's 'OK.' is sent between the two."
        assert repairs(*history, bridge=True) == (Repair("user_after_tool", 3, detail),)

    def test_and_else_it_is_told_that_there_is_one(self) -> None:
        history = [user(), asked(call()), result(), user("And?")]
        assert prepare(history) == Prepared(history, unbridged=True)
        assert not prepare(history, bridge=True).unbridged

    def test_an_empty_message_between_the_two_is_no_bridge(self) -> None:
        history = [user(), asked(call()), result(), said(""), user()]
        assert sent(*history, bridge=True) == [*history[:3], OK, user()]

    @pytest.mark.parametrize(
        ("history", "index", "role"),
        [
            ([user(), said(), system(), user()], 2, "assistant"),
            ([user(), asked(call()), result(), system()], 3, "tool"),
            ([user(), said(), {"role": "developer", "content": "x"}, user()], 2, "assistant"),
        ],
    )
    def test_a_system_message_after_an_assistant_or_a_tool_is_an_error(
        self, history: list[Json], index: int, role: str
    ) -> None:
        assert refused(*history) == (
            f"messages[{index}] (role system) stands after a message of role {role}: put it at the beginning or after "
            "a user's message, or give it the role user."
        )

    def test_an_assistant_at_the_end_is_an_error(self) -> None:
        assert refused(user(), said("Hel")) == (
            "messages[1] (role assistant) is the last: end with a user's or a tool's message, or, to have it "
            "continued, pass continue_final_message=True and add_generation_prompt=False."
        )

    def test_unless_it_is_to_be_continued(self) -> None:
        assert sent(user(), said("Hel"), continues=True) == [user(), said("Hel")]

    def test_only_an_assistant_can_be_continued(self) -> None:
        assert refused(user(), continues=True) == (
            "messages[0] (role user) is the last and can't be continued: leave out continue_final_message."
        )

    @pytest.mark.parametrize(
        ("history", "continues"), [([said()], True), ([asked(call()), result()], False)], ids=["alone", "with-calls"]
    )
    def test_an_assistant_at_the_beginning_may_only_greet(self, history: list[Json], *, continues: bool) -> None:
        assert refused(*history, continues=continues) == (
            "messages[0] (role assistant) is the first, and has calls or stands alone: put a user's or a system "
            "message before it."
        )

    def test_nothing_but_empty_messages_is_an_error(self) -> None:
        assert refused(said("")) == (
            "messages has nothing to answer: its assistant's messages are empty. Add a user's message."
        )


class TestModes:
    def test_repairs_come_in_the_order_of_the_messages(self) -> None:
        history = [user(), asked(call(None), content=None), user(), result(None, None), user()]
        assert [(repair.rule, repair.message) for repair in repairs(*history, bridge=True)] == [
            ("empty_content", 1),
            ("tool_call_id", 1),
            ("user_after_tool", 2),
            ("empty_content", 3),
            ("order", 3),
        ]

    def test_strict_changes_nothing_and_says_what_it_would_have_changed(self) -> None:
        assert refused(user(), asked(call(), content=None), result(), mode="strict") == (
            "messages[1] (role assistant): Its content is None; it is sent with an empty text. "
            'But repair="strict" changes nothing.'
        )

    def test_strict_lets_a_user_follow_a_tool_where_the_server_does(self) -> None:
        history = [user(), asked(call()), result(), user()]
        assert sent(*history, mode="strict") == history
        assert "user" in refused(*history, mode="strict", bridge=True)

    def test_off_looks_at_nothing(self) -> None:
        history = [said(None), asked(5, call(FOREIGN)), {"role": "developer"}, result(7)]
        tools: list[Json] = [{"name": "no function"}]
        choice = {"function": {"name": "other"}}
        assert prepare(history, tools, choice, mode="off", bridge=True) == Prepared(history, tools, choice)

    def test_a_tool_is_looked_at_where_all_messages_are_text(self) -> None:
        assert prepare([user()], [tool()]) == Prepared([user()], [tool()])
