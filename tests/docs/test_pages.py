"""What the README and the pages of docs/ show is true: snippets run, print what they say, and links lead somewhere.

A ```python block runs as it is, a ```diff block as it is after the change; the blocks of a page share their names. A
```text block right after one is what it prints (`...` for what differs from run to run). A comment right before one,
which readers don't see, prepares it: it has `server`, `testing` and the page's names.
"""

import asyncio
import gc
import inspect
import logging
import os
import re
import subprocess
import sys
from codeop import compile_command
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from doctest import ELLIPSIS, OutputChecker
from functools import partial
from pathlib import Path

import anyio
import pytest

import nemotron_client
from nemotron_client import (
    APIError,
    ChatOptions,
    InvalidRequestError,
    Nemotron,
    ParseOptions,
    RunOptions,
    TextOptions,
    testing,
)
from nemotron_client._transport.blocking import Blocking
from nemotron_client.testing import FakeServer, MockServer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- (?P<before>.*?) -->\n)?"
    r"^```(?P<kind>python|diff)\n(?P<code>.*?)^```\n"
    r"(?:\n```text\n(?P<printed>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    before: str
    code: str
    printed: str | None
    line: int

    def run(self, page: Path, names: dict[str, object], server: MockServer) -> None:
        exec(self.before, {"server": server, "testing": testing}, names)  # noqa: S102 - our own pages
        numbered = "\n" * self.line + self.code  # so that a traceback tells the page's lines
        exec(compile(numbered, page, "exec"), names)  # noqa: S102


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in BLOCK.finditer(text):
        code = found["code"]
        if found["kind"] == "diff":
            code = "".join(line[1:] or "\n" for line in code.splitlines(keepends=True) if not line.startswith("-"))
        yield Block(found["before"] or "", code, found["printed"], text.count("\n", 0, found.start("code")))


def statements(code: str) -> Iterator[str]:
    """Split a block as the interactive interpreter does, which ends a `with` or a `def` at an empty line only."""
    typed: list[str] = []
    for line in [*code.splitlines(), ""]:
        typed.append(line)
        if compile_command("\n".join(typed), symbol="single"):
            yield "\n".join(typed)
            typed.clear()
    assert not typed, f"not finished: {typed}"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


WITH_SNIPPETS = [page for page in PAGES if any(blocks(page))]
RUNS = [
    pytest.param(page, loop, id=f"{name_of(page)}-{loop}")
    for page in WITH_SNIPPETS
    for loop in (("asyncio", "trio") if "asyncio.run(" in page.read_text() else ("no loop",))
]


def run_on_trio(main: Coroutine[object, object, object]) -> object:
    async def finish() -> object:
        return await main

    return anyio.run(finish, backend="trio")


def needs_asyncio(code: str) -> bool:
    return re.search(r"asyncio\.(?!run\b)", code) is not None


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    waited: list[float] = []
    monkeypatch.setattr("nemotron_client._transport.blocking.sleep", waited.append)
    yield
    logging.getLogger("nemotron_client").setLevel(logging.NOTSET)
    for each in gc.get_objects():  # pages don't close what they make, and an error may keep it alive for a while
        if isinstance(each, Blocking):
            each.close()


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(("page", "loop"), RUNS)
def test_each_snippet_of_a_page_runs_and_prints_what_the_page_says(
    page: Path, loop: str, server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if loop == "trio":
        monkeypatch.setattr(asyncio, "run", run_on_trio)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if loop == "trio" and needs_asyncio(block.code):
            continue
        block.run(page, names, server)
        printed = capsys.readouterr().out
        if block.printed is not None:
            same = OutputChecker().check_output(block.printed.strip(), printed.strip(), ELLIPSIS)
            assert same, f"{page.name}:{block.line + 1} printed:\n{printed}"
    names.clear()


def test_the_quickstart_can_be_typed_into_the_interactive_interpreter() -> None:
    for block in blocks(ROOT / "docs/quickstart.md"):
        assert list(statements(block.code))


def test_a_block_that_python_takes_and_the_interactive_interpreter_does_not_would_be_found() -> None:
    code = "with x:\n    y()\nz()\n"
    compile(code, "page", "exec")
    with pytest.raises(SyntaxError):
        list(statements(code))


TESTING = ROOT / "docs/how-to/test-your-application.md"
FAILURES = re.findall(r"^\| [^|]+ \| `(\w+\(.+)` \| `(\w+Error)` \|$", TESTING.read_text(), re.MULTILINE)


@pytest.mark.parametrize(("reply", "error"), FAILURES)
def test_each_failure_on_the_page_about_testing_raises_what_the_table_says(reply: str, error: str) -> None:
    with FakeServer() as fake:
        fake.reply(eval(reply, dict(vars(testing))))  # noqa: S307 - our own page
        client = fake.client(max_retries=0)
        with pytest.raises(APIError) as met, client.chat.completions.stream(messages="Hello") as stream:
            stream.get_final_text()
    assert type(met.value).__name__ == error


def test_the_table_of_failures_is_read() -> None:
    assert len(FAILURES) == 18


def test_the_tests_on_the_page_about_testing_pass(tmp_path: Path) -> None:
    file = tmp_path / "test_summaries.py"
    application, its_tests, an_asynchronous_one, those_of_an_agent, *_ = blocks(TESTING)
    file.write_text(application.code + its_tests.code + an_asynchronous_one.code + those_of_an_agent.code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(file)]
    done = subprocess.run(  # noqa: S603 - nothing in it comes from outside
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert "6 passed" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not link.startswith("https://"):
            path, _, heading = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not heading or heading in anchors(target), link


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_error(name: str) -> bool:
    thing: object = getattr(nemotron_client, name)
    return isinstance(thing, type) and issubclass(thing, Exception)


@pytest.mark.parametrize("name", nemotron_client.__all__)
def test_each_public_name_is_in_the_reference_or_among_the_errors(name: str) -> None:
    page = "how-to/errors.md" if is_error(name) else "reference/README.md"
    assert re.search(rf"\b{name}\b", (ROOT / "docs" / page).read_text())


@pytest.mark.parametrize("name", testing.__all__)
def test_each_public_name_of_the_testing_kit_is_in_the_reference(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/reference/README.md").read_text()


CALLS = {"create": ChatOptions, "parse": ParseOptions, "run": RunOptions, "text": TextOptions}
ROW = re.compile(r"^\| `(?P<option>\w+)` \| .+ \| (?P<give>.+) \| (?P<calls>[a-z, ]+) \| [\w ,]+ \|$", re.MULTILINE)
ROWS = [
    (option, give, CALLS if calls == "all" else calls.split(", "))
    for option, give, calls in ROW.findall((ROOT / "docs/reference/options.md").read_text())
]


def test_the_page_of_options_has_each_option_once_for_each_call_that_takes_it_and_no_other() -> None:
    told = sorted((option, call) for option, _, calls in ROWS for call in calls)
    assert told == sorted((option, call) for call, options in CALLS.items() for option in options.__annotations__)


def test_the_page_of_options_says_what_an_error_says_of_what_is_accepted() -> None:
    client = Nemotron(base_url="http://localhost/v1")
    answer = client.chat.completions
    asked: dict[str, Callable[..., object]] = {
        "create": partial(answer.create, messages="Hello"),
        "parse": partial(answer.parse, messages="Hello", response_format=int),
        "run": partial(answer.run_tools, messages="Hello", tools=[print]),
        "text": partial(client.completions.create, prompt="Hello"),
    }
    for option, give, calls in ROWS:
        for call in set(calls) if option != "context" else ():  # which may be anything
            with pytest.raises(InvalidRequestError) as refused:
                asked[call](**{option: object()})
            assert str(refused.value).endswith(f" is not possible: give {give}."), option


COMING = (ROOT / "docs/how-to/coming-from-openai-or-chatnvidia.md").read_text()
HERE = re.findall(r"^\|.+\| (.+) \|$", COMING, re.MULTILINE)  # the last column of each table
NAMED = {
    name for cell in HERE for code in re.findall("`([^`]+)`", cell) for name in re.findall(r"\b[A-Za-z_]\w+", code)
}
OTHER = {"client", "NVIDIA_API_KEY", "NVIDIA_BASE_URL", "delta", "done", "completion", "error", "str", "with"}


def test_what_code_that_comes_from_elsewhere_is_to_use_exists() -> None:
    client = Nemotron(base_url="http://localhost/v1")
    answer = client.chat.completions
    kinds = (nemotron_client.ParsedCompletion, nemotron_client.ChatStream, nemotron_client.Choice, APIError)
    more = (nemotron_client.APIStatusError, nemotron_client.StreamInterruptedError, nemotron_client.ResponseInfo)
    attributes = {*nemotron_client.__all__, *dir(client), *dir(client.chat), *dir(answer), *dir(client.models)}
    for kind in (*kinds, *more):
        attributes |= {*dir(kind), *(name for each in kind.__mro__ for name in inspect.get_annotations(each))}
    called = (Nemotron, nemotron_client.Timeout, APIError, answer.create, answer.parse, answer.run_tools)
    parameters = {name for each in called for name in inspect.signature(each).parameters}
    assert NAMED - attributes - parameters == OTHER


def test_errors_of_openai_have_here_the_parents_that_the_page_says() -> None:
    told = re.findall(r"`(\w+Error)`(?:, `(\w+Error)`)?, an? `(\w+Error)` \|$", COMING, re.MULTILINE)
    assert len(told) >= 3
    for *names, parent in told:
        for name in filter(None, names):
            assert issubclass(getattr(nemotron_client, name), getattr(nemotron_client, parent))
    same = [line for line in COMING.splitlines() if line.endswith("| the same |")]
    assert len(same) == 2
    for name in re.findall(r"`(\w+Error)`", "".join(same)):
        assert issubclass(getattr(nemotron_client, name), APIError)


def test_what_the_page_says_is_not_here_is_not() -> None:
    missing = re.findall(r"`(\w+)=`", "".join(line for line in COMING.splitlines() if "| not there" in line))
    assert sorted(missing) == ["extra_query", "organization", "project"]
    for method in (Nemotron, Nemotron(base_url="http://localhost/v1").chat.completions.create):
        assert not {*missing, "default_headers"} & set(inspect.signature(method).parameters)
    sentence = re.search(r"^Not here: (.+)\.$", COMING, re.MULTILINE)
    assert sentence is not None
    assert [name for name in sentence[1].split(", ") if hasattr(Nemotron(base_url="http://localhost/v1"), name)] == []
