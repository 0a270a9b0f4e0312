"""What is run: words for a process, no shell, no key, and nothing that vLLM 0.32's parser would refuse."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client.errors import ConfigurationError
from nemotron_client.launch import GPU, GPUS, Machines, Wish, command, plan
from nemotron_client.launch.checkpoint import HF
from nemotron_client.launch.command import Server
from nemotron_client.launch.sizes import GIB
from tests.launch.commands import MODEL, TINY, commands

FLAGS: dict[str, dict[str, object]] = json.loads(
    (Path(__file__).parents[1] / "fixtures/vllm-0.32-flags.json").read_text()
)
FOLDER = Path("/weights")
SERVER = Server(folder=FOLDER)
COMMANDS = commands(FOLDER)
ALL = [pytest.param(each, id=f"{name} {rank}") for name, made in COMMANDS.items() for rank, each in enumerate(made)]
H100 = Machines(GPUS["H100"], 8)


def value(words: Sequence[str], flag: str) -> str:
    return words[words.index(flag) + 1]


@pytest.mark.parametrize("made", ALL)
def test_every_flag_is_one_of_vllm_0_32_with_as_many_values_as_it_takes(made: command.Command) -> None:
    if made.executable == "ray":
        assert made.argv == ("ray", "start", "--address=10.0.0.1:6379", "--block")
        return
    program, serve, folder, *rest = made.argv
    assert (program, serve, folder) == ("vllm", "serve", "/weights")
    while rest:
        about = FLAGS[rest.pop(0)]
        if about["takes"] != "0":
            given = rest.pop(0)
            choices = about.get("choices")
            assert not isinstance(choices, list) or given in choices


def test_a_checkpoint_of_mistrals_is_served_with_its_own_formats_and_tools() -> None:
    (made,) = COMMANDS["one node"]
    for flag in ("--tokenizer-mode", "--config-format", "--load-format", "--tool-call-parser"):
        assert value(made.argv, flag) == "mistral"
    assert "--enable-auto-tool-choice" in made.argv
    assert "--enable-prefix-caching" in made.argv
    assert value(made.argv, "--served-model-name") == "mistralai/mistral-nemotron"
    assert value(made.argv, "--max-model-len") == "131072"
    assert value(made.argv, "--tensor-parallel-size") == "8"
    assert value(made.argv, "--gpu-memory-utilization") == "0.9"
    assert "--kv-cache-dtype" not in made.argv
    assert "--quantization" not in made.argv


def test_a_checkpoint_of_hugging_faces_is_served_as_it_is() -> None:
    (made,) = COMMANDS["Hugging Face's format"]
    assert (value(made.argv, "--config-format"), value(made.argv, "--load-format")) == ("hf", "safetensors")
    assert value(made.argv, "--tokenizer-mode") == "auto"
    server = replace(SERVER, format=HF, tokenizer="tekken.json")
    (made,) = command.on_gpus(server, plan(MODEL, H100, Wish()))
    assert value(made.argv, "--tokenizer-mode") == "mistral"


@pytest.mark.parametrize(
    ("server", "tokenizer", "config"),
    [
        (SERVER, "tekken.json", "params.json"),
        (replace(SERVER, tokenizer="tokenizer.model.v3"), "tokenizer.model.v3", "params.json"),
        (replace(SERVER, format=HF, tokenizer="tekken.json"), "tekken.json", "config.json"),
        (replace(SERVER, format=HF, tokenizer="tokenizer.json"), "tokenizer.json", "config.json"),
        (replace(SERVER, format=HF, tokenizer=None), "tokenizer.json", "config.json"),
    ],
    ids=["Mistral's", "Mistral's older", "mixed", "Hugging Face's", "none"],
)
def test_the_files_that_are_named_are_those_of_the_folder(server: Server, tokenizer: str, config: str) -> None:
    reasons = {flag.words[0]: flag.why for flag in command.on_cpu(server, TINY, 1024, 1).flags}
    assert reasons["--tokenizer-mode"] == f"how text becomes tokens: by {tokenizer}"
    assert reasons["--config-format"] == f"which file describes the model: {config}"


@pytest.mark.parametrize(
    ("server", "held"),
    [
        (SERVER, True),
        (replace(SERVER, format=HF, tokenizer="tokenizer.json"), True),
        (replace(SERVER, tokenizer="tokenizer.model.v3"), False),
    ],
    ids=["Tekken", "Hugging Face's", "SentencePiece"],
)
def test_one_compiler_holds_all_answers_to_their_schemas_where_it_knows_the_tokenizer(
    *, server: Server, held: bool
) -> None:
    argv = command.on_cpu(server, TINY, 1024, 1).argv
    assert ("--structured-outputs-config" in argv) == held
    assert not held or value(argv, "--structured-outputs-config") == '{"backend": "guidance"}'


def test_fp8_is_asked_for_where_it_is_planned_and_not_made_again_of_fp8() -> None:
    (made,) = COMMANDS["fp8"]
    assert (value(made.argv, "--quantization"), value(made.argv, "--kv-cache-dtype")) == ("fp8", "fp8")
    already = replace(MODEL, weights=MODEL.weights_fp8, precision="fp8")
    (made,) = command.on_gpus(SERVER, plan(already, H100, Wish(fp8=True)))
    assert "--quantization" not in made.argv


def test_each_node_has_its_rank_and_only_the_first_serves() -> None:
    made = COMMANDS["stages over nodes"]
    assert [value(each.argv, "--node-rank") for each in made] == ["0", "1"]
    assert {value(each.argv, "--master-addr") for each in made} == {"10.0.0.1"}
    assert [each.serves for each in made] == [True, False]
    assert ["--headless" in each.argv for each in made] == [False, True]
    assert value(made[0].argv, "--pipeline-parallel-size") == "2"


def test_with_ray_the_first_node_starts_the_cluster_and_vllm_and_the_others_join_it() -> None:
    first, second = COMMANDS["Ray"]
    assert first.before == ("ray", "start", "--head", "--node-ip-address=10.0.0.1", "--port=6379")
    assert first.environment["RAY_ADDRESS"] == "10.0.0.1:6379"
    assert value(first.argv, "--distributed-executor-backend") == "ray"
    assert "--nnodes" not in first.argv
    assert (second.executable, second.serves) == ("ray", False)
    assert value(COMMANDS["copies by Ray"][0].argv, "--data-parallel-backend") == "ray"


def test_an_address_of_the_sixth_version_is_put_in_brackets_for_ray() -> None:
    server = replace(SERVER, head="fd00::1", backend="ray")
    first, second = command.on_gpus(server, plan(MODEL, replace(H100, nodes=2), Wish()))
    assert first.environment["RAY_ADDRESS"] == "[fd00::1]:6379"
    assert "--address=[fd00::1]:6379" in second.argv


def test_ray_is_the_one_beside_vllm() -> None:
    server = replace(SERVER, executable="/opt/v/bin/vllm", head="10.0.0.1", backend="ray")
    first, second = command.on_gpus(server, plan(MODEL, replace(H100, nodes=2), Wish()))
    assert (first.before[0], second.argv[0]) == ("/opt/v/bin/ray", "/opt/v/bin/ray")


def test_on_the_cpu_the_cache_has_room_for_what_is_wanted() -> None:
    assert COMMANDS["CPU"][0].environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert command.on_cpu(SERVER, MODEL, 131_072, 2).environment["VLLM_CPU_KVCACHE_SPACE"] == "88"


@pytest.mark.parametrize("made", ALL)
def test_nothing_is_fetched_and_nothing_is_sent_to_the_makers_of_vllm_and_ray(made: command.Command) -> None:
    if made.before or made.executable == "ray":
        assert made.environment["RAY_USAGE_STATS_ENABLED"] == "0"
    if made.executable != "ray":
        assert made.environment.items() >= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}.items()


@pytest.mark.parametrize("made", ALL)
def test_no_key_is_on_a_command_line_or_in_what_is_set(made: command.Command) -> None:
    assert "--api-key" not in made.argv
    assert "VLLM_API_KEY" not in made.environment


def test_flags_after_the_dashes_are_handed_on_as_they_are() -> None:
    (made,) = COMMANDS["Hugging Face's format"]
    assert made.argv[-2:] == ("--max-num-seqs", "64")


def test_a_flag_that_the_plan_decides_is_not_handed_on() -> None:
    with pytest.raises(ConfigurationError, match="--max-model-len can't be handed on after --: use --window"):
        replace(SERVER, extra=("--max-model-len", "4096"))


@pytest.mark.parametrize(
    ("wanted", "gpu", "flags"),
    [
        (1024, GPUS["H100"], ()),
        (1025, GPUS["H100"], ("--max-num-seqs", "1025")),
        (257, GPU("A100", 78 * GIB), ("--max-num-seqs", "257")),
    ],
)
def test_as_many_requests_run_at_once_as_were_wanted_though_vllm_would_run_fewer(
    wanted: int, gpu: GPU, flags: tuple[str, ...]
) -> None:
    small = plan(TINY, Machines(gpu, 2), Wish(window=1024, tensor=1, concurrency=2 * wanted))  # two copies
    (made,) = command.on_gpus(SERVER, small)
    assert made.argv[made.argv.index("--data-parallel-size") + 2 :] == flags


def test_on_the_cpu_too() -> None:
    assert command.on_cpu(SERVER, TINY, 1024, 129).argv[-2:] == ("--max-num-seqs", "129")
    assert "--max-num-seqs" not in command.on_cpu(SERVER, TINY, 1024, 128).argv


def test_what_is_set_already_is_not_set_again() -> None:
    (made,) = COMMANDS["CPU"]
    assert made.beside({"HF_HUB_OFFLINE": "0", "OTHER": "1"}).environment.keys() == {
        "VLLM_NO_USAGE_STATS",
        "VLLM_CPU_KVCACHE_SPACE",
    }


@pytest.mark.parametrize(
    ("host", "insecure"),
    [
        ("127.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - nothing listens
        ("10.0.0.1", False),
        ("gpu1.internal", False),
        ("gpu1.example.com", True),
        ("2606:4700::1", True),
    ],
)
def test_where_plain_http_may_be_read_on_the_way_the_client_must_be_told(host: str, insecure: bool) -> None:  # noqa: FBT001
    assert replace(SERVER, host=host).insecure is insecure


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"port": 0}, "--port 0: give a number from 1 to 65535"),
        ({"port": 70_000}, "--port 70000"),
        ({"host": "-x"}, "--host '-x' is no address"),
        ({"host": "a b"}, "--host 'a b' is no address"),
        ({"host": ""}, "--host '' is no address"),
        ({"host": "gpu1.NVIDIA.com."}, "clients take a name of nvidia.com for NVIDIA's own endpoint. Give the address"),
        ({"host": "a..b"}, "--host 'a..b' is no address"),
        ({"host": "a" * 64}, "--host 'a{64}' is no address"),
        ({"host": '::1%";x'}, "--host '::1%\";x' is no address"),
        ({"executable": "a\udcffb"}, r"--vllm 'a\\udcffb': the path holds characters that can't be printed"),
        *(
            ({"executable": name}, f"--vllm '{name}': give vLLM's program, e.g. /opt/vllm/bin/vllm")
            for name in ("", ".", "/")
        ),
        ({"head": "$(id)"}, r"--head '\$\(id\)' is no address"),
    ],
)
def test_what_can_not_be_an_address_or_a_program_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Server(folder=FOLDER, **settings)  # type: ignore[arg-type] # on purpose


@pytest.mark.parametrize(
    ("host", "url", "loopback"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/v1", True),
        ("localhost", "http://localhost:8000/v1", True),
        ("::1", "http://[::1]:8000/v1", True),
        ("0.0.0.0", "http://127.0.0.1:8000/v1", False),  # noqa: S104
        ("::", "http://[::1]:8000/v1", False),
        ("gpu1.internal", "http://gpu1.internal:8000/v1", False),
    ],
)
def test_a_client_on_this_machine_finds_it(host: str, url: str, loopback: bool) -> None:  # noqa: FBT001
    server = replace(SERVER, host=host)
    assert (server.url, server.loopback) == (url, loopback)


def test_several_nodes_need_the_address_of_the_first() -> None:
    with pytest.raises(ConfigurationError, match="--nodes 2: give --head ADDRESS"):
        command.on_gpus(SERVER, plan(MODEL, replace(H100, nodes=2), Wish()))


def test_a_plan_in_which_nothing_fits_has_no_command() -> None:
    with pytest.raises(ConfigurationError, match="there is nothing to run"):
        command.on_gpus(SERVER, plan(MODEL, Machines(GPUS["H100"], 1), Wish()))


@given(st.text(min_size=1).filter(str.isprintable))
def test_a_folder_of_any_name_is_one_word(name: str) -> None:
    made = command.on_cpu(replace(SERVER, folder=Path("/") / name), TINY, 1024, 1)
    assert made.argv[2] == str(Path("/") / name)
