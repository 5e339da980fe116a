"""The decorator of Triton kernels."""

import inspect
from collections.abc import Callable
from typing import Any

import triton  # pyright: ignore[reportMissingImports]


def kernel(function: Callable) -> Any:
    """triton.jit of the function itself: a run-time type checker that wraps every function of a package
    must not reach the compiler, which reads the source and the module's names."""
    return triton.jit(inspect.unwrap(function))
