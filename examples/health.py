"""Tell how the server is, at no cost; the exit status is 0 if it is ready."""

import sys

from nemotron_client import APIError, Nemotron


def main() -> int:
    """Ask the free routes."""
    with Nemotron(timeout=10, max_retries=0) as client:
        print(client)
        try:
            state = client.server.ready()
            print(f"ready: {state.ready} ({state.detail})")
            offered = client.models.list()
            print(f"models: {len(offered)}")  # NVIDIA offers a hundred
            for model in offered:
                if model.max_model_len:
                    print(f"window of {model.id}: {model.max_model_len} tokens")
        except APIError as error:
            print(error, file=sys.stderr)
            return 1
        try:
            print(f"version: {client.server.version().version}")
        except APIError:
            print("version: not told")  # NVIDIA's endpoint has no such route
    return 0 if state else 1


if __name__ == "__main__":
    sys.exit(main())
