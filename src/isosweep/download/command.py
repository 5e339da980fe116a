"""The command line of scripts/data.py: what can be downloaded, its terms, and the download itself."""

import argparse
import logging
import os
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from rich import progress as shown
from rich.console import Console

from isosweep.download import sources
from isosweep.download.get import Bar, Getter, Options
from isosweep.download.server import DownloadError, Server
from isosweep.download.sources import BENCHMARKS, Benchmark
from isosweep.download.unpack import human
from isosweep.errors import InputError

EVERY = 15.0
"""Seconds between lines of progress where the output is no terminal."""


def parser() -> argparse.ArgumentParser:
    own = argparse.ArgumentParser(
        prog="data.py",
        description="Downloads scenes of benchmarks from their authors' addresses (docs/get-data.md).",
        allow_abbrev=False,
    )
    commands = own.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="the data sets; with a name: its scenes, terms and addresses")
    listing.add_argument("dataset", nargs="?", help="name of a data set")
    get = commands.add_parser("get", help="download scenes", allow_abbrev=False)
    get.add_argument("dataset", help="name of a data set (data.py list)")
    get.add_argument("scenes", nargs="*", help="names of scenes, or all")
    get.add_argument(
        "--root",
        type=Path,
        default=None,
        help="folder of all data sets (ISOSWEEP_DATA, else data: as dataset.root)",
    )
    get.add_argument(
        "--accept", action="store_true", help="accept the terms that are shown, without a question"
    )
    get.add_argument("--images", metavar="FOLDER", help="take this size of the images only (images_4)")
    get.add_argument(
        "--whole", action="store_true", help="download whole archives, where a server gives no parts"
    )
    get.add_argument("--keep-archive", action="store_true", help="keep what --whole downloaded")
    get.add_argument(
        "--archive",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an archive that you have, by its name",
    )
    get.add_argument(
        "--changed", action="store_true", help="take an archive of another size or checksum than is known"
    )
    get.add_argument("--quiet", action="store_true", help="draw no progress bar")
    return own


def main(arguments: Sequence[str]) -> int:
    """Run a command. Returns the exit code."""
    options = parser().parse_args(arguments)
    if options.command == "list":
        print(describe(sources.benchmark(options.dataset)) if options.dataset else overview())
        return 0
    return _get(options)


def overview() -> str:
    """All data sets, a line each."""
    width = max(map(len, BENCHMARKS))
    lines = ["data sets (python scripts/data.py list NAME tells scenes, terms and addresses):", ""]
    for one in BENCHMARKS.values():
        lines.append(f"{one.name:<{width}}  {one.title}; {len(one.scenes)} scenes")
        lines.append(f"{'':<{width}}  licence: {one.licence}")
    return "\n".join([*lines, "", "python scripts/data.py get NAME SCENE [SCENE ...]"])


def describe(one: Benchmark) -> str:
    """Scenes, terms and addresses of a data set."""
    lines = [
        f"{one.name}: {one.title}",
        *_wrapped("scenes", ", ".join(one.scenes)),
        *_wrapped("read by", one.told(next(iter(one.scenes)), one.together)),
        *_wrapped("page", one.page),
        *_wrapped("licence", one.licence),
        *_wrapped("terms", one.terms),
    ]
    for archive in one.archives():
        size = human(archive.size) if archive.size is not None else "size unknown"
        tried = f"worked on {archive.tried}" if archive.tried else "not tried yet"
        lines += _wrapped("archive", f"{archive.name}, {size}, {tried}: {archive.url}")
        lines += _wrapped("", f"address from: {archive.found}")
    return "\n".join(lines)


def _wrapped(head: str, text: str) -> list[str]:
    wrapper = textwrap.TextWrapper(
        108, f"  {head:<9}", " " * 11, break_on_hyphens=False, break_long_words=False
    )
    return wrapper.wrap(text)


def _get(options: argparse.Namespace) -> int:
    one = sources.benchmark(options.dataset)
    scenes = sources.scenes_of(one, options.scenes)
    default = Path(os.environ.get("ISOSWEEP_DATA", "data"))
    root = options.root if options.root is not None else default
    archives = _by_name(options.archive, one)
    if not accepted(one, options.accept):
        print("nothing was downloaded")
        return 1
    bar = Shown(quiet=options.quiet)
    getter = Getter(
        one,
        Options(root, options.images, options.whole, options.keep_archive, options.changed, archives),
        Server(),
        bar,
    )
    failed = []
    with bar:
        for scene in scenes:
            try:
                folder, new = getter.get(scene)
            except DownloadError as error:
                if len(scenes) == 1:
                    raise
                failed.append(scene)
                bar.say(f"error: {scene}: {error}")
                continue
            bar.say(f"{scene}: {'downloaded to' if new else 'is there already, whole:'} {folder}")
    if not failed:
        getter.clean()
    done = [scene for scene in scenes if scene not in failed]
    if done:
        elsewhere = "" if root == default or one.loader is None else f" dataset.root={root}"
        command = one.told(done[0], root / (one.together or ""), options.images)
        print(f"train:  {command}{elsewhere}")
    if failed:
        print(f"error: {len(failed)} of {len(scenes)} scenes failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def accepted(one: Benchmark, given: bool) -> bool:
    """Show the terms. Whether they are accepted: by ``--accept``, or by an answer where somebody can give one.

    Raises:
        InputError: nobody can be asked.
    """
    print(f"{one.name}: {one.title}")
    for line in [
        *_wrapped("licence", one.licence),
        *_wrapped("terms", one.terms),
        *_wrapped("page", one.page),
    ]:
        print(line)
    if given:
        print("  accepted with --accept")
        return True
    if not sys.stdin.isatty():
        raise InputError(
            f"the terms of {one.name} have to be accepted, and nobody can be asked here: read them, then add --accept"
        )
    return input("Do you accept these terms? [yes/no] ").strip().lower() in ("y", "yes")


def _by_name(files: Sequence[Path], one: Benchmark) -> dict[str, Path]:
    """Archives on this machine, by the names that the data set gives them."""
    names = [archive.name for archive in one.archives()]
    found: dict[str, Path] = {}
    for file in files:
        if not file.is_file():
            raise InputError(f"--archive {file}: there is no such file")
        if file.name in names:
            found[file.name] = file
        elif len(names) == 1 and len(files) == 1:
            found[names[0]] = file
        else:
            raise InputError(
                f"--archive {file}: {one.name} has the archives {', '.join(names)}: name the file so"
            )
    return found


class Shown(Bar):
    """A bar in a terminal; elsewhere a line now and then."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.quiet, self.task, self.what = quiet, shown.TaskID(0), ""
        self.total: int | None = None
        self.done, self.told = 0, 0.0
        self.drawn = not quiet and self.console.is_terminal
        columns = (
            shown.TextColumn("{task.description}"),
            shown.BarColumn(),
            shown.DownloadColumn(),
            shown.TransferSpeedColumn(),
            shown.TimeRemainingColumn(),
        )
        self.progress = shown.Progress(*columns, console=self.console, transient=True)
        self.log = _Log(self)

    def __enter__(self) -> "Shown":
        logging.getLogger("isosweep").addHandler(self.log)
        logging.getLogger("isosweep").setLevel(logging.INFO)
        if self.drawn:
            self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("isosweep").removeHandler(self.log)
        self.progress.stop()

    def begin(self, what: str, total: int | None) -> None:
        self.what, self.total, self.done, self.told = what, total, 0, time.monotonic()
        self.task = self.progress.add_task(what, total=total)
        if not self.drawn and not self.quiet:
            self.say(f"{what}: {human(total) if total is not None else 'unknown size'} to download")

    def advance(self, count: int) -> None:
        self.done += count
        self.progress.update(self.task, completed=self.done)
        if not self.drawn and not self.quiet and time.monotonic() - self.told > EVERY:
            self.told = time.monotonic()
            of = f" of {human(self.total)}" if self.total is not None else ""
            self.say(f"{self.what}: {human(self.done)}{of}")

    def end(self) -> None:
        self.progress.remove_task(self.task)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)


class _Log(logging.Handler):
    """Lines of the log above the bar."""

    def __init__(self, bar: Shown) -> None:
        super().__init__()
        self.bar = bar

    def emit(self, record: logging.LogRecord) -> None:
        self.bar.say(record.getMessage())
