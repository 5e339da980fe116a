"""Models render rays: NeRF, the original NeRF with two networks, and NeuS; any may have a learned background.

May import: bounds, config, encodings, errors, fields, geometry, ops, samplers, types.
"""
