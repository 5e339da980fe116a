"""Good records, metrics, checkpoints and sweeps to spoil."""

import io
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from isosweep.record import Git, Memory, RunRecord, read_metrics, read_record, run_key
from isosweep.record.launch import Launch, SweepJob, outcome_path, write_launch
from isosweep.record.lock import Holder
from isosweep.record.outcome import JobOutcome
from isosweep.record.progress import ProgressNote, write_progress
from isosweep.record.schema import Attempt, Times, encode_record
from tests.report.hand import put, record
from tests.support.mutated import VALUES

CONFIG: dict[str, Any] = record()["config"]
KEY = run_key(CONFIG)
HOLDER = Holder(nonce="n", host="gone", pid=1)
RUN = f"demo/mug/neus-s0-{KEY}"


def opened(root: Path, **changes: Any) -> RunRecord:
    """The start of a run that may have begun before."""
    settings: dict[str, Any] = {
        "dataset": "demo", "scene": "mug", "label": "neus", "seed": 0, "key": KEY, "config": CONFIG,
        "config_yaml": "scene: mug", "overrides": ["scene=mug"], "max_steps": 300, "heartbeat": 1.0, "stale_after": 3.0,
        "code_hash": "c0de", "git": (Git(sha="abc"), b""), "versions": {"python": "3"},
    }  # fmt: skip
    return RunRecord.open(root, **{**settings, **changes})


def half_a_run(folder: Path) -> None:
    """A run that was interrupted after its second checkpoint."""
    with opened(folder) as run:
        for step in (100, 200):
            run.log(step, {"train/loss": 1.0 / step, "val/psnr": 20.0 + step / 100})
            run.checkpoint("last").write_text(str(step))
            run.checkpointed(step)
        run.log(250, {"train/loss": 0.1})
    # the same bytes from every process
    attempt = Attempt(action="train", started="2026", host="h", pid=1, status="interrupted")
    fixed = msgspec.structs.replace(
        read_record(run.folder), times=Times(), memory=Memory(), attempts=[attempt]
    )
    (run.folder / "record.json").write_bytes(encode_record(fixed))
    lines = [
        {k: v for k, v in line.items() if k != "time_s"}
        for line in read_metrics(run.folder / "metrics.jsonl")
    ]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run.folder / "run.log").unlink()


def go_on(folder: Path) -> None:
    """Start the run again, to its end."""
    with opened(folder) as run:
        if run.action == "skip":
            return
        if run.action == "resume":
            run.resume_from(200)
        if run.action in ("train", "resume"):
            run.log(300, {"train/loss": 0.01})
            run.checkpointed(300)
            run.mark_trained()
        run.finish()


def reported(folder: Path) -> None:
    """Two finished runs of a scene, and one of another program."""
    put(folder / "runs", record(seed=0), record(seed=1), record("nerf", seed=0, values={"nvs/psnr": 28.0}))


def sweep(folder: Path) -> None:
    """A sweep of two jobs, one of which has ended."""
    launch = folder / "sweeps" / "many" / "20260101T000000.000-abcdef"
    launch.mkdir(parents=True)
    jobs = [SweepJob(number=n, overrides=[f"seed={n}"], title=f"job {n}", key=f"{n:016x}") for n in range(2)]
    made = Launch(
        id="1",
        sweep="many",
        created="2026",
        launcher="local",
        holder=HOLDER,
        cwd=".",
        run_root="runs",
        jobs=jobs,
    )
    write_launch(launch, made)
    JobOutcome(status="failed", key="0" * 16, folder="x").write(outcome_path(launch, 0))
    (folder / "runs").mkdir()
    write_progress(folder, ProgressNote(what="training", done=1, total=2))


def metrics(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    lines = [{"step": s, "val/psnr": 20 + s / 10, "train/loss": "nan", "time_s": s / 3} for s in range(1, 6)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def jsons(folder: Path) -> None:
    """Files that people and other programs write beside runs."""
    folder.mkdir(exist_ok=True)
    camera = {"c2w": [[1, 0, 0, 0.0], [0, 1, 0, 0], [0, 0, 1, 4]], "fov": 0.7, "aspect": 1.5}
    (folder / "cameras.json").write_text(json.dumps({"frame": "world", "cameras": [camera]}, indent=1))
    (folder / "crop.json").write_text(
        json.dumps({"low": [-1, -1, -1], "high": [1, 1, 1], "unit": "normalised"})
    )
    (folder / "dataparser_transforms.json").write_text(
        json.dumps({"transform": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], "scale": 0.5})
    )
    (folder / "isosweep.json").write_text(
        json.dumps({"to_world": [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]})
    )
    (folder / "record.json").write_text(json.dumps(record(), indent=1))


@cache
def parts() -> Any:
    """A model of a few numbers with its optimiser, as training keeps them."""
    import torch

    from isosweep.models.base import Model
    from isosweep.training.average import Average
    from isosweep.training.loop import TrainState

    class Small(Model):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

    Small.__abstractmethods__ = frozenset()  # it is stored and restored, and renders nothing
    torch.manual_seed(0)
    model = Small()
    optimizer = torch.optim.Adam(model.parameters())
    state = TrainState(
        optimizer, torch.amp.GradScaler("cpu", enabled=False), torch.Generator().manual_seed(0), 64
    )
    state.average = Average(model, 0.9)
    return model, state


def checkpoint(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    model, state = parts()
    if not state.optimizer.state:
        model.layer(model.layer.weight[0].detach()).sum().backward()
        state.optimizer.step()
    state.save(folder / "last.pt", model, "0123456789abcdef")


def restore(folder: Path) -> None:
    """What a resumed training and a scoring do with a checkpoint."""
    from isosweep.training import checkpoint as room

    model, state = parts()
    path = folder / "last.pt"
    saved = room.load(path, "cpu", "0123456789abcdef")
    state.restore(saved, model, path)
    room.load_weights(model, room.trained(saved), path)


def other_values(data: bytes, rng: random.Random) -> bytes:
    """A checkpoint with another value or without a key, which torch reads all the same."""
    import torch

    try:
        whole = torch.load(io.BytesIO(data), weights_only=True)
    except Exception:  # torch raises half a dozen types, struct.error among them
        return data  # an earlier change has made it unreadable
    within, key, here = None, None, whole
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        keys = (
            list(here) if isinstance(here, dict) else list(range(len(here))) if isinstance(here, list) else []
        )
        if not keys:
            break
        within, key = here, rng.choice(keys)
        here = within[key]
    if within is None:
        return data
    if rng.random() < 0.3:
        del within[key]
    else:
        within[key] = rng.choice([*VALUES, *_tensors()])
    out = io.BytesIO()
    try:
        torch.save(whole, out)
    except (RuntimeError, UnicodeEncodeError, OverflowError, RecursionError):
        return data
    return out.getvalue()


def _tensors() -> list[Any]:
    import torch

    return [torch.zeros(3), torch.zeros(0), torch.tensor([float("nan")]), torch.ones(1, 2, dtype=torch.int64)]
