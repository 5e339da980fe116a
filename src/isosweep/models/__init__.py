"""Models render rays: NeRF and NeuS, with or without a learned background.

May import: config, encodings, errors, fields, geometry, ops, samplers, types.
"""
