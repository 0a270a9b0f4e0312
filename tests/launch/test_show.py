"""What people read: plans, commands, and scripts that bash and shellcheck take."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nemotron_client.launch import GPUS, Machines, Wish, command, plan, show
from nemotron_client.launch.command import Command, Server
from nemotron_client.launch.preflight import Finding
from tests.launch.commands import MODEL, TINY, commands

H100 = Machines(GPUS["H100"], 8)
HOSTILE = 'it\'s "a" $(touch /tmp/owned) `id` ; & | > < * ? # !x \\ größe'
COMMANDS = [each for made in commands(Path("/data") / HOSTILE).values() for each in made]
SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def script(made: Command, *, with_key: bool = True) -> str:
    return show.script(made, rank=0, nodes=1, with_key=with_key, about=f"{show.LICENCE}\nWhat it is.")


def test_columns_are_aligned_and_lines_do_not_end_in_spaces() -> None:
    assert show.table([("a", "bb", ""), ("ccc", "d", "")], "  ") == "  a    bb\n  ccc  d"


def test_a_plan_names_every_figure_that_went_into_it() -> None:
    text = show.of_plan(plan(MODEL, H100, Wish()))
    for words in (
        "123 billion parameters, 88 layers, 96 heads, 8 KV heads of 128",
        "229.1 GiB (bf16)",
        "8x H100 80 GB: 78.0 GiB each, of which vLLM gets 90%",
        "5.0 GiB on each GPU for activations and CUDA graphs",
        "352 KiB a token (bf16), 44.0 GiB a full window",
        "1 at once of 131,072 tokens",
        "This is arithmetic from sizes, not a measurement",
    ):
        assert words in text
    (chosen,) = [line.split() for line in text.splitlines() if "<- chosen" in line]
    assert chosen == ["8", "x", "1", "x", "1", "28.6", "GiB", "36.6", "GiB", "871,314", "6", "<-", "chosen"]
    assert "the weights don't fit" in text


def test_weights_made_fp8_and_unknown_heads_are_said() -> None:
    text = show.of_plan(plan(replace(MODEL, heads=None, parameters=None), H100, Wish(fp8=True)))
    assert "114.6 GiB (bf16 made fp8)" in text
    assert "  model      88 layers, 8 KV heads of 128\n" in text


def test_of_many_ways_the_best_are_shown() -> None:
    text = show.of_plan(plan(MODEL, replace(H100, nodes=2), Wish()))
    assert "  and 6 more" in text


def test_what_does_not_fit_is_followed_by_what_would() -> None:
    text = show.of_plan(plan(MODEL, Machines(GPUS["H100"], 4), Wish()))
    assert "Nothing here does what was asked." in text
    assert "  --kv-cache fp8     TP 4 x PP 1 x DP 1: 1 at once of 131,072 tokens\n" in text
    nothing = replace(plan(MODEL, Machines(GPUS["H100"], 4), Wish()), nearest=())
    assert "No single change of the ones this knows would help" in show.of_plan(nothing)


def test_a_command_is_shown_as_one_types_it_and_every_part_explained_once() -> None:
    text = show.of_commands(commands(Path("/my weights"))["Ray"])
    assert "The command on node 0, the first\n\n  ray start --head" in text
    assert (
        "  HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 RAY_ADDRESS=10.0.0.1:6379 \\\n  vllm serve '/my weights' \\\n" in text
    )
    assert "The command on node 1\n\n  ray start --address=10.0.0.1:6379 --block\n" in text
    assert text.count("the longest prompt and answer together") == 1


@pytest.mark.parametrize("made", COMMANDS)
def test_what_is_shown_is_what_a_shell_would_run(made: Command, tmp_path: Path) -> None:
    """Put in place of the program one that tells its arguments."""
    tell = tmp_path / "tell"
    tell.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    tell.chmod(0o755)
    typed = show.of_command(replace(made, executable=str(tell), before=()))
    done = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=True)  # noqa: S603, S607
    assert json.loads(done.stdout) == list(made.argv[1:])


@pytest.mark.parametrize("made", COMMANDS)
def test_a_script_runs_the_same_words(made: Command, tmp_path: Path) -> None:
    tell, file = tmp_path / "tell", tmp_path / "serve.sh"
    tell.write_text(f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv[1:], dict(os.environ)]))\n")
    tell.chmod(0o755)
    file.write_text(script(replace(made, executable=str(tell), before=())))
    environment = {"VLLM_API_KEY": "made-up", "VLLM_NO_USAGE_STATS": "0", "PATH": os.environ["PATH"]}
    command = ["bash", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)  # noqa: S603
    words, seen = json.loads(done.stdout)
    assert words == list(made.argv[1:])
    assert seen.items() >= ({**made.environment, **environment}).items()


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


def test_the_two_lines_of_python_compile_and_show_no_key() -> None:
    for with_key in (True, False):
        lines = show.usage("http://127.0.0.1:8000/v1", with_key=with_key).splitlines()
        assert len(lines) == 2
        compile("\n".join(line.strip() for line in lines), "usage", "exec")
    assert 'api_key=os.environ["VLLM_API_KEY"]' in show.usage("http://127.0.0.1:8000/v1", with_key=True)


def test_the_command_of_a_server_on_the_cpu_tells_its_memory() -> None:
    text = show.of_commands([command.on_cpu(Server(folder=Path("/w")), TINY, 1024, 1)])
    assert "VLLM_CPU_KVCACHE_SPACE=1 " in text
    assert text.startswith("The command\n")
