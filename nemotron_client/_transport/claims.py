"""Note on disk which paused runs were resumed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nemotron_client.errors import InvalidRequestError

_ID = re.compile(r"[0-9a-f]{32}")


class FileClaims:
    """Note each resumed run as an empty file in a directory, so that none is resumed twice, by whichever process."""

    def __init__(self, directory: str | Path) -> None:
        """Choose the directory, which all processes that resume runs must share; it is made if it is missing.

        Args:
            directory: On a file system where making a file exclusively is atomic, as on any local one.
        """
        self._directory = Path(directory)

    def __call__(self, run_id: str) -> bool:
        """Note a run.

        Args:
            run_id: Its id.

        Returns:
            Whether it was new.

        Raises:
            InvalidRequestError: That is no run's id.
        """
        if not _ID.fullmatch(run_id):
            raise InvalidRequestError(f"{run_id!r:.80} is no run's id.", parameter="claim")
        self._directory.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(self._directory / run_id, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        return True
