"""A stand-in for ``tinycudann.Network`` on a CPU, with its interface, layout and precision (April 2026)."""

import math
from typing import Any

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """Flat float32 parameters that are rounded to half precision in each call, and outputs in half precision.

    Inputs are padded with ones to a multiple of 16, as the identity encoding before a network does.
    """

    def __init__(
        self, n_input_dims: int, n_output_dims: int, network_config: dict[str, Any], seed: int = 1337
    ) -> None:
        super().__init__()
        assert set(network_config) == {
            "otype",
            "activation",
            "output_activation",
            "n_neurons",
            "n_hidden_layers",
        }
        assert network_config["otype"] in ("FullyFusedMLP", "CutlassMLP")
        assert network_config["activation"] in ("ReLU", "Softplus")
        assert network_config["output_activation"] == "None"
        width, n_hidden = network_config["n_neurons"], network_config["n_hidden_layers"]
        if network_config["otype"] == "FullyFusedMLP" and (width not in (16, 32, 64, 128) or n_hidden < 1):
            raise RuntimeError("FullyFusedMLP only supports 16, 32, 64, and 128 neurons")
        self.n_output_dims, self.inputs = n_output_dims, n_input_dims
        self.softplus = network_config["activation"] == "Softplus"
        padded = [16 * math.ceil(n / 16) for n in (n_input_dims, n_output_dims)]
        self.shapes = [(width, padded[0]), *[(width, width)] * (n_hidden - 1), (padded[1], width)]
        self.params = nn.Parameter(torch.zeros(sum(rows * columns for rows, columns in self.shapes)))

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        assert x.shape[1] == self.inputs
        assert len(x)
        assert self.params.dtype == torch.float32
        h = nn.functional.pad(x, (0, self.shapes[0][1] - self.inputs), value=1.0).half()
        used = 0
        for k, (rows, columns) in enumerate(self.shapes):
            weight = self.params[used : used + rows * columns].reshape(rows, columns).half()
            used += rows * columns
            h = (h.float() @ weight.float().T).half()
            if k + 1 < len(self.shapes):
                h = (nn.functional.softplus(10 * h.float()) / 10).half() if self.softplus else torch.relu(h)
        return h[:, : self.n_output_dims]
