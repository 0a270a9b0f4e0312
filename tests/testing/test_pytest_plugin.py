"""The pytest plugin, in test runs of its own: fixtures, recording, and what it costs whoever uses none."""

import json
import sys
from pathlib import Path

import pytest

from nemotron_client.testing import MockServer
from nemotron_client.testing.plugin import cassette_name
from tests.testing.conftest import PLUGIN, Run

# --- Fixtures ---


def test_a_fake_and_a_server_are_given_as_fixtures(run: Run) -> None:
    run("""
    def test_fake(nemotron_fake):
        nemotron_fake.reply("Hi!")
        assert ask(nemotron_fake.client()) == "Hi!"

    def test_server(nemotron_server):
        with Nemotron(base_url=nemotron_server.base_url) as client:
            assert ask(client).startswith("Hello!")
    """).assert_outcomes(passed=2)


def test_a_mistake_in_the_script_of_a_fake_fails_the_test_that_swallowed_it(run: Run) -> None:
    done = run("""
    def mistaken(request):
        raise LookupError("mistaken")

    def test_swallowed(nemotron_fake):
        nemotron_fake.reply(mistaken)
        with pytest.raises(LookupError):
            ask(nemotron_fake.client())

    def test_met(nemotron_fake):
        nemotron_fake.reply(mistaken)
        ask(nemotron_fake.client())
    """)
    done.assert_outcomes(passed=1, errors=1, failed=1)


def test_a_test_that_fails_is_told_of_the_end_of_its_script_and_no_warning_masks_it(run: Run) -> None:
    done = run(
        """
    def test_failed(nemotron_fake):
        nemotron_fake.reply("One")
        assert ask(nemotron_fake.client()) == ask(nemotron_fake.client(), "Really?")

    def test_skipped(nemotron_fake):
        nemotron_fake.reply("One")
        ask(nemotron_fake.client()), ask(nemotron_fake.client())
        pytest.skip("not now")
    """,
        "-W",
        "error",
    )
    done.assert_outcomes(failed=1, skipped=1)
    done.stdout.fnmatch_lines(["*The script ended after its reply 1. Answered without it: 'Really?'.*"])


# --- Cassettes ---

RECORDED = """
    @pytest.mark.parametrize("question", ["Hello", "../../x"])
    def test_answer(nemotron_cassette, question):
        client = nemotron_cassette.client(base_url="{}", model="mistralai/mistral-nemotron", api_key="a-secret-key")
        assert ask(client, question)
"""


def test_a_cassette_is_recorded_when_told_and_replayed_from_then_on(run: Run, pytester: pytest.Pytester) -> None:
    with MockServer() as server:
        code = RECORDED.format(server.base_url)
        run(code, "--nemotron-cassettes=auto").assert_outcomes(passed=2)
        run(code, "--nemotron-cassettes=auto").assert_outcomes(passed=2)
        assert server.posts == 2
    run(code).assert_outcomes(passed=2)
    written = sorted(path.relative_to(pytester.path) for path in pytester.path.rglob("*.json"))
    assert [path.parent for path in written] == [Path("cassettes/test_app")] * 2
    escaping = f"{cassette_name('test_app.py::test_answer[../../x]')}.json"
    assert [path.name for path in written] == [escaping, "test_answer-Hello.json"]
    assert all("a-secret-key" not in path.read_text() for path in pytester.path.rglob("*.json"))


def test_a_subtest_that_fails_leaves_a_cassette_as_it_was(run: Run, pytester: pytest.Pytester) -> None:
    code = """
    def test_answers(nemotron_cassette, subtests):
        client = nemotron_cassette.client(base_url="{}", model="mistralai/mistral-nemotron")
        for question in ("Hello", "Hi"):
            with subtests.test(question):
                assert ask(client, question) == "{}"
    """
    with MockServer() as server:
        server.always("Hi!")
        run(code.format(server.base_url, "Hi!"), "--nemotron-cassettes=record")
        (written,) = pytester.path.rglob("*.json")
        before = written.read_bytes()
        done = run(code.format(server.base_url, "Bye!"), "--nemotron-cassettes=record")
    done.stdout.fnmatch_lines(["*test_answers.json was not written*"])
    assert written.read_bytes() == before


def test_a_fixture_may_be_asked_for_in_the_test(run: Run) -> None:
    run("""
    def test_lazy(request):
        assert ask(request.getfixturevalue("nemotron_fake").client())
    """).assert_outcomes(passed=1)


def test_a_subtest_that_is_skipped_is_no_failure(run: Run, pytester: pytest.Pytester) -> None:
    code = """
    def test_answers(nemotron_cassette, subtests):
        client = nemotron_cassette.client(base_url="{}", model="mistralai/mistral-nemotron")
        with subtests.test("one"):
            pytest.skip("not now")
        assert ask(client)
    """
    with MockServer() as server:
        run(code.format(server.base_url), "--nemotron-cassettes=record")
    assert len([*pytester.path.rglob("*.json")]) == 1


def test_no_two_tests_have_one_cassette() -> None:
    parameters = ["a::b", "a.b", "c[d", "c-d", "c]d", "a", "a]", ""]
    tests = [*(f"t.py::test_x[{each}]" for each in parameters), "t.py::test_x", "t.py::TestX::test_x[a]"]
    assert len({cassette_name(test) for test in tests}) == len(tests)
    assert cassette_name("t.py::TestX::test_x[a.b-1]") == "TestX.test_x-a.b-1"


def test_a_changed_request_fails_once_and_tells_how_to_record_it(run: Run) -> None:
    with MockServer() as server:
        run(RECORDED.format(server.base_url), "--nemotron-cassettes=record")
    changed = run(
        RECORDED.format("http://elsewhere/v1").replace("ask(client, question)", "ask(client, 'x' + question)")
    )
    changed.assert_outcomes(failed=2)
    changed.stdout.fnmatch_lines(
        ['*-        "content": "Hello",', '*+        "content": "xHello",', "*pytest --nemotron-*"]
    )


def test_without_a_cassette_replaying_fails(run: Run) -> None:
    done = run(RECORDED.format("http://elsewhere/v1"))
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["*There is no cassette *test_answer-Hello.json*"])


def test_an_unused_recording_is_among_the_warnings(run: Run) -> None:
    twice = """
    def test_answer(nemotron_cassette):
        client = nemotron_cassette.client(base_url="{}", model="mistralai/mistral-nemotron")
        ask(client, "One")
        ask(client, "Two")
    """
    with MockServer() as server:
        run(twice.format(server.base_url), "--nemotron-cassettes=record")
    once = twice.format("http://elsewhere/v1").replace('ask(client, "Two")', "")
    done = run(once, "-W", "always")  # here they would be errors
    done.assert_outcomes(passed=1, warnings=1)
    done.stdout.fnmatch_lines(["*UnusedRecordingWarning: *recording 2 of 2 was not asked for. To record anew: *"])


def test_what_else_is_to_be_taken_out_is_a_fixture(run: Run, pytester: pytest.Pytester) -> None:
    with MockServer() as server:
        run(
            f"""
    @pytest.fixture(scope="session")
    def nemotron_redact():
        return ["Jane Doe"]

    class TestChat:
        def test_answer(self, nemotron_cassette):
            ask(nemotron_cassette.client(base_url="{server.base_url}"), "I am Jane Doe")
    """,
            "--nemotron-cassettes=record",
        ).assert_outcomes(passed=1)
    (path,) = pytester.path.rglob("*.json")
    assert path.name == "TestChat.test_answer.json"
    said = json.loads(path.read_text())["recordings"][-1]["request"]["json"]["messages"]
    assert said == [{"content": "I am ***", "role": "user"}]


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("tests/test_app.py::test_hello", "test_hello"),
        ("test_app.py::TestChat::test_hello[fast-2.5]", "TestChat.test_hello-fast-2.5"),
        ("test_app.py::test_hello[../../etc/passwd]", "test_hello-..-..-etc-passwd-{}"),
        ("test_app.py::test_hello[a/b]", "test_hello-a-b-{}"),
        ("test_app.py::test_hello[a\\b\0]", "test_hello-a-b--{}"),
        ("test_app.py::test_" + "x" * 300, "test_" + "x" * 95 + "-{}"),
    ],
)
def test_the_name_of_a_cassette_leads_nowhere_and_is_its_tests_alone(node: str, name: str) -> None:
    given = cassette_name(node)
    assert "/" not in given
    head, _, digest = given.rpartition("-")
    assert given == name.format(digest)
    if name.endswith("{}"):
        assert cassette_name(node + "x") != given
        assert (len(digest), head) == (8, name.removesuffix("-{}"))


# --- What it costs whoever uses none of it ---


def test_a_project_that_uses_none_of_it_loads_none_of_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile("""
    import sys

    def test_loaded():
        loaded = {name.partition(".")[0] for name in sys.modules}
        assert "nemotron_client_pytest" in loaded
        assert not loaded & {"nemotron_client", "httpx", "httpx2", "pydantic", "uvicorn"}
    """)
    root = Path(__file__).parents[2]
    pytester.makeini(f"[pytest]\npythonpath = {root}")
    done = pytester.run(sys.executable, "-m", "pytest", "-q", *("-p", PLUGIN), *("-p", "no:cacheprovider"), timeout=60)
    done.assert_outcomes(passed=1)
