"""``python -m nemotron_client.launch``, as someone uses it who has never run vLLM."""

import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path

import pytest

from nemotron_client.launch.__main__ import main
from nemotron_client.launch.arguments import parse
from nemotron_client.launch.supervise import Patience
from tests.launch.folders import PARAMS, hugging_face, mistral, safetensors
from tests.launch.stand_in import ends

FIGURES = ("--params", "123B", "--layers", "88", "--heads", "96", "--kv-heads", "8", "--head-dim", "128")
SMI = "NVIDIA H100 80GB HBM3, 81559, 81000, 9.0"


class Program:
    """The program, in a place where nothing is installed but what a test installs."""

    def __init__(self, home: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.home, self._capture = home, capture
        self.out = self.err = ""

    def __call__(self, *words: str) -> int:
        try:
            return main(words)
        except SystemExit as exited:  # by argparse
            return int(exited.code or 0)
        finally:
            captured = self._capture.readouterr()
            self.out, self.err = captured.out, captured.err

    def install(self, name: str, text: str) -> None:
        made = self.home / "bin" / name
        made.write_text(f"#!{sys.executable}\n{text}")
        made.chmod(0o755)

    def install_vllm(self, version: str = "0.32.0") -> None:
        self.install("vllm", (Path(__file__).parent / "stand_in.py").read_text())
        (self.home / f"lib/python3.12/site-packages/vllm-{version}.dist-info").mkdir(parents=True)

    def install_gpus(self, count: int) -> None:
        self.install("nvidia-smi", "\n".join(f"print('{n}, GPU-{n}, {SMI}')" for n in range(count)))


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("nemotron_client.launch.machine._ELSEWHERE", ())
    for name in ("CUDA_VISIBLE_DEVICES", "VLLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Program(tmp_path, capsys)


@pytest.fixture
def port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])


def test_a_plan_is_printed_and_says_by_its_status_whether_it_fits(program: Program) -> None:
    assert program("plan", *FIGURES, "--gpus", "8xH100") == 0
    assert "->  8 x 1 x 1     28.6 GiB" in program.out
    assert program("plan", *FIGURES, "--gpus", "4xh100") == 1
    assert "The nearest that would do:" in program.out


def test_a_plan_is_read_off_the_weights(program: Program) -> None:
    mistral(program.home / "my weights")
    assert program("plan", "--weights", "my weights", "--gpus", "1xH200") == 0
    assert "  model      52 parameters, 2 layers, 4 heads, 2 KV heads of 32\n" in program.out


def test_a_plan_says_what_is_wrong_with_the_folder_that_it_was_given(program: Program) -> None:
    (mistral(program.home / "w") / "tekken.json").unlink()
    assert program("plan", "--weights", "w", "--gpus", "1xH200") == 0
    assert "The folder problem weights: there is no tokenizer (tekken.json): copy or" in " ".join(program.out.split())
    assert program("plan", "--weights", "typo", *FIGURES, "--gpus", "8xH100") == 0
    assert f"its files: --weights {program.home}/typo: No such file or directory." in " ".join(program.out.split())


def test_the_gpus_of_this_machine_are_planned_for_where_none_are_named(program: Program) -> None:
    program.install_gpus(4)
    assert program("plan", *FIGURES, "--kv-cache", "fp8") == 0
    assert "4x H100 80 GB" in program.out


@pytest.mark.parametrize(
    ("smi", "why"), [(None, "nvidia-smi, which comes with NVIDIA's driver"), ("", "nvidia-smi lists none")]
)
def test_without_gpus_it_says_so_and_what_to_say(program: Program, smi: str | None, why: str) -> None:
    if smi is not None:
        program.install("nvidia-smi", smi)
    assert program("plan", *FIGURES) == 2
    assert f"This machine has no GPU that can be used ({why}" in program.err
    assert "e.g. --gpus 8xH100" in program.err


@pytest.mark.parametrize("gpus", ["8", "8xA100", "xH100", "H100", "٨xH100", "9999999xH100"])
def test_gpus_that_are_not_known_are_refused_with_those_that_are(program: Program, gpus: str) -> None:
    assert program("plan", *FIGURES, "--gpus", gpus) == 2
    assert program.err == f"--gpus {gpus!r}: give a number and a kind: 8xH100, 8xH100-NVL, 8xH200, 8xB200.\n"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--gpus", "H100"), "--gpus 'H100'"),
        (("--gpus", "0xH100"), "gpus (0)"),
        (("--gpus", "8xH100", "--port", "99999"), "--port 99999"),
        (("--gpus", "8xH100", "--port", "0"), "--port: '0'"),
        (("--gpus", "8xH100", "--host", "http://x"), "--host 'http://x'"),
        (("--gpus", "8xH100", "--params", "123"), "--params: '123'"),
        (("--gpus", "8xH100", "--tensor-parallel", "3"), "tensor 3"),
        (("--gpus", "8xH100", "--nodes", "2"), "give --head"),
        (("--gpus", "8xH100", "--gpu-memory-utilization", "nan"), "A share of nan"),
        (("--gpus", "8xH100", "--output", "x"), "--output"),
        (("--gpus", "8xH100", "--", "--load-format", "dummy"), "--load-format"),
    ],
)
def test_what_was_given_and_can_not_be_used_ends_with_2_whoever_finds_it(
    program: Program, words: tuple[str, ...], named: str
) -> None:
    mistral(program.home / "w", {**PARAMS, "n_heads": 8, "n_kv_heads": 8})
    assert program("vllm", "--weights", "w", "--dry-run", *words) == 2
    assert program.out == ""
    assert named in program.err


def test_a_model_that_is_not_described_is_asked_for(program: Program) -> None:
    assert program("plan", "--gpus", "8xH100") == 2
    assert "Not known of the model: --params, --layers, --kv-heads, --head-dim" in program.err


def test_a_dry_run_without_gpus_explains_everything_and_starts_nothing(program: Program) -> None:
    weights = mistral(program.home / "weights")
    assert program("vllm", "--weights", "weights", "--gpus", "8xH100", "--window", "65536", "--dry-run") == 1
    for words in (
        "No weights of mistral-nemotron are published.",
        "The plan ",
        "All of this is arithmetic",
        f"vllm serve {weights} \\ ",
        "What each part is for",
        "problem no GPU: nvidia-smi, which comes with NVIDIA's driver, is not installed: run this where 8x H100",
        "problem 'vllm' is not a program here: pip install vllm==0.32.0",
        "ok weights: all files are there",
        "Nothing was started. Without --dry-run nothing would be started here either, because of the",
        'client = Nemotron(base_url="http://127.0.0.1:8000/v1")',
    ):
        assert words in " ".join(program.out.split())
    assert program.err == ""


def test_the_status_of_a_dry_run_says_whether_it_would_be_started_here(program: Program) -> None:
    program.install_vllm()
    program.install_gpus(1)
    mistral(program.home / "w")
    words = ("vllm", "--weights", "w", "--gpus", "1xH100", "--dry-run")
    assert program(*words) == 0
    assert "Nothing was started. Without --dry-run, the command above would be," in program.out
    (program.home / "w/tekken.json").unlink()
    assert program(*words) == 1
    assert program(*words, "--force") == 0


def test_weights_that_are_elsewhere_can_be_described(program: Program) -> None:
    assert program("vllm", "--weights", "/data/w", *FIGURES, "--gpus", "8xH100", "--dry-run") == 1
    told = (
        "problem all of this is from what you told of the model, not from its files: --weights /data/w: "
        "No such file or directory. Give the folder that holds the weight files."
    )
    assert told in " ".join(program.out.split())
    assert program("vllm", "--weights", "/data/w", "--gpus", "8xH100", "--dry-run") == 2
    assert program.err == "--weights /data/w: No such file or directory. Give the folder that holds the weight files.\n"


def test_weights_that_are_not_whole_are_named_where_their_size_is_needed(program: Program) -> None:
    (mistral(program.home / "w") / "consolidated.safetensors").write_bytes(safetensors()[:-1])
    assert program("plan", "--weights", "w", "--gpus", "8xH100") == 2
    known, problem, remedy = program.err.splitlines()
    assert known == "Not known of the model: --params. The weights could not be measured:"
    assert problem.startswith("  consolidated.safetensors: has")
    assert remedy.startswith("Give --weights DIR")


def test_a_dry_run_of_what_does_not_fit_has_no_command(program: Program) -> None:
    assert program("vllm", "--weights", "/w", *FIGURES, "--gpus", "2xH100", "--dry-run") == 1
    assert program.out.endswith("So there is no command to show.\n")


def test_what_is_interrupted_before_anything_runs_ends_as_shells_expect(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nemotron_client.launch.__main__.find_cards", interrupt)
    assert program("plan", *FIGURES) == 128 + 2


@contextmanager
def nobody_reading() -> Generator[None]:
    """Let what is printed go into a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stdout, redirect_stdout(stdout):
        yield


def test_who_reads_only_the_beginning_sees_no_traceback(program: Program) -> None:
    with nobody_reading():
        assert program("plan", *FIGURES, "--gpus", "8xH100") == 0  # whose few lines are written at its end
    assert program.err == ""


def test_who_reads_only_the_beginning_of_much_is_told_by_the_status_as_by_shells(program: Program) -> None:
    with nobody_reading():
        assert program("vllm", "--weights", "/" + "w" * 10_000, *FIGURES, "--gpus", "8xH100", "--dry-run") == 128 + 13
    assert program.err == ""


def test_the_status_is_the_servers_though_nobody_reads_its_log(
    program: Program, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    program.install_vllm()
    mistral(program.home / "w")
    monkeypatch.setenv("STAND_IN", json.dumps({"says": "much", "exits": 4}))
    with nobody_reading():
        assert program("vllm", "--weights", "w", "--cpu", "--window", "1024", "--port", port) == 4


def test_weights_are_needed_to_serve(program: Program) -> None:
    assert program("vllm", *FIGURES, "--gpus", "8xH100", "--dry-run") == 2
    assert program.err.startswith("--weights DIR is needed")


def test_a_server_for_everyone_asks_for_a_key_and_no_key_is_shown(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("vllm", "--weights", "/w", *FIGURES, "--gpus", "8xH100", "--host", "0.0.0.0", "--dry-run")  # noqa: S104
    assert program(*words) == 1
    assert "warning  everyone who reaches this machine can use the server: set" in program.out
    monkeypatch.setenv("VLLM_API_KEY", "sk-made-up")
    assert program(*words) == 1
    assert "everyone who reaches" not in program.out
    assert "sk-made-up" not in program.out


def test_a_script_is_written_for_each_node_and_never_over_another(program: Program) -> None:
    words = ("vllm", "--weights", "/w", *FIGURES, "--gpus", "8xH100", "--nodes", "2", "--head", "10.0.0.1")
    (program.home / "scripts").mkdir()
    assert program(*words, "--emit", "script", "--output", "scripts") == 0
    folder = program.home / "scripts"
    assert program.out == f"{folder}/serve-node0.sh\n{folder}/serve-node1.sh\n"
    for rank in (0, 1):
        file = program.home / f"scripts/serve-node{rank}.sh"
        assert f"--node-rank {rank} " in file.read_text()
        assert file.stat().st_mode & 0o777 == 0o755
    assert program(*words, "--emit", "script", "--output", "scripts") == 2
    assert program.err == f"{folder}/serve-node0.sh can't be written: File exists. See --output.\n"
    (folder / "serve-node0.sh").unlink()
    assert program(*words, "--emit", "script", "--output", "scripts") == 2
    assert [file.name for file in folder.iterdir()] == ["serve-node1.sh"]
    assert program(*words, "--emit", "script", "--output", "") == 2
    assert program.err.startswith("An empty path was given for a folder")
    assert program(*words, "--emit", "script", "--output", "a\udcffb") == 2
    assert program.err.startswith("'a\\udcffb': the path holds characters that can't be printed")


def test_a_program_that_is_named_by_its_path_is_found_by_a_script_that_runs_elsewhere(program: Program) -> None:
    words = ("vllm", "--weights", "/w", *FIGURES, "--gpus", "8xH100", "--vllm", "venv/bin/vllm", "--emit", "script")
    assert program(*words) == 0
    assert f"exec {program.home}/venv/bin/vllm serve" in (program.home / "serve-node0.sh").read_text()


def test_what_is_to_be_said_of_a_script_wherever_it_runs_is_said_as_it_is_written(program: Program) -> None:
    words = ("vllm", "--weights", "/w", *FIGURES, "--gpus", "8xH100", "--host", "gpu1.example.com", "--emit", "script")
    assert program(*words, "--", "--enable-lora") == 0
    assert program.out == f"{program.home}/serve-node0.sh\n"
    assert [line.split()[:2] for line in program.err.splitlines() if line.startswith("  warning")] == [
        ["warning", "--enable-lora"],
        ["warning", "everyone"],
        ["warning", "gpu1.example.com"],
    ]


def test_the_command_is_shown_as_it_runs_beside_what_is_set_already(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert program("vllm", "--weights", "/w", *FIGURES, "--gpus", "8xH100", "--dry-run") == 1
    assert "\n  VLLM_NO_USAGE_STATS=1 \\\n  vllm serve /w \\\n" in program.out


def test_nothing_starts_where_a_check_finds_a_problem(program: Program) -> None:
    program.install_vllm()
    program.install_gpus(1)
    (mistral(program.home / "w") / "consolidated.safetensors").write_bytes(safetensors()[:-1])
    words = ("vllm", "--weights", "w", "--params", "1M", "--gpus", "1xH100")
    assert program(*words) == 1
    assert "[launch]   problem  weights: consolidated.safetensors: has" in program.err
    assert program.err.endswith("[launch] Not started, as there is a problem. --force starts it nevertheless.\n")


class Terminal(io.TextIOWrapper):
    """What a person looks at, who presses Ctrl-C when it is ready."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self.shown = ""

    def write(self, text: str) -> int:
        self.shown += text
        if text.startswith("[launch] Ctrl-C ends it."):
            os.kill(os.getpid(), signal.SIGINT)
        return super().write(text)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (mistral, ("--gpus", "1xH100")),
        (mistral, ("--cpu", "--window", "1024")),
        (hugging_face, ("--gpus", "1xH100")),
    ],
)
def test_it_starts_waits_answers_and_ends_by_ctrl_c(
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    port: str,
    make: Callable[[Path], Path],
    words: tuple[str, ...],
) -> None:
    program.install_vllm()
    program.install_gpus(1)
    make(program.home / "w")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), write_through=True))
    monkeypatch.setattr("nemotron_client.launch.supervise.Patience", partial(Patience, pause=0.005))
    assert main(("vllm", "--weights", "w", "--port", port, *words, "--", "--max-num-seqs", "8")) == 0
    assert f"[launch] Ready: http://127.0.0.1:{port}/v1 answered 'Hello'" in terminal.shown
    assert f'\nclient = Nemotron(base_url="http://127.0.0.1:{port}/v1")\nprint(' in terminal.shown  # to be pasted
    assert "[launch] vllm has ended with status 0" in terminal.shown
    log = sys.stdout.buffer
    assert isinstance(log, io.BytesIO)
    served = json.loads(log.getvalue().splitlines()[0])
    assert served[:2] == ["serve", str(program.home / "w")]
    assert served[-2:] == ["--max-num-seqs", "8"]


def test_a_worker_of_several_nodes_needs_no_port(program: Program, port: str) -> None:
    program.install_vllm()
    words = ("vllm", "--weights", "/w", *FIGURES, "--gpus", "8xH100", "--nodes", "2", "--head", "10.0.0.1")
    with socket.create_server(("127.0.0.1", int(port))):
        assert program(*words, "--port", port, "--dry-run") == 1
        assert f"problem  port {port} of 127.0.0.1 can't be used: it is in use" in program.out
        assert program(*words, "--port", port, "--node-rank", "1", "--dry-run") == 1
        assert f"port {port} of" not in program.out


def test_where_ray_shall_find_the_machines_it_must_be_here(program: Program) -> None:
    program.install_vllm()
    words = ("vllm", "--weights", "/w", *FIGURES, "--gpus", "8xH100", "--nodes", "2", "--head", "10.0.0.1")
    assert program(*words, "--backend", "ray", "--dry-run") == 1
    assert "problem 'ray' is not a program here: pip install ray beside that vLLM" in " ".join(program.out.split())
    program.install("ray", "")
    assert program(*words, "--backend", "ray", "--dry-run") == 1
    assert f"ok Ray: {program.home}/bin/ray" in " ".join(program.out.split())
    assert program(*words, "--dry-run") == 1
    assert "Ray" not in program.out


def test_a_window_that_the_model_does_not_have_is_refused_on_the_cpu_too(program: Program) -> None:
    mistral(program.home / "w")
    assert program("vllm", "--weights", "w", "--cpu", "--window", "200000", "--dry-run") == 2
    assert program.err == "A window of 200,000 tokens: the model was made for 131,072. Ask for no more.\n"


def test_starting_is_for_linux_while_planning_is_for_all(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert program("vllm", "--weights", "/w", *FIGURES, "--gpus", "8xH100", "--dry-run", "--force") == 0
    assert program("vllm", "--weights", "/w", *FIGURES, "--gpus", "8xH100", "--force") == 2
    assert program.err.startswith("vLLM is started on Linux only")


def test_a_key_that_no_client_could_send_is_refused_before_anything_starts(
    program: Program, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    program.install_vllm()
    mistral(program.home / "w")
    monkeypatch.setenv("VLLM_API_KEY", "made up")
    assert program("vllm", "--weights", "w", "--cpu", "--window", "1024", "--port", port) == 2
    assert "VLLM_API_KEY can't be sent by a client: api_key holds a character that no key has" in program.err
    assert "made up" not in program.err


def test_a_closed_standard_error_ends_no_server(program: Program, monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    program.install_vllm()
    mistral(program.home / "w")
    monkeypatch.setenv("STAND_IN", json.dumps({"dies": 6}))
    monkeypatch.setattr(sys, "stderr", Closed())
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr("nemotron_client.launch.supervise.Patience", partial(Patience, pause=0.005))
    assert main(("vllm", "--weights", "w", "--cpu", "--window", "1024", "--port", port)) == 6


def test_what_listens_at_its_port_already_is_not_taken_for_it(program: Program) -> None:
    program.install_vllm()
    mistral(program.home / "w")
    with socket.create_server(("127.0.0.1", 0)) as other:
        words = (
            "vllm",
            "--weights",
            "w",
            "--cpu",
            "--window",
            "1024",
            "--port",
            str(other.getsockname()[1]),
            "--force",
        )
        assert program(*words) == program(*words, "--dry-run") == 1
        assert program(*words) == 1
        assert "[launch] Not started, nor with --force: it could not listen" in program.err


def test_force_starts_it_nevertheless(program: Program, monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    program.install_vllm()
    monkeypatch.setenv("STAND_IN", json.dumps({"exits": 4}))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    assert main(("vllm", "--weights", "/w", *FIGURES, "--gpus", "8xH100", "--port", port, "--force")) == 4


def test_as_a_program_it_passes_sigterm_on_and_leaves_nothing(program: Program, port: str) -> None:
    program.install_vllm()
    mistral(program.home / "w")
    root = str(Path(__file__).parents[2])
    settings = {**os.environ, "PYTHONPATH": root, "STAND_IN": json.dumps({"child": str(program.home / "pid")})}
    words = [sys.executable, "-X", "dev", "-W", "error", "-m", "nemotron_client.launch"]
    words += ["vllm", "--weights", "w", "--cpu", "--window", "1024", "--port", port]
    with subprocess.Popen(words, env=settings, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as running:  # noqa: S603
        assert running.stderr is not None
        said = ""
        for line in running.stderr:
            said += line
            if "Ctrl-C ends it." in line:
                running.terminate()
    assert running.returncode == 0
    assert "SIGTERM was passed on to vllm" in said
    assert "Warning" not in said
    assert ends(int((program.home / "pid").read_text()))


@pytest.mark.usefixtures("program", "plain_imports")
def test_python_m_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["launch", "plan", *FIGURES, "--gpus", "8xH100"])
    monkeypatch.delitem(sys.modules, "nemotron_client.launch.__main__")
    with pytest.raises(SystemExit) as exited:
        runpy.run_module("nemotron_client.launch", run_name="__main__")
    assert exited.value.code == 0


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("123B", 123 * 10**9),
        ("23.57b", 23_570_000_000),
        ("800M", 800_000_000),
        ("1t", 10**12),
        ("7000000000", 7 * 10**9),
    ],
)
def test_a_number_of_parameters_is_written_as_people_do(text: str, count: int) -> None:
    assert parse(["plan", "--params", text]).params == count


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan", "--params", "many"], "'many' is no number of parameters: give e.g. 123B"),
        (["plan", "--params", "123"], "'123' is too few for a model: write 123B for billions"),
        (["plan", "--params", "0B"], "'0B' is too few for a model: give e.g. 123B"),
        (["plan", "--params", "9" * 400 + "B"], f"'{'9' * 40}' is no number of parameters"),
        (["plan", "--params", "٣B"], "is no number of parameters"),
        (["plan", "--layers", "-3"], "'-3' is no number from 1"),
        (["plan", "--layers", "٣"], "is no number from 1"),
        (["plan", "--window", "128k"], "'128k' is no number from 1, written out in digits"),
        (["plan", "--head-dim", "9" * 5000], f"'{'9' * 40}' is no number from 1"),
        (["vllm", "--cpu", "--gpus", "8xH100"], "--gpus is for GPUs: leave it or --cpu away"),
        (["vllm", "--cpu", "--kv-cache", "fp8"], "--kv-cache is for GPUs"),
        (["vllm", "--head", "10.0.0.1"], "--head and --backend are for several machines: give --nodes too"),
        (["vllm", "--backend", "ray"], "give --nodes too"),
        (["vllm", "--node-rank", "1"], "--node-rank 1: with --nodes 1 give 0 to 0"),
        (["vllm", "--node-rank", "-1"], "--node-rank -1: with --nodes 1 give 0 to 0"),
        (["vllm", "--emit", "script", "--force"], "--force is for starting: leave it or --emit away"),
        (["vllm", "--emit", "script", "--ready-timeout", "9"], "--ready-timeout is for starting"),
        (["vllm", "--emit", "script", "--nodes", "2", "--node-rank", "1"], "--node-rank is for starting"),
        (["vllm", "--dry-run", "--output", "x"], "--output is where --emit script writes: give that too"),
        (["plan", "--", "--max-num-seqs", "8"], "flags after -- are for vLLM"),
        (["vllm", "--dry-run", "--emit", "script"], "not allowed with argument"),
        (["vllm", "--api-key", "sk-made-up"], "--api-key: set the environment variable VLLM_API_KEY"),
        (["vllm", "--api-key=sk-made-up"], "--api-key: set the environment variable VLLM_API_KEY"),
        (["plan", "--api-key", "sk-made-up"], "--api-key: set the environment variable VLLM_API_KEY"),
        (["--api-key", "sk-made-up", "plan"], "--api-key: set the environment variable VLLM_API_KEY"),
        (["vllm", "--api_ke=sk-made-up"], "--api-ke: set the environment variable VLLM_API_KEY"),
        (["plan", "--hf-token", "made-up"], "--hf-token: set the environment variable VLLM_API_KEY"),
        (["vllm", "--max-num-seqs", "8"], "unknown: --max-num-seqs. Flags of vLLM go after --"),
        (["vllm", "--auth=made-up", "--token", "made-up"], "unknown: --auth, --token. Flags of vLLM"),
        (["plan", "made-up"], "unknown: a word that belongs to no option"),
        (["serve"], "the first word must be plan or vllm"),
        (["--token", "made-up", "plan"], "the first word must be plan or vllm"),
        ([], "first steps:"),
    ],
)
def test_a_wrong_command_line_is_named(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        parse(words)
    assert exited.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert "made-up" not in said
