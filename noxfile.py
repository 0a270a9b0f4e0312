"""The project's chores: `nox -l` lists them, `nox` runs those it marks with a star, and `.ci/run` the same ones.

`lint` and `types` use the tools of the environment that is active; the others make an environment of their own.
"""

import shutil
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_venv = "yes"

# Those that bring an older `openai` after it, since the first environment that has a library is used.
PEERS = ("openai", "mistralai", "langchain-nvidia-ai-endpoints", "litellm", "pydantic-ai-slim[openai]", "instructor")


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the tests on each supported Python, with every branch covered."""
    session.install("-e", ".[dev]")
    session.run("pytest", *(session.posargs or ["--cov"]))


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Check style, formatting, and which file may import which."""
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", "--no-logo")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Check types twice, since users' editors and pipelines do so with either checker."""
    session.run("mypy")
    session.run("pyright")


@nox.session
def wheel(session: nox.Session) -> None:
    """Run the tests on the built wheel, away from the source tree."""
    elsewhere = Path(session.create_tmp())
    session.install("build")
    session.run("python", "-m", "build", "--outdir", str(elsewhere))
    (built,) = elsewhere.glob("*.whl")
    session.install("--force-reinstall", f"{built}[dev]")
    shutil.copytree(".", elsewhere, ignore=shutil.ignore_patterns(".*", "nemotron_client"), dirs_exist_ok=True)
    session.chdir(elsewhere)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests on the oldest dependencies that `pyproject.toml` allows."""
    project = nox.project.load_toml()["project"]
    extras = project["optional-dependencies"]
    session.install(
        "-e", ".[dev]", *(d.replace(">=", "==") for d in project["dependencies"] + extras["httpx"] + extras["testing"])
    )
    session.run("pytest", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure this library beside raw httpx2 and beside what people use today."""
    session.install("-e", ".[dev]")
    others: list[str] = []
    for peer in PEERS:
        # An environment each: together their bounds on `openai` leave only old versions of some.
        home = Path(session.virtualenv.location, "peers", peer.partition("[")[0])
        session.run("python", "-m", "venv", str(home))
        python = str(home / "bin" / "python")
        session.run(python, "-m", "pip", "install", "--quiet", peer, external=True)
        others += ["--python", python]
    session.run("python", "-m", "benchmarks", *others, *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Stream for a long time and watch memory, threads and sockets."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "benchmarks.soak", *session.posargs)
