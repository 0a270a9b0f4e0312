"""What is said of a machine before anything starts."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from nemotron_client.launch import GPU, GPUS, Machines, Wish, plan, preflight
from nemotron_client.launch.command import Server
from nemotron_client.launch.preflight import Card, Finding, Machine
from nemotron_client.launch.sizes import GIB
from tests.launch.commands import MODEL, TINY

CARD = Card("NVIDIA H100 80GB HBM3", 81_559, 81_000, (9, 0))
GOOD = Machine(
    cards=(CARD,) * 8,
    vllm="/opt/v/bin/vllm",
    versions={"vllm": "0.32.0", "mistral_common": "1.12.0"},
    port=None,
    shared=64 * GIB,
    memory=200 * GIB,
)
PLAN = plan(MODEL, Machines(GPUS["H100"], 8), Wish())


def bad(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    found = list(findings)
    assert all(each.remedy for each in found if each.level == "problem")
    return [(each.level, each.what) for each in found if each.level != "ok"]


def on_gpus(**changes: object) -> list[tuple[str, str]]:
    return bad(preflight.on_gpus(PLAN, replace(GOOD, **changes)))  # type: ignore[arg-type] # each test names real fields


def software(**versions: str) -> list[tuple[str, str]]:
    return bad(preflight.of_software(replace(GOOD, versions=versions), "vllm"))


def test_a_good_machine_has_no_problem() -> None:
    assert on_gpus() == []
    assert bad(preflight.of_software(GOOD, "vllm")) == []
    assert bad(preflight.of_weights(())) == []
    assert bad([preflight.of_port(None)]) == []


def test_a_machine_without_gpus_is_told_where_to_run_it() -> None:
    machine = replace(GOOD, cards="nvidia-smi is not installed")
    (finding,) = preflight.on_gpus(PLAN, machine)
    assert (finding.level, finding.what) == ("problem", "no GPU: nvidia-smi is not installed")
    assert finding.remedy == "run this where 8x H100 80 GB are, or try vLLM on the CPU with --cpu"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cards": (CARD,) * 4}, ("problem", "4x NVIDIA H100 80GB HBM3, the plan needs 8")),
        (
            {"cards": (*(CARD,) * 7, replace(CARD, free=10_000))},
            ("problem", "GPU 7 has 10,000 of 81,559 MiB free, vLLM wants 90%"),
        ),
        (
            {"cards": (*(CARD,) * 7, replace(CARD, total=40_960, free=40_000))},
            ("problem", "GPU 7 has 38 GiB, the plan counts on 78"),
        ),
        (
            {"cards": (replace(CARD, capability=(8, 0)),) * 8},
            ("warning", "older than Hopper (compute capability 8.0)"),
        ),
        ({"shared": 64 * 2**20}, ("problem", "0.062 GiB of shared memory")),
        ({"shared": None}, ("problem", "no shared memory (/dev/shm)")),
        ({"shared": 8 * GIB}, ("warning", "8 GiB of shared memory")),
    ],
)
def test_what_would_stop_it_on_gpus_is_named(changes: dict[str, object], expected: tuple[str, str]) -> None:
    assert on_gpus(**changes) == [expected]


def test_one_gpu_needs_no_shared_memory() -> None:
    alone = plan(TINY, Machines(GPUS["H100"], 1), Wish())
    assert bad(preflight.on_gpus(alone, replace(GOOD, shared=None))) == []


@pytest.mark.parametrize(
    ("name", "mib", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 81_559, GPUS["H100"]),
        ("NVIDIA H100 PCIe", 81_559, GPUS["H100"]),
        ("NVIDIA H100 NVL", 95_830, GPUS["H100-NVL"]),
        ("NVIDIA H200", 143_771, GPUS["H200"]),
        ("NVIDIA B200", 183_359, GPUS["B200"]),
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", 40_448, GPU("NVIDIA H100 80GB HBM3 MIG 3g.40gb", 38 * GIB)),
        ("NVIDIA A100-SXM4-80GB", 81_920, GPU("NVIDIA A100-SXM4-80GB", 78 * GIB)),
    ],
)
def test_a_card_is_known_by_its_name_and_its_memory(name: str, mib: int, expected: GPU) -> None:
    assert preflight.kind(Card(name, mib, mib, (9, 0))) == expected


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (200 * GIB, []),
        (1 * GIB, [("problem", "about 3 GiB of memory needed, 1 free")]),
        (None, [("warning", "about 3 GiB of memory needed, and what is free can't be seen here")]),
    ],
)
def test_on_the_cpu_memory_is_what_counts(memory: int | None, expected: list[tuple[str, str]]) -> None:
    assert bad(preflight.on_cpu(TINY, 8192, 1, replace(GOOD, memory=memory))) == expected


def test_without_vllm_it_is_told_how_to_get_it() -> None:
    (finding,) = preflight.of_software(replace(GOOD, vllm=None), "/opt/vllm")
    assert finding.what == "'/opt/vllm' is not a program here"
    assert "pip install vllm==0.32.0" in finding.remedy


def test_versions_that_clash_are_a_problem() -> None:
    ((level, what),) = software(vllm="0.32.0+cpu", mistral_common="1.13.1")
    assert level == "problem"
    assert what.startswith("vLLM 0.32.0+cpu with mistral_common 1.13.1: requests with tools are refused (400")


def test_versions_that_do_not_clash_are_none() -> None:
    assert software(vllm="0.32.0", mistral_common="1.12.9") == []
    assert software(vllm="0.32.0") == []
    assert software(vllm="0.33.1", mistral_common="1.13.1")[0][0] == "warning"  # of vLLM's version alone


def test_an_unknown_version_of_vllm_is_a_warning() -> None:
    assert software() == [("warning", "/opt/v/bin/vllm: its version can't be seen")]
    assert software(vllm="0.10.1") == [("warning", "vLLM 0.10.1")]


def test_weights_that_are_not_whole_or_not_here_are_a_problem() -> None:
    assert bad(preflight.of_weights(("a is missing",))) == [("problem", "weights: a is missing")]
    (absent,) = preflight.of_weights("--weights /w: No such folder. Give one.")
    assert (absent.level, absent.remedy) == ("problem", "--weights /w: No such folder. Give one.")


def test_flags_that_the_plan_does_not_know_of_are_a_warning() -> None:
    (finding,) = preflight.of_flags(["--seed", "1", "--shutdown-timeout", "60"])
    assert (finding.level, finding.what) == ("warning", "--shutdown-timeout after --")
    assert finding.remedy == "a server that takes longer than 30 seconds to end is killed"


def test_a_port_in_use_is_a_problem() -> None:
    assert bad([preflight.of_port("port 8000 of 127.0.0.1 can't be used: it is in use")])[0][0] == "problem"


@pytest.mark.parametrize(
    ("host", "with_key", "told"),
    [
        ("127.0.0.1", False, []),
        ("10.0.0.1", True, []),
        ("10.0.0.1", False, ["everyone who reaches this machine can use the server"]),
        ("gpu1.example.com", True, ["gpu1.example.com may be public, and plain http can be read on the way"]),
    ],
)
def test_a_server_for_others_without_a_key_or_without_https_is_a_warning(
    host: str,
    with_key: bool,  # noqa: FBT001
    told: list[str],
) -> None:
    server = Server(folder=Path("/w"), host=host)
    found = preflight.of_reach(host, loopback=server.loopback, insecure=server.insecure, with_key=with_key)
    assert bad(found) == [("warning", each) for each in told]
