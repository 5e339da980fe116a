"""run.log: what the program logs while a run is open, in the run's folder."""

import logging
import sys
import time
from pathlib import Path

from isosweep.runtime.files import storage_error


class _QuietFile(logging.FileHandler):
    """A file handler that mentions a full disk once instead of a traceback a line."""

    broken = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.broken:
            self.broken = True
            print(
                f"cannot write {self.baseFilename}: {sys.exc_info()[1]}; the run goes on without it",
                file=sys.stderr,
            )


class RunLog:
    """Adds a file to the root logger until ``detach``; isosweep's INFO lines reach it."""

    def __init__(self, path: Path) -> None:
        try:
            self._handler = _QuietFile(path, mode="a", encoding="utf-8")
        except OSError as error:
            raise storage_error(error, path) from error
        formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        self._handler.setFormatter(formatter)
        self._package = logging.getLogger("isosweep")
        self._level = self._package.level
        if self._level == logging.NOTSET:
            self._package.setLevel(logging.INFO)
        logging.getLogger().addHandler(self._handler)

    def line(self, level: int, text: str) -> None:
        """One line to the file alone, not to the console."""
        self._handler.handle(self._package.makeRecord("isosweep.record", level, "", 0, text, (), None))

    def detach(self) -> None:
        logging.getLogger().removeHandler(self._handler)
        self._handler.close()
        self._package.setLevel(self._level)
