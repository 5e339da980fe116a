"""What a process that computes on the CPU has set, whether it trains, scores or measures."""

from isosweep.ops.cpu.denormals import flush_denormals
from isosweep.ops.cpu.memory import keep_freed_memory


def prepare_process() -> None:
    """Take denormal numbers as zero and keep freed memory. Call it before torch starts its threads."""
    flush_denormals()
    keep_freed_memory()
