"""The Triton kernels beyond their parity, which the ``kernels`` fixture gives every test of this folder."""

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed (it has wheels for Linux only)")

from isosweep import ops
from isosweep.ops import backends, reference
from isosweep.ops.triton import backend as cuda
from tests.ops.inputs import SPECS
from tests.ops.triton_compile import KERNELS


def test_every_kernel_compiles_for_the_oldest_the_usual_and_the_newest_card() -> None:
    """To machine code: Turing, Hopper, Blackwell; no card is needed for it.

    Those between (80, 86, 89, 100) take a minute more: ``TRITON_INTERPRET=0 python -m tests.ops.triton_compile 80 86``.
    """
    cards = ["90", "75", "120"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.ops.triton_compile", *cards],
        env=os.environ | {"TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert done.stdout.count(" bytes") == len(KERNELS) * (len(cards) + 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card: nothing is interpreted")
def test_tensors_in_main_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isosweep.ops.triton.launch.interpreted", lambda: False)
    spec = SPECS["all dense"]
    with pytest.raises(ValueError, match=r"a tensor lies on 'cpu'.*use\('auto', device\)"):
        cuda.grid_encode(torch.rand(2, 3), torch.rand(spec.total, 2), spec)


def test_half_precision_is_refused() -> None:
    spec = SPECS["all dense"]
    with pytest.raises(ValueError, match=r"float32 or float64, got torch\.float16"):
        cuda.grid_encode(torch.rand(2, 3).half(), torch.rand(spec.total, 2).half(), spec)


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="a card reports bad offsets by its own assertion, later"
)
def test_offsets_that_point_elsewhere_are_refused() -> None:
    with pytest.raises(ValueError, match=r"start at 0, never fall and end at 3.*got \[0, 2\]"):
        cuda.render_weights(torch.rand(3), torch.tensor([0, 2]))


@pytest.mark.parametrize("n", [63, 64, 65, 128, 1000])
def test_rays_of_any_length(n: int) -> None:
    """Compositing scans a ray in chunks, and hands the transmittance on from one to the next."""
    kernels = cuda if not torch.cuda.is_available() else pytest.skip("the parity tests cover it on a card")
    generator = torch.Generator().manual_seed(n)
    alpha = (0.02 * torch.rand(n + 5, generator=generator, dtype=torch.float64)).requires_grad_()
    offsets = torch.tensor([0, 2, 2, n + 2, n + 5])
    theirs = alpha.detach().clone().requires_grad_()
    weight = torch.randn(n + 5, generator=generator, dtype=torch.float64)
    w, truth = kernels.render_weights(alpha, offsets), reference.render_weights(theirs, offsets)
    torch.testing.assert_close(w, truth)
    (w * weight).sum().backward()
    (truth * weight).sum().backward()
    torch.testing.assert_close(alpha.grad, theirs.grad)
    bar = 0.5
    assert torch.equal(kernels.visible(alpha, offsets, bar), reference.visible(theirs, offsets, bar))


def test_a_surface_network_is_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole chain behind the interface: values and gradients of a surface network through ``ops``."""
    spec, device = SPECS["dense and hashed"], "cuda" if torch.cuda.is_available() else "cpu"
    u = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)).to(device)
    results = []
    for module in ("reference", "cuda"):
        monkeypatch.setattr(
            backends,
            "_active",
            (
                ops.Choice(module, "test"),
                {"cuda": "isosweep.ops.triton.backend"}.get(module, f"isosweep.ops.{module}"),
            ),
        )
        with torch.device(device):
            table = torch.linspace(-1, 1, spec.total * 2).reshape(-1, 2).requires_grad_()
            layers = [(torch.full((8, 15), 0.05), torch.zeros(8)), (torch.full((4, 8), 0.1), torch.zeros(4))]
        out, gradient = ops.surface_network(u, table, spec, layers[0], layers[1], 100.0)
        assert gradient is not None
        (out.sum() + gradient.square().sum()).backward()
        results.append((out.detach(), gradient.detach(), table.grad))
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-4)
