"""The training loop, its optimiser, and the checkpoint file that holds all of its state.

May import: config, data, errors, losses, models, ops, record, runtime, types.
"""
