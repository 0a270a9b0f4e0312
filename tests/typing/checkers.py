"""The other files here, judged as users' checkers judge them: without this project's own settings."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MARK = re.compile(r"  # E( strict)?: (\S+)$")
MODES = ("default", "strict")


class Error(NamedTuple):
    file: str
    line: int
    text: str


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project: the files once for each mode."""
    folder = tmp_path_factory.mktemp("project")
    for mode in MODES:
        (folder / mode).mkdir()
        for name in ("accepts.py", "accepts_arguments.py", "accepts_parse.py", "accepts_tools.py", "refuses.py"):
            shutil.copy(HERE / name, folder / mode)
    return folder


def run(*command: str | Path) -> str:
    # In the root, where mypy finds the library if it isn't installed.
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S603 - nothing in it comes from outside
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


def marks(mode: str) -> dict[int, str]:
    lines = enumerate((HERE / "refuses.py").read_text().splitlines(), start=1)
    found = ((number, MARK.search(line)) for number, line in lines)
    return {number: mark[2] for number, mark in found if mark and (mode == "strict" or not mark[1])}


def assert_as_marked(errors: list[Error]) -> None:
    for mode in MODES:
        marked = marks(mode)
        refused = [error for error in errors if error.file == f"{mode}/refuses.py"]
        assert [error for error in errors if error.file.startswith(f"{mode}/accepts")] == []
        assert [error for error in refused if error.line not in marked] == []
        seen = {error.line for error in refused if marked[error.line] in error.text}
        assert {line: word for line, word in marked.items() if line not in seen} == {}


def test_mypy_accepts_what_it_should_and_refuses_what_is_marked(project: Path, pytestconfig: pytest.Config) -> None:
    assert pytestconfig.cache is not None
    errors: list[Error] = []
    for mode, options in zip(MODES, ([], ["--strict"]), strict=True):
        cache = pytestconfig.cache.mkdir(f"mypy-{mode}")
        output = run("mypy", "--config-file=", f"--cache-dir={cache}", "--output=json", *options, project / mode)
        found = [json.loads(line) for line in output.splitlines()]
        errors += [
            Error(f"{mode}/{Path(each['file']).name}", each["line"], each["message"])
            for each in found
            if each["severity"] == "error"
        ]
    assert_as_marked(errors)


def test_pyright_accepts_what_it_should_and_refuses_what_is_marked(project: Path) -> None:
    settings = {"typeCheckingMode": "basic", "strict": ["strict"], "extraPaths": [str(ROOT)]}
    (project / "pyrightconfig.json").write_text(json.dumps(settings))
    output = run("pyright", "--outputjson", f"--project={project}", f"--pythonpath={sys.executable}")
    errors = [
        Error(Path(each["file"]).relative_to(project).as_posix(), each["range"]["start"]["line"] + 1, each["message"])
        for each in json.loads(output)["generalDiagnostics"]
    ]
    assert_as_marked(errors)
