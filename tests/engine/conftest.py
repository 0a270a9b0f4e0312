"""Properties tell what is right, not how fast: a slow machine fails none of them.

`HYPOTHESIS_PROFILE=thorough` tries 2,000 examples of each; `nox -s thorough` does so with the counting of tokens.
"""

import os

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "untimed"))
