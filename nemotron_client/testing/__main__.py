"""Serve the mock API until Ctrl-C: `python -m nemotron_client.testing --port 8000`."""

import argparse
import contextlib
import sys
import time

parser = argparse.ArgumentParser(prog="python -m nemotron_client.testing", description=__doc__)
parser.add_argument("--port", type=int, default=0, help="default: a free one")
parser.add_argument("--personality", choices=["vllm", "hosted"], default="vllm", help="how it behaves; default: vllm")
arguments = parser.parse_args()
port: int = arguments.port
try:
    from nemotron_client.testing.server import MockServer

    server = MockServer(port=port, personality=arguments.personality).start()
except (ModuleNotFoundError, ValueError) as problem:
    parser.exit(2, f"{problem}\n")
except OSError as problem:  # in use, or not for this user
    parser.exit(2, f"Port {port} can't be used: {problem}\n")
with contextlib.closing(server), contextlib.suppress(KeyboardInterrupt):
    sys.stdout.write(f"Serving {server.base_url} until Ctrl-C. Try: export NVIDIA_BASE_URL={server.base_url}\n")
    sys.stdout.flush()
    while True:
        time.sleep(3600)
