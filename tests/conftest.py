"""What holds for every test: nothing from the environment of whoever runs them.

Properties tell what is right, not how fast: a slow machine fails none of them. Where CI is set they try the same
examples each time, elsewhere new ones: 50 of each, so that the suite stays under a minute.
`HYPOTHESIS_PROFILE=thorough` tries 2,000; `nox -s thorough` does so with the counting of tokens.
"""

import gc
import os
import sys

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None, max_examples=50, derandomize="CI" in os.environ)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "untimed"))

pytest_plugins = ["pytester"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run one worker more than there are processors, since many tests wait for a socket."""
    return 1 + (len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Let no `gc.collect()` of a test walk through what all of them have imported."""
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("NVIDIA_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def plain_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Import as outside of pytest, which rewrites a package that brings a plugin; `runpy` can't run what it loads."""
    plain = [finder for finder in sys.meta_path if type(finder).__module__ != "_pytest.assertion.rewrite"]
    monkeypatch.setattr(sys, "meta_path", plain)
