"""Look at this machine: GPUs, vLLM, port, memory. What it means is for ``preflight.py`` to say."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

from .preflight import Card, Machine

# NVML's own program, which comes with the driver: no dependency, and the same figures.
_QUERY = ("--query-gpu=index,uuid,name,memory.total,memory.free,compute_cap", "--format=csv,noheader,nounits")
# Where it is though no PATH leads there: in containers on Google's Kubernetes, in WSL.
_ELSEWHERE = ("/usr/local/nvidia/bin", "/usr/lib/wsl/lib")
_LONGEST_QUERY = 30.0  # seconds; the driver takes 5 to 10 to wake eight GPUs
_DISTRIBUTIONS = ("vllm", "mistral_common")
_SHARED, _MEMORY = Path("/dev/shm"), Path("/proc/meminfo")  # noqa: S108 - looked at, not written to


def look(executable: str, host: str, port: int) -> Machine:
    """See what a server would find here.

    Args:
        executable: vLLM's program.
        host: The address to listen on.
        port: The port.
    """
    vllm = shutil.which(executable)
    return Machine(
        cards=find_cards(),
        vllm=vllm,
        versions=_versions(Path(vllm)) if vllm else {},
        port=_port_problem(host, port),
        shared=shutil.disk_usage(_SHARED).total if _SHARED.is_dir() else None,
        memory=_free_memory(),
    )


def find_cards() -> tuple[Card, ...] | str:
    """Return the GPUs that CUDA would show a program, one at least, or why there are none."""
    smi = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=os.pathsep.join(_ELSEWHERE))
    if smi is None:
        return "nvidia-smi, which comes with NVIDIA's driver, is not installed"
    try:
        done = subprocess.run(  # noqa: S603 - an argument list, nothing in it from outside
            [smi, *_QUERY], capture_output=True, text=True, errors="replace", timeout=_LONGEST_QUERY, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi: {error}"
    if done.returncode:
        return f"nvidia-smi says: {(done.stdout + done.stderr).strip()[:200]}"
    try:
        found = [_card(line) for line in done.stdout.splitlines() if line.strip()]
    except ValueError:
        return f"nvidia-smi says what can't be understood: {done.stdout.strip()[:200]}"
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return tuple(card for _, _, card in found) or "nvidia-smi lists none"
    wanted = [name.strip() for name in chosen.split(",")]
    seen = (card for index, uuid, card in found if index in wanted or any(uuid.startswith(n) for n in wanted if n))
    return tuple(seen) or f"CUDA_VISIBLE_DEVICES={chosen} hides all of them"


def _card(line: str) -> tuple[str, str, Card]:
    index, uuid, name, total, free, capability = (word.strip() for word in line.split(","))
    major, minor = capability.split(".")
    return index, uuid, Card(name, int(total), int(free), (int(major), int(minor)))


def _versions(executable: Path) -> dict[str, str]:
    """Read versions off the names of installed distributions, since asking vLLM itself takes ten seconds."""
    home = executable.resolve().parent.parent
    found: dict[str, str] = {}
    for packages in (*home.glob("lib/python3*/site-packages"), *home.glob("lib/python3*/dist-packages")):
        for name in _DISTRIBUTIONS:
            for info in packages.glob(f"{name}-*.dist-info"):
                found.setdefault(name, info.name.removeprefix(f"{name}-").removesuffix(".dist-info"))
    return found


def _port_problem(host: str, port: int) -> str | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as vLLM does
            probe.bind(address)
    except OSError as error:
        reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        return f"port {port} of {host} can't be used: {reason}"
    return None


def _free_memory() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", _MEMORY.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
