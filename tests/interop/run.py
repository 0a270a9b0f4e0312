"""Run the model card's prototypes, each in its own environment, against both personalities of MockServer.

`python run.py SCRIPT PLACE ...`: a script of this folder and the Python that has its library, or for .mjs the folder in
which npm installed it; or `curl curl`. Each asks four things, and checks what it was told.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from nemotron_client.testing import MockServer

HERE = Path(__file__).parent
KEY = "nvapi-made-up"
QUESTIONS = ["Hello", "Tell me a story.", "What is the weather in Paris?", "What is the weather in Paris?"]


def command(script: str, place: str) -> list[str]:
    """Return what to run, as this system finds it."""
    if script == "curl":
        return [shutil.which("bash") or "bash", str(HERE / "curl.sh")]
    if script.endswith(".mjs"):
        # Node.js looks for libraries beside the script.
        return [shutil.which("node") or "node", shutil.copy(HERE / script, place)]
    return [place, str(HERE / script)]


def main(pairs: list[tuple[str, str]]) -> None:
    """Run all, and fail with the first that fails."""
    for personality in ("hosted", "vllm"):
        for script, place in pairs:
            with MockServer(personality=personality, api_key=KEY) as server:
                own = {"NVIDIA_BASE_URL": server.base_url, "NVIDIA_API_KEY": KEY}
                subprocess.run(command(script, place), env=os.environ | own, check=True, timeout=60)  # noqa: S603 - what the session names
                server.assert_asked(*QUESTIONS)
                body, stream, call, streamed = server.asked
                assert (body.stream, stream.stream, streamed.stream) == (False, True, True)
                assert call.tools == streamed.tools == ["get_weather"]
            print(f"{script}: as on the model card, against {personality}")


if __name__ == "__main__":
    names = sys.argv[1:]
    main(list(zip(names[::2], names[1::2], strict=True)))
