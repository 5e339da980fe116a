"""The command behind scripts/report.py: its options, the files it writes, its exit codes, and --watch."""

import argparse
import gc
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from isosweep.record.folder import record_folders
from isosweep.record.launch import sweeps_root
from isosweep.record.schema import RECORD_FILE
from isosweep.report.keys import ReportError
from isosweep.report.pipeline import (
    FORMATS,
    MadeTable,
    NoRuns,
    Pairs,
    TableRequest,
    make_table,
    render_files,
    source_name,
)
from isosweep.report.published import default_folder
from isosweep.runtime.files import atomic_write_bytes
from isosweep.runtime.text import printable

HELP = """Tables of run records: means and spreads per scene, checked for comparability.

python scripts/report.py loss_weights                                      what varies as rows, scenes as columns
python scripts/report.py results/runs --rows model,encoding --metrics psnr,chamfer -f md,tex,csv
python scripts/report.py dtu results/external --rows model --against model=neus
python scripts/report.py loss_weights --page page                          then open page/index.html
"""
PageOptions = tuple[Path, int, int, int, int, tuple[tuple[str, Path], ...]]
"""Folder of the page; views of a scene, pixels of a picture's longest side, faces of a mesh, pixels of its texture."""
EPILOG = "exit codes: 0 written, 1 refused or wrong, 2 no runs. More: docs/report.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Exit code 0: written; 1: refused or a wrong option; 2: no runs; 130: Ctrl-C."""
    options = parser().parse_args(arguments)
    try:
        request, formats, target = _parse_request(options)
        page = _page_options(options)
        drawn = sys.stdout.isatty() and "md" not in _split_words(options.format or "")
        if options.watch:
            return watch(request, formats, target, options.every, options.quiet, page=page, drawn=drawn)
        return write_once(request, formats, target, options.quiet, page, drawn)
    except NoRuns as error:
        _say(f"error: {error}")
        return 2
    except (ReportError, OSError) as error:
        _say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The parser of all options."""
    own = argparse.ArgumentParser(
        prog="report.py", description=HELP, epilog=EPILOG, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = own.add_argument
    add(
        "sources",
        nargs="*",
        metavar="SWEEP|FOLDER",
        help="names of sweeps, folders of records, record.json files (default: --root)",
    )
    add("--rows", help="keys, e.g. model,encoding,loss.terms.eikonal.weight (default: what varies)")
    add("--cols", help="keys, or none for data set means alone (default: scene)")
    add(
        "--over",
        help="keys that mean and spread are taken over (default: seed, unless it is a row or column)",
    )
    add(
        "--metrics",
        default="",
        help="e.g. psnr,ssim,lpips,chamfer,time, or the record's own names (nvs/psnr)",
    )
    add(
        "--layout",
        choices=("scenes", "methods", "both"),
        default="scenes",
        help="columns: scenes, in a table for each metric; methods x metrics, in one table of means; or both",
    )
    add(
        "--protocols",
        action="store_true",
        help="every protocol as rows, with coverage: does a rank hold under all of them? (evaluate.py --protocol all)",
    )
    add("--columns", default="", help="cost columns to add: time,memory,gpu_hours")
    add(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only these runs; may be given again",
    )
    add("--against", default="", metavar="KEY=VALUE", help="a baseline row: differences scene by scene")
    add("--allow", default="", help="what may differ: code, protocol, settings, or a dotted key")
    add("-f", "--format", help=f"{','.join(FORMATS)} (default: the ending of -o, else md; none with --page)")
    add("-o", "--output", help="folder/, or file name without ending (default: results/tables/<name>)")
    add("--digits", default="", metavar="METRIC=N", help="decimals, e.g. psnr=3,chamfer=4")
    add(
        "--no-spread",
        action="store_true",
        help="print means alone: wide tables fit a page, csv keeps the rest",
    )
    add("--title", help="heading and caption (default: the sources)")
    add("--published", type=Path, help="folder of published figures (default: results/published)")
    add("--no-published", action="store_true", help="without published rows")
    add("--rank-published", action="store_true", help="rank published rows together with ours")
    add("--root", type=Path, default=Path("results/runs"), help="folder of the runs of sweeps (run.root)")
    add("--watch", action="store_true", help="write again when records change, until Ctrl-C")
    add("--every", type=float, default=10.0, metavar="SECONDS", help="how often --watch checks (default: 10)")
    add(
        "--page",
        type=Path,
        metavar="FOLDER",
        help="write a page for comparing runs visually: open FOLDER/index.html",
    )
    add("--page-views", type=int, default=3, metavar="N", help="test views of each scene on the page")
    add(
        "--page-pixels",
        type=int,
        default=400,
        metavar="N",
        help="longest side of its pictures; 0: as rendered",
    )
    add("--page-faces", type=int, default=12_000, metavar="N", help="faces of its meshes; 0: no meshes")
    add(
        "--page-truth",
        action="append",
        default=[],
        metavar="DATASET/SCENE=FILE",
        help="ground-truth mesh of a scene",
    )
    add("--page-texture", type=int, default=1024, metavar="N", help="pixels of their textures; 0: none")
    add("-q", "--quiet", action="store_true", help="do not print the table")
    return own


def write_once(
    request: TableRequest, formats: Sequence[str], target: Path, quiet: bool, page: PageOptions | None = None,
    drawn: bool = False,
) -> int:  # fmt: skip
    """Write the page and the table once. All files of the table are rendered before the first is written.

    The table is drawn if ``drawn`` (terminal.py), else printed as Markdown.

    Returns exit code 0. Raises as make_table, and ReportError where a file cannot be written.
    """
    if page is not None:
        _write_page(request, page)
    if not formats:
        return 0
    gc.disable()  # ten thousand configs are a million objects without cycles: collecting only costs time
    try:
        made = make_table(request)
        parts = render_files(made, formats)
    finally:
        gc.enable()
    paths = write_parts(target, parts)
    for path, problem in made.extras.collection.broken.items():
        _say(printable(f"broken: {path}: {problem}"))
    if not quiet and drawn:
        from rich.console import Console  # importing it takes 0.1 s, which a piped table saves

        from isosweep.report.terminal import draw

        draw(made.document, Console(highlight=False, soft_wrap=False))
        print()
    elif not quiet:
        print(printable(render_files(made, ["md"])[".md"].decode(), keep="\n"))
    for conflict in made.extras.tolerated[:20]:
        _say(f"tolerated: {conflict.scope}: {conflict}")
    _say(f"wrote {', '.join(str(p) for p in paths)} ({_summary(made)})")
    return 0


def _say(text: str) -> None:
    """A message on stderr. Names of runs and files in it cannot control the terminal."""
    print(printable(text, keep="\n"), file=sys.stderr)


def write_parts(target: Path, parts: dict[str, bytes]) -> list[Path]:
    """Write each part to ``target`` + its ending, atomically. Returns the paths."""
    paths = []
    for ending, data in parts.items():
        path = target.with_name(target.name + ending)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_bytes(path, data)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise ReportError(f"cannot write {path}: {why}; choose another place with -o") from error
        paths.append(path)
    return paths


def watch(
    request: TableRequest, formats: Sequence[str], target: Path, seconds: float, quiet: bool,
    pause: Callable[[float], None] = time.sleep, page: PageOptions | None = None, drawn: bool = False,
) -> int:  # fmt: skip
    """Write again whenever a record appears, changes or disappears, until Ctrl-C.

    A refusal is printed, and watching goes on: the next change may make the numbers comparable.
    """
    seen: object = None
    while True:
        now = source_stamps(request)
        if now != seen:
            seen = now
            try:
                write_once(request, formats, target, quiet, page, drawn)
            except (ReportError, OSError) as error:  # the sweep is still writing: a later check may succeed
                _say(f"not written: {error}")
        sys.stdout.flush()
        pause(seconds)


def source_stamps(request: TableRequest) -> dict[str, tuple[int, int]]:
    """Path -> (modification time in ns, size in bytes) of every file that the table is made of."""
    roots = {s for s in request.sources if Path(s).is_dir()} | {str(request.root)}
    files = [f"{folder}/{RECORD_FILE}" for root in roots for folder in record_folders(root, lambda _: None)]
    files += [str(p) for p in sweeps_root(request.root).glob("*/*/*.json")]
    files += [str(p) for p in request.published.glob("*.csv")] if request.published is not None else []
    found = {}
    for path in files:
        try:
            state = os.stat(path)
        except OSError:
            continue  # gone meanwhile, or not to be seen: what is read says so
        found[path] = (state.st_mtime_ns, state.st_size)
    return found


def _parse_request(options: argparse.Namespace) -> tuple[TableRequest, list[str], Path]:
    sources = tuple(options.sources) or (str(options.root),)
    target, ending = _output_target(options.output, sources)
    usual = "" if options.page is not None and options.output is None else "md"
    formats = list(_split_words(options.format if options.format is not None else ending or usual))
    unknown = [f for f in formats if f not in FORMATS]
    if unknown or not (formats or options.page is not None):
        raise ReportError(f"-f {options.format}: the formats are {', '.join(FORMATS)}")
    if not options.every > 0:
        raise ReportError(f"--every {options.every:g}: give more than 0 seconds")
    published = options.published or default_folder()
    if options.published is not None and not published.is_dir():
        raise ReportError(f"--published {published}: there is no such folder")
    request = TableRequest(
        sources=sources,
        root=options.root,
        rows=None if options.rows is None else _split_words(options.rows),
        cols=None if options.cols is None else _split_words(options.cols),
        over=None if options.over is None else _split_words(options.over),
        metrics=_split_words(options.metrics),
        columns=_split_words(options.columns),
        conditions=tuple(pair for text in options.where for pair in _split_pairs(text, "--where")),
        against=_split_pairs(options.against, "--against"),
        allow=_split_words(options.allow),
        published=None if options.no_published else published,
        rank_published=options.rank_published,
        digits=_parse_digits(options.digits),
        title=options.title,
        plain=options.no_spread,
        layout=options.layout,
        protocols=options.protocols,
    )
    return request, formats, target


def _page_options(options: argparse.Namespace) -> PageOptions | None:
    if options.page is None:
        return None
    for name, least in (("views", 1), ("pixels", 0), ("faces", 0), ("texture", 0)):
        if getattr(options, f"page_{name}") < least:
            raise ReportError(f"--page-{name} {getattr(options, f'page_{name}')}: give {least} or more")
    truths = []
    for word in options.page_truth:
        scene, equals, file = word.partition("=")
        if not equals or "/" not in scene:
            raise ReportError(f"--page-truth {word!r}: give DATASET/SCENE=FILE, e.g. dtu/scan24=stl024.ply")
        truths.append((scene, Path(file)))
    numbers = options.page_views, options.page_pixels, options.page_faces, options.page_texture
    return options.page, *numbers, tuple(truths)


def _write_page(request: TableRequest, page: PageOptions) -> None:
    from isosweep.report.browse import PageLimits, make_page  # imports numpy, which a table does not need

    def progress(done: int, of: int) -> None:
        if sys.stderr.isatty():
            print(f"\rpage: {done} of {of} runs", end="\n" if done == of else "", file=sys.stderr, flush=True)

    target, views, pixels, faces, texture, truths = page
    made = make_page(request, target, PageLimits(views, pixels, faces, texture, truths=truths), progress)
    for note in made.notes[:20]:
        _say(f"page: {note}")
    if len(made.notes) > 20:
        print(f"page: {len(made.notes) - 20} more notes are under Failures", file=sys.stderr)
    size = made.size / 1e6
    _say(f"wrote {target / 'index.html'} ({made.runs} runs, {size:.1f} MB in the folder)")


def _output_target(output: str | None, sources: Sequence[str]) -> tuple[Path, str]:
    """The path without ending, and the format if -o ends in one: -o tables/, -o tables/main or -o main.tex."""
    name = "-".join(source_name(s) for s in sources)[:120]
    if output is None:
        return Path("results/tables") / name, ""
    path = Path(output)
    if output.endswith(("/", os.sep)) or path.is_dir():
        return path / name, ""
    ending = path.suffix[1:]
    return (path.with_suffix(""), ending) if ending in FORMATS else (path, "")


def _split_words(text: str) -> tuple[str, ...]:
    """The words between commas; commas inside brackets separate nothing. 'none' alone is no word."""
    words = tuple(dict.fromkeys(w.strip() for w in re.split(r",(?![^\[{(]*[\]})])", text) if w.strip()))
    return () if words == ("none",) else words


def _split_pairs(text: str, option: str) -> Pairs:
    pairs = []
    for word in _split_words(text):
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ReportError(f"{option} {word!r}: give KEY=VALUE, e.g. {option} model=nerf")
        pairs.append((key.strip(), value.strip()))
    return tuple(pairs)


def _parse_digits(text: str) -> dict[str, int]:
    found = {}
    for key, value in _split_pairs(text, "--digits"):
        if not value.isdecimal() or int(value) > 12:
            raise ReportError(f"--digits {key}={value}: give a number of decimals from 0 to 12, e.g. psnr=2")
        found[key] = int(value)
    return found


def _summary(made: MadeTable) -> str:
    states = [c.state for c in made.table.cells.values()]
    parts = [f"{states.count(s)} {s}" for s in ("missing", "failed", "none") if s in states]
    return f"{len(made.table.runs)} runs, {len(states)} cells{', ' if parts else ''}{', '.join(parts)}"
