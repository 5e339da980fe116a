"""Kill runs at calls of the file system, before, after and in the middle of each, and check what is left.

    python scripts/stress_kills.py --layer record --trials 900 --folder /tmp/kills
    python scripts/stress_kills.py --layer run --trials 100 --folder /tmp/kills-of-runs

The layer ``record`` is that of records, locks and metrics without torch: a run that starts, is trained again by force,
is scored again, or is closed by its launcher. The layer ``run`` is a whole training with its checkpoints, mesh, renders
and scores. Each trial kills at a call, then starts again, where every second one is killed again, until one start comes
to its end. After each kill: every record reads, nothing that was reported is lost, and no earlier result. At the end:
the record, the metrics (but for times) and the weights are those of a run that was never killed, bit for bit, and
nothing lies about. Exit code 1 if one trial finds otherwise.
"""

import contextlib
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "scripts")]

import isosweep  # noqa: E402, F401 - before torch
from isosweep.record import Git, RunRecord, find_runs, read_metrics, read_record, run_key  # noqa: E402
from isosweep.record.abandoned import close_abandoned  # noqa: E402
from isosweep.record.schema import ErrorRecord, Record  # noqa: E402
from killing import WHEN, Counted, in_a_child  # noqa: E402
from stressed import RUN, differing, parsed, parser, weights  # noqa: E402

MOST_STARTS = 8
SHORT = ["train.max_steps=40", "train.checkpoint_every=10", "train.val_every=20"]
"""A whole run is done some hundred times."""
STEPS = (100, 200, 300)


@dataclass(frozen=True)
class Scores:
    """What a score is, without torch."""

    protocol: str = "standard"
    values: dict[str, float | None] = field(default_factory=lambda: {"nvs/psnr": 30.5})
    per_view: dict[str, dict[str, float | None]] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def opened(root: Path, **changes: Any) -> RunRecord:
    config = {
        "scene": "mug",
        "seed": 0,
        "eval": {"protocol": "standard", "n_views": changes.pop("n_views", 2)},
    }
    settings: dict[str, Any] = {
        "dataset": "demo", "scene": "mug", "label": "neus", "seed": 0, "key": run_key(config), "config": config,
        "config_yaml": "scene: mug", "overrides": ["scene=mug"], "max_steps": STEPS[-1], "code_hash": "c0de",
        "git": (Git(sha="abc", dirty=True, diff="git.diff"), b"diff\n"), "versions": {"python": "3"},
    }  # fmt: skip
    return RunRecord.open(root, **{**settings, **changes})


def trained(root: Path, say: Callable[[str], None], **changes: Any) -> None:
    """A start of the run to its end. ``say`` reports what may not be lost any more."""
    with opened(root, **changes) as run:
        if run.action == "skip":
            say("skipped")
            return
        begun = 0
        if run.action == "resume":
            begun = int(run.checkpoint().read_bytes())
            run.resume_from(begun)
        if run.action in ("train", "resume"):
            for step in STEPS:
                if step > begun:
                    run.log(step, {"train/loss": 1.0 / step})
                    written(run.checkpoint(), str(step))
                    run.checkpointed(step)
                    say(f"step {step}")
            run.mark_trained()
        written(run.path("renders/000.png"), "a picture")
        run.finish(Scores(), {"renders": run.path("renders")})
        say("finished")


def written(path: Path, text: str) -> None:
    from isosweep.runtime.files import atomic_write_text

    atomic_write_text(path, text)


@dataclass(frozen=True)
class Story:
    """One thing that is done to a folder, in a process that may die.

    Args:
        before: makes what is there already.
        start: does it; it may be called again after it was killed, with whether it was begun before.
    """

    name: str
    before: Callable[[Path], object]
    start: Callable[[Path, Callable[[str], None]], object]
    finished_before: bool = False
    """Whether there is a finished result already, which may not be lost."""
    again: bool = False
    """Whether each start begins anew, even if the last one has finished: then what that one reported may go."""


def nothing(root: Path) -> None:
    """An empty folder."""


def silent(text: str) -> None:
    """Nobody is told."""


def closed(root: Path, say: Callable[[str], None]) -> None:
    """The launcher closes the record of a run that died, before it starts again."""
    for folder in find_runs(root):
        close_abandoned(folder, "failed", ErrorRecord(type="Killed", message="it was killed", traceback=""))
    trained(root, say)


STORIES = (
    Story("run", nothing, trained),
    Story("closed", nothing, closed),
    Story(
        "force",
        lambda root: trained(root, silent),
        lambda root, say: trained(root, say, force=True),
        True,
        True,
    ),
    Story("score", lambda root: trained(root, silent), lambda root, say: trained(root, say, n_views=3), True),
    Story(
        "rescore",
        lambda root: trained(root, silent),
        lambda root, say: trained(root, say, rescore=True),
        True,
    ),
)


def main_run(root: Path, say: Callable[[str], None]) -> None:
    """A whole run of main.py in this process, which has forked; its data, that of the demo, are drawn in memory."""
    import runpy

    sys.argv = [str(ROOT / "main.py"), *RUN, *SHORT, "seed=0", f"run.root={root}"]
    with (
        (root.parent / f"{root.name}.log").open("a") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise
    say("finished")


def told_of(path: Path) -> Callable[[str], None]:
    """Writes what is reported to a file outside of the folder that is killed in, with calls that are not counted."""

    def say(text: str) -> None:
        with path.open("a") as file:
            file.write(f"{text}\n")

    return say


def comparable(root: Path) -> list[Any]:
    """All of the runs below a folder that has to be equal: no times, no attempts, no process."""
    found = []
    for folder in find_runs(root):
        record = read_record(folder)
        scores = None if record.scores is None else record.scores.values
        lines = [
            {k: v for k, v in line.items() if k != "time_s" and not k.endswith("_per_s")}
            for line in read_metrics(folder / "metrics.jsonl")
        ]
        last = folder / "last.pt"
        content = last.read_bytes() if last.is_file() and last.stat().st_size < 10 else None
        config = json.dumps(record.config, sort_keys=True).replace(str(root), "")
        names = (
            record.status,
            record.trained,
            record.steps_done,
            record.run_key,
            record.artifacts,
            record.scores_of,
        )
        found.append((names, scores, config, lines, content))
    return found


def wrong_after_a_kill(story: Story, root: Path, reports: list[str]) -> list[str]:
    """What a reader would find wrong in the folder of a run that was killed."""
    wrong = []
    records: list[Record] = []
    for folder in find_runs(root):
        try:
            records.append(read_record(folder))
            read_metrics(folder / "metrics.jsonl") if (folder / "metrics.jsonl").exists() else None
        except (ValueError, OSError) as error:
            wrong.append(f"unreadable: {error}")
    status = [record.status for record in records]
    if {"finished", "skipped"} & set(reports) and status != ["finished"]:
        wrong.append(f"it was reported finished, and is {status}")
    steps = [int(text.split()[1]) for text in reports if text.startswith("step ")]
    if steps:
        place = next(iter(find_runs(root)), None)
        kept = (
            (place / "last.pt").read_text()
            if place is not None and (place / "last.pt").is_file()
            else "nothing"
        )
        if not kept.isdecimal() or int(kept) < max(steps):
            wrong.append(f"step {max(steps)} was reported, and the checkpoint has {kept}")
    if story.finished_before and not _a_result_is_there(root):
        wrong.append("the finished result is in no record any more")
    return wrong


def _a_result_is_there(root: Path) -> bool:
    for path in root.rglob("record.json"):
        with contextlib.suppress(ValueError, OSError):
            record = read_record(path)
            if record.scores is not None and record.trained:
                return True
    return False


@dataclass
class Trial:
    """A folder in which one story is told, killed, and told again."""

    story: Story
    root: Path
    reports: Path
    killed: int = 0
    wrong: list[str] = field(default_factory=list)

    def run(self, rng: random.Random, first: tuple[int, Any], calls: int) -> None:
        """Kill at ``first``, a number of a call and when; then at random calls of every second start."""
        self.root.mkdir(parents=True)
        self.story.before(self.root)
        at = first
        for _ in range(MOST_STARTS):
            counted = Counted(self.root, at[0], at[1])
            if self.story.again:
                self.reports.unlink(missing_ok=True)
            code = in_a_child(lambda: self.story.start(self.root, told_of(self.reports)), counted)
            said = self.reports.read_text().splitlines() if self.reports.exists() else []
            self.wrong += [
                f"{text} (call {at[0]}, {at[1]})" for text in wrong_after_a_kill(self.story, self.root, said)
            ]
            if code == 0:
                return
            if code != -9:
                self.wrong.append(f"a start ended with {code} (call {at[0]}, {at[1]})")
                return
            self.killed += 1
            at = (rng.randrange(1, calls + 1), rng.choice(WHEN)) if rng.random() < 0.5 else (0, "before")
        code = in_a_child(lambda: self.story.start(self.root, told_of(self.reports)), Counted(self.root))
        if code != 0:
            self.wrong.append(f"a start that nobody killed ended with {code}")

    def left(self) -> list[str]:
        """Temporary files that lie about at the end.

        A lock's may, where the last start found the run finished: it changes nothing, and so removes nothing.
        """
        found = [
            p for p in self.root.rglob("*") if p.name.endswith(".tmp") or p.name.startswith("lock.after-")
        ]
        said = self.reports.read_text().splitlines() if self.reports.exists() else []
        if said[-1:] == ["skipped"]:
            found = [p for p in found if not p.name.startswith((".lock-", "lock.after-"))]
        # half a file of a lock names no process that could be looked for
        found = [p for p in found if not (p.name.startswith(".lock-") and not p.read_bytes().endswith(b"\n"))]
        return [f"left over: {', '.join(sorted(p.name for p in found))}"] if found else []


def tell(
    stories: tuple[Story, ...], trials: int, folder: Path, seed: int, same: Callable[[Path, Path], list[str]]
) -> int:
    """Run the trials, in turn of each story; prints the figures, and returns the exit code."""
    began = time.monotonic()
    rng = random.Random(seed)
    plans = []
    for story in stories:
        straight = folder / f"straight-{story.name}"
        straight.mkdir(parents=True)
        story.before(straight)
        counted = Counted(straight, names=[])
        code, calls = counted_calls(story, straight, counted)
        if code != 0:
            print(f"error: the start that nobody kills ended with {code}: {story.name}", file=sys.stderr)
            return 1
        print(f"{story.name}: {calls} calls", flush=True)
        points = [(n, when) for n in range(1, calls + 1) for when in WHEN]
        rng.shuffle(points)
        plans.append((story, straight, points, calls))
    kills = bad = 0
    points_hit = set()
    for number in range(trials):
        story, straight, points, calls = plans[number % len(plans)]
        first = points[(number // len(plans)) % len(points)]
        points_hit.add((story.name, first))
        root = folder / f"trial-{number}"
        trial = Trial(story, root, folder / f"trial-{number}.said")
        trial.run(rng, first, calls)
        wrong = trial.wrong or [*trial.left(), *same(straight, root)]
        for text in wrong:
            print(f"trial {number} ({story.name}, call {first[0]}, {first[1]}) WRONG: {text}", flush=True)
        kills, bad = kills + trial.killed, bad + bool(wrong)
        if not wrong:
            shutil.rmtree(root)
            trial.reports.unlink(missing_ok=True)
        if (number + 1) % 50 == 0:
            print(
                f"  {number + 1} of {trials} trials, {kills} kills, {bad} wrong, {time.monotonic() - began:.0f} s",
                flush=True,
            )
    possible = sum(len(points) for _, _, points, _ in plans)
    print(
        f"{kills} kills, {bad} wrong ({trials} trials, {len(points_hit)} of {possible} places first, "
        f"{time.monotonic() - began:.0f} s)"
    )
    return 1 if bad else 0


def counted_calls(story: Story, root: Path, counted: Counted) -> tuple[int, int]:
    """The exit code of a start that nobody kills, and how many calls it made."""
    place = root.with_name(f"{root.name}.calls")

    def start() -> None:
        story.start(root, silent)
        place.write_text(str(counted.calls))

    code = in_a_child(start, counted)
    return code, int(place.read_text()) if place.is_file() else 0


def same_record(straight: Path, root: Path) -> list[str]:
    """How the end differs from that of the run that was never killed."""
    one, other = comparable(straight), comparable(root)
    return [] if one == other else [f"another end: {other} instead of {one}"[:2000]]


def same_run(straight: Path, root: Path) -> list[str]:
    """The same with the weights."""
    if wrong := same_record(straight, root):
        return wrong
    return differing(*(weights(find_runs(place)[0]) for place in (straight, root)))


def main() -> int:
    made = parser(__doc__, "places and their order")
    made.add_argument("--layer", choices=("record", "run"), default="record")
    made.add_argument("--trials", type=int, default=None, help="900 of records, 100 of runs")
    options = parsed(made)
    folder = options.folder.resolve()
    if options.layer == "record":
        return tell(STORIES, options.trials or 900, folder, options.seed, same_record)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    import isosweep.app.run  # noqa: F401 - imported once, for all forked children

    torch.set_num_threads(1)
    return tell((Story("run", nothing, main_run),), options.trials or 100, folder, options.seed, same_run)


if __name__ == "__main__":
    sys.exit(main())
