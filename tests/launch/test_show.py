"""What people read: plans, commands, and scripts that bash and shellcheck take."""

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from nemotron_client import Nemotron
from nemotron_client.launch import GPUS, Machines, Model, Wish, command, plan, show
from nemotron_client.launch.command import Command, Server
from nemotron_client.launch.preflight import Finding
from nemotron_client.testing import MockServer
from tests.launch.commands import MODEL, TINY, commands

H100 = Machines(GPUS["H100"], 8)
HOSTILE = 'it\'s "a" $(touch /tmp/owned) `id` ; & | > < * ? # !x \\ größe'
COMMANDS = [each for made in commands(Path("/data") / HOSTILE).values() for each in made]
SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def script(made: Command, *, with_key: bool = True) -> str:
    return show.script(made, rank=0, nodes=1, with_key=with_key, about=f"{show.LICENCE}\nWhat it is.")


def test_columns_are_aligned_and_lines_do_not_end_in_spaces() -> None:
    assert show.table([("a", "bb", ""), ("ccc", "d", "")], "  ") == "  a    bb\n  ccc  d"


def test_the_last_column_is_wrapped_for_a_terminal_of_80_columns_and_its_words_are_not_broken() -> None:
    path = "/" + "x" * 80
    text = show.table([("ok", f"{'many words ' * 7}{path}")], "  ")
    assert text.splitlines() == [
        "  ok  many words many words many words many words many words many words",
        "      many words",
        f"      {path}",
    ]


@pytest.mark.parametrize("kind", GPUS)
@pytest.mark.parametrize("model", [MODEL, TINY, Model.of(9e12, layers=10_000, kv_heads=8, head_dim=128, heads=96)])
@pytest.mark.parametrize("nodes", [1, 16])
def test_no_line_of_a_plan_is_longer_than_a_terminal_behind_the_launchers_name(
    kind: str, model: Model, nodes: int
) -> None:
    text = show.of_plan(plan(model, Machines(GPUS[kind], 8, nodes), Wish(concurrency=1_000)))
    assert max(map(len, text.splitlines())) <= 80 - len("[launch] ")


def test_a_command_of_several_lines_fits_as_well() -> None:
    for made in commands(Path("/w")).values():
        assert max(map(len, show.of_commands(made).splitlines())) <= 80


def test_a_plan_names_every_figure_that_went_into_it() -> None:
    text = show.of_plan(plan(MODEL, H100, Wish()))
    text = " ".join(text.split())
    for words in (
        "123 billion parameters, 88 layers, 96 heads, 8 KV heads of 128",
        "229.1 GiB (bf16)",
        "8x H100 80 GB: 78.0 GiB each, of which vLLM gets 90%",
        "5.0 GiB of that on each GPU, for activations and CUDA graphs",
        "352 KiB a token (bf16), 44.0 GiB a full window",
        "1 at once of 131,072 tokens",
        "-> 8 x 1 x 1 28.6 GiB 36.6 GiB 871,314 6 ",
        "It fits. Chosen is TP 8 x PP 1 x DP 1, which holds 6 full windows at once; 1 wanted.",
        "All of this is arithmetic from sizes, not a measurement",
    ):
        assert words in text


def test_weights_made_fp8_and_unknown_heads_are_said() -> None:
    text = show.of_plan(plan(replace(MODEL, heads=None, parameters=None), H100, Wish(fp8=True)))
    assert "114.6 GiB (bf16 made fp8)" in text
    assert "  model      88 layers, 8 KV heads of 128\n" in text


def test_of_many_ways_the_best_are_shown() -> None:
    text = show.of_plan(plan(MODEL, replace(H100, nodes=2), Wish()))
    assert "    and 6 more" in text


@pytest.mark.parametrize(
    ("gpus", "wish", "why"),
    [
        (1, Wish(), "the weights: at best there are 229.1 GiB of them for each GPU, which has 65.2 GiB for them."),
        (4, Wish(), "the window: beside the weights there is room for 94,208 tokens at most."),
        (8, Wish(concurrency=10), "the number: at most 6 full windows at once, not 10."),
    ],
)
def test_what_does_not_fit_is_named(gpus: int, wish: Wish, why: str) -> None:
    text = show.of_plan(plan(MODEL, Machines(GPUS["H100"], gpus), wish))
    assert f"It does not fit. What doesn't is {why}" in " ".join(text.split())


def test_what_does_not_fit_is_followed_by_what_would() -> None:
    text = show.of_plan(plan(MODEL, Machines(GPUS["H100"], 4), Wish()))
    assert "The nearest that would do:\n" in text
    assert "  --kv-cache fp8     TP 4 x PP 1 x DP 1: 1 of 131,072 tokens\n" in text
    nothing = replace(plan(MODEL, Machines(GPUS["H100"], 4), Wish()), nearest=())
    assert "No single change that this knows would help" in " ".join(show.of_plan(nothing).split())


def test_one_full_window_is_one() -> None:
    text = show.of_plan(plan(MODEL, Machines(GPUS["H100"], 4), Wish(kv="fp8")))
    assert "which holds one full window at once" in " ".join(text.split())


def test_a_command_is_shown_as_one_types_it_and_every_part_explained_once() -> None:
    text = show.of_commands(commands(Path("/my weights"))["Ray"])
    settings = "  HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 RAY_ADDRESS=10.0.0.1:6379 \\\n  RAY_USAGE_STATS_ENABLED=0 \\\n"
    assert f"The command on node 0, the first\n\n{settings}  ray start --head" in text
    assert f"{settings}  vllm serve '/my weights' \\\n" in text
    assert "\n\n  RAY_USAGE_STATS_ENABLED=0 \\\n  ray start --address=10.0.0.1:6379 --block\n" in text
    assert text.count("join the Ray cluster") == text.count("the name that clients ask for") == 1


def test_what_stands_after_the_dashes_has_lines_and_rows_of_its_own_beside_the_launchers() -> None:
    extra = ("--tool-call-parser", "hermes", "--seed=3", "--lora-modules", "a", "b", "--max-logprobs", "-1")
    text = show.of_commands([command.on_cpu(Server(folder=Path("/w"), extra=extra), TINY, 1024, 1)])
    shown, explained = text.split("What each part is for")
    lines = "--tool-call-parser hermes", "--seed=3", "--lora-modules a b", "--max-logprobs -1"
    assert shown.rstrip().endswith(" \\\n    ".join(["", *lines]))
    explained = " ".join(explained.split())
    assert "--tool-call-parser how the model writes tool calls" in explained
    for name in ("--tool-call-parser", "--seed", "--lora-modules", "--max-logprobs"):
        assert f"{name} handed on as given; of two of a name the last counts" in explained


@pytest.fixture
def tell(tmp_path: Path) -> str:
    """Put in place of the program one that tells its arguments and its environment."""
    made = tmp_path / "tell"
    made.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\nprintf '\\0'\nenv -0\n")
    made.chmod(0o755)
    return str(made)


def told(*words: str, **environment: str) -> tuple[list[str], set[str]]:
    settings = {"PATH": os.environ["PATH"], **environment}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=settings)  # noqa: S603
    arguments, _, seen = done.stdout.partition("\0\0")
    return arguments.split("\0"), set(seen.split("\0"))


@pytest.mark.parametrize("made", COMMANDS)
def test_what_is_shown_is_what_a_shell_would_run(made: Command, tell: str) -> None:
    typed = show.of_command(replace(made, executable=tell, before=()))
    words, seen = told("bash", "-c", typed)
    assert words == list(made.argv[1:])
    assert seen >= {f"{name}={value}" for name, value in made.environment.items()}


@pytest.mark.parametrize("made", COMMANDS)
def test_a_script_runs_the_same_words_and_what_is_set_already_stays(made: Command, tell: str, tmp_path: Path) -> None:
    file = tmp_path / "serve.sh"
    file.write_text(script(replace(made, executable=tell, before=())))
    own = {"VLLM_API_KEY": "made-up", "VLLM_NO_USAGE_STATS": "0"}
    words, seen = told("bash", str(file), **own)
    assert words == list(made.argv[1:])
    assert seen >= {f"{name}={value}" for name, value in {**made.environment, **own}.items()}


def test_scripts_are_clean_to_bash_and_to_shellcheck(tmp_path: Path) -> None:
    for number, made in enumerate(COMMANDS):
        (tmp_path / f"{number}.sh").write_text(script(made))
    files = sorted(map(str, tmp_path.iterdir()))
    assert SHELLCHECK
    # SC2016 asks whether "$(...)" between single quotes is meant: it is, as part of the folder's name.
    for words in ([SHELLCHECK, "--enable=all", "--exclude=SC2016", *files], *(["bash", "-n", file] for file in files)):
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_script_holds_no_key_but_asks_for_it(tmp_path: Path) -> None:
    (made,) = commands(Path("/weights"))["one node"]
    file = tmp_path / "serve.sh"
    file.write_text(script(replace(made, executable="true")))
    words, environment = ["bash", str(file)], {"PATH": os.environ["PATH"]}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
    assert done.returncode == 1
    assert "VLLM_API_KEY: set it to the key that clients must send" in done.stderr
    assert "VLLM_API_KEY" not in script(made, with_key=False)
    worker = commands(Path("/weights"))["stages over nodes"][1]
    assert "VLLM_API_KEY" not in script(worker)


def test_a_script_for_ray_starts_the_cluster_first() -> None:
    first, _ = commands(Path("/weights"))["Ray"]
    lines = script(first).splitlines()
    start = "ray start --head --node-ip-address=10.0.0.1 --port=6379"
    assert lines.index(start) < lines.index(next(line for line in lines if line.startswith("exec vllm serve")))


def test_findings_say_what_to_do() -> None:
    text = show.of_findings([Finding("ok", "vLLM 0.32.0"), Finding("problem", "no GPU", "use --cpu")])
    assert text == "  ok       vLLM 0.32.0\n  problem  no GPU: use --cpu"


@pytest.mark.parametrize("host", ["127.0.0.1", "gpu1.example.com"])
@pytest.mark.parametrize("key", [None, "sk-made-up-key"])
def test_the_lines_of_python_work_as_they_are_and_show_no_key(
    host: str, key: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = socket.getaddrinfo

    def found(_: object, *rest: int, **more: int) -> object:
        return find("127.0.0.1", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    if key:
        monkeypatch.setenv("VLLM_API_KEY", key)
    with MockServer(api_key=key) as mock:
        mock.reply("It works.")
        server = Server(folder=Path("/w"), host=host, port=urlsplit(mock.base_url).port or 0)
        text = show.usage(server.url, with_key=bool(key), insecure=server.insecure)
        lines: dict[str, Nemotron] = {}
        exec(text, lines)  # noqa: S102 - as one who pastes them does
        lines["client"].close()
    assert capsys.readouterr().out == "It works.\n"
    assert key is None or key not in text
    assert max(map(len, text.splitlines())) <= show.WIDTH


def test_for_a_server_of_this_machine_without_a_key_there_are_two_lines_after_the_import() -> None:
    assert show.usage("http://127.0.0.1:8000/v1", with_key=False, insecure=False).splitlines() == [
        "from nemotron_client import Nemotron",
        'client = Nemotron(base_url="http://127.0.0.1:8000/v1")',
        'print(client.chat.completions.create(messages="Hello").text)',
    ]


def test_a_dry_run_says_what_would_happen_without() -> None:
    starts, starts_not = (" ".join(show.of_dry_run(starts=each, patience=60).split()) for each in (True, False))
    assert "the command above would be, and for 60 s at most (--ready-timeout) it would be waited for" in starts
    assert "the exit status is 1" in starts_not


def test_the_command_of_a_server_on_the_cpu_tells_its_memory() -> None:
    text = show.of_commands([command.on_cpu(Server(folder=Path("/w")), TINY, 1024, 1)])
    assert "VLLM_CPU_KVCACHE_SPACE=1 " in text
    assert text.startswith("The command\n")
