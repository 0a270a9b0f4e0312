"""What holds for every test: nothing from the environment of whoever runs them."""

import os

import pytest


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("NVIDIA_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
