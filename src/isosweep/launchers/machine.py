"""The backends of this machine, found without importing torch."""

from importlib.util import find_spec


def expected_backends(device: str) -> tuple[str, ...]:
    """What ``backend=auto`` may resolve to on a kind of device, the likeliest first."""
    if device == "cuda":
        return ("cuda", "torch")
    return ("cpu", "torch") if find_spec("numba") else ("torch",)
