"""Offsets of packed samples that are known to be sound, so that a card does not check them at every kernel."""

from torch import Tensor

SOUND = "_isosweep_sound"
"""The attribute of offsets that have been checked: the number of samples, and the version of the tensor."""


def mark_sound(offsets: Tensor, n_samples: int) -> None:
    """Remember that offsets [R + 1] are sound for so many samples, as long as nothing writes to them.

    They start at 0, never fall, and end at ``n_samples``: whoever made them so says it here. Tensors of the inference
    mode have no version, so that a write to them would not be noticed; they are not marked.
    """
    if offsets.is_contiguous() and not offsets.is_inference():
        setattr(offsets, SOUND, (n_samples, offsets._version))


def is_sound(offsets: Tensor, n_samples: int) -> bool:
    """Whether these offsets have been marked for so many samples, and not been written to since."""
    return hasattr(offsets, SOUND) and getattr(offsets, SOUND) == (n_samples, offsets._version)
