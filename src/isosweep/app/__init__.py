"""One run from its config to its record: its parts are built and checked, it trains, and what it made is kept.

May import: config, data, errors, evaluation, external, losses, meshes, models, ops, prepare, record, rendering,
runtime, trackers, training, types, viewer.
"""
