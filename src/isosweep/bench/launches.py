"""Counts what steps of training ask of a card: kernels to launch, values to read back, bytes to move. It needs none.

A card that waits for its host is as slow as the host. Where no card is at hand, a change of the code can be judged by
these counts: torch's operations are counted as they are dispatched, Triton's kernels as they are launched in its
interpreter, each with the line of the source that asked for it.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

import isosweep
from isosweep.bench.quality import demo_training
from isosweep.ops import backends

PACKAGE = Path(isosweep.__file__).parent
LAUNCH = str(PACKAGE / "ops" / "triton" / "launch.py")
"""Its lines launch for others."""
MEMORY = ("empty", "new_empty", "empty_strided", "new_empty_strided", "empty_like", "detach", "set_")
"""Operations that only make or rename memory; so do those that return a view, but for UPLOAD."""
MARKS = ("_record_function_enter_new", "_record_function_enter", "_record_function_exit")
"""What tells a profiler of the optimiser's steps; nothing is computed."""
FREE = MEMORY + MARKS
UPLOAD = "lift_fresh"
"""What ``torch.tensor`` ends with: on a card a copy from the host."""
READS = ("_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "equal")
"""Operations whose result the host waits for, or whose size it must know."""


@dataclass
class Launches:
    """Counts of some training steps, by source line; the properties are per step."""

    steps: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    """torch's operations that launch a kernel. One that launches several counts once."""
    triton: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)
    """Reads by the host. Each one empties the card's queue."""
    bytes: Counter[str] = field(default_factory=Counter)
    """Bytes of the tensors that go into the counted operations and kernels and come out of them."""

    @property
    def launches(self) -> float:
        return (self.operations.total() + self.triton.total()) / self.steps

    @property
    def host_reads(self) -> float:
        return self.reads.total() / self.steps

    @property
    def mebibytes(self) -> float:
        return self.bytes.total() / self.steps / 2**20

    def lines(self) -> list[tuple[str, float, float, float]]:
        """Source line, launches, reads and MiB per step; most launches first."""
        launches = self.operations + self.triton
        keys = sorted(launches | self.reads, key=lambda key: (-launches[key], -self.reads[key], key))
        return [
            (
                key,
                launches[key] / self.steps,
                self.reads[key] / self.steps,
                self.bytes[key] / self.steps / 2**20,
            )
            for key in keys
        ]


class LaunchCounter(TorchDispatchMode):
    """Counts while it is entered. It cannot see a copy to the host (``.cpu()``), which is none on a CPU.

    Nothing is counted of what a Triton kernel does in the interpreter, which is a single launch on a card.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found, self._entered = Launches(), False

    def __enter__(self) -> "LaunchCounter":
        self._entered = True
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self._entered = False
        super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        place = _place()
        if name in READS or _size_is_unknown(name, args, kwargs or {}):
            self.found.reads[place] += 1
        if name == "_local_scalar_dense" or name in FREE or (_is_view(func) and name != UPLOAD):
            return out
        self.found.operations[place] += 1
        self.found.bytes[place] += _bytes((args, kwargs, out))
        return out

    def launch(
        self, original: Callable[..., None], kernel: Any, grid: tuple, *args: Any, **constants: Any
    ) -> None:
        """A launch of a Triton kernel, in place of ``original``; counted while this is entered."""
        place = _place()
        if self._entered and 0 not in grid:
            self.found.triton[place] += 1
            self.found.bytes[place] += _bytes(args)
        with _disable_current_modes():
            original(kernel, grid, *args, **constants)


def count_training(conf: Path, overrides: Sequence[str], steps: int, after: int = 0) -> Launches:
    """Count the training loop itself over ``steps`` steps, after ``after`` steps that are not counted.

    Runs the demo on the CPU with the Triton kernels in Triton's interpreter, in float32 (autocast is a card's alone).
    An occupancy grid has 16 cells a side.

    Raises:
        RuntimeError: Triton was imported without TRITON_INTERPRET=1.
    """
    from isosweep.ops.triton import launch

    if not launch.interpreted():
        raise RuntimeError(
            "Triton is not in its interpreter: set TRITON_INTERPRET=1 before anything imports it"
        )
    last = after + steps
    settings = {"max_steps": last + 1, "log_every": last + 1, "val_every": 0}
    job = demo_training(conf, torch.device("cpu"), overrides, {"sampler.resolution": 16}, **settings)
    counter, original, active = LaunchCounter(), launch.run, backends._active
    counting = ExitStack()
    backends._active = (backends.Choice("cuda", "counted in Triton's interpreter"), backends.MODULES["cuda"])
    launch.run = lambda kernel, grid, *args, **constants: counter.launch(
        original, kernel, grid, *args, **constants
    )
    try:
        with (
            counting,
            torch.autograd.set_detect_anomaly(True, check_nan=False),
        ):  # it keeps each operation's line
            job.run(at={after: lambda: counting.enter_context(counter), last: counting.close})
    finally:
        launch.run, backends._active = original, active
    counter.found.steps = steps
    return counter.found


def _is_view(func: Any) -> bool:
    """Whether an operation returns its input's memory without writing to it."""
    returned = [one.alias_info for one in func._schema.returns]
    return bool(returned) and all(alias is not None and not alias.is_write for alias in returned)


def _size_is_unknown(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether the size of the result, or of the selection that is written, depends on values."""
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    if name not in ("index", "index_put", "index_put_"):
        return False
    return any(isinstance(i, Tensor) and i.dtype == torch.bool for i in args[1])


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0


def _place() -> str:
    """The line of isosweep that asked for an operation; of a gradient, the line whose gradient it is."""
    node = torch._C._current_autograd_node()
    if node is not None:
        metadata: Any = node.metadata
        trace = "".join(metadata.get("traceback_", ()))
        lines = [line.strip() for line in trace.splitlines() if f'File "{PACKAGE}' in line]
        if not lines:
            return "backward"
        path, line = lines[-1].split('"')[1], lines[-1].split("line ")[1].split(",")[0]
        return f"backward of {Path(path).relative_to(PACKAGE)}:{line}"
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(str(PACKAGE)) and path not in (__file__, LAUNCH):
            return f"{Path(path).relative_to(PACKAGE)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"
