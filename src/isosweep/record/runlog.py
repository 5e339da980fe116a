"""run.log: a copy of the program's log in the run's folder, for the time that the run is open."""

import logging
import sys
import time
from pathlib import Path

from isosweep.runtime.files import storage_error
from isosweep.runtime.text import as_text


class _QuietFile(logging.FileHandler):
    """A file handler that prints one message when the disk is full, not a traceback for each line."""

    broken = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.broken:
            self.broken = True
            print(
                f"cannot write {self.baseFilename}: {sys.exc_info()[1]}; the run goes on without it",
                file=sys.stderr,
            )


class _AsText(logging.Formatter):
    """Names of files that are not UTF-8 are written as everywhere."""

    def format(self, record: logging.LogRecord) -> str:
        return as_text(super().format(record))


class RunLogFile:
    """Adds the file ``path`` to the root logger until ``detach``. isosweep's INFO lines are written to it.

    Raises OSError if the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._handler = _QuietFile(path, mode="a", encoding="utf-8")
        except OSError as error:
            raise storage_error(error, path) from error
        formatter = _AsText("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        self._handler.setFormatter(formatter)
        self._package = logging.getLogger("isosweep")
        self._level = self._package.level
        if self._level == logging.NOTSET:
            self._package.setLevel(logging.INFO)
        logging.getLogger().addHandler(self._handler)

    def line(self, level: int, text: str) -> None:
        """Write one line to the file only, not to the console."""
        self._handler.handle(self._package.makeRecord("isosweep.record", level, "", 0, text, (), None))

    def detach(self) -> None:
        """Close the file and restore the log level."""
        logging.getLogger().removeHandler(self._handler)
        self._handler.close()
        self._package.setLevel(self._level)
