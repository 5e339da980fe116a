"""isosweep: a Hydra-composed laboratory for NeRF and NeuS."""

__version__ = "0.1.0"
