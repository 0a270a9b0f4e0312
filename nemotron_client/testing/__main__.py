"""Serve the mock API until Ctrl-C: `python -m nemotron_client.testing --port 8000`."""

import argparse
import contextlib
import sys
import time

from nemotron_client.testing.server import MockServer

parser = argparse.ArgumentParser(prog="python -m nemotron_client.testing", description=__doc__)
parser.add_argument("--port", type=int, default=0, help="default: a free one")
with MockServer(port=parser.parse_args().port) as server, contextlib.suppress(KeyboardInterrupt):
    sys.stdout.write(f"{server.base_url}\n")
    sys.stdout.flush()
    while True:
        time.sleep(3600)
