"""Methods that are not ours: their data is prepared, they are run and watched, and what they made is read.

May import: config, data, errors, evaluation, geometry, meshes, prepare, rendering, runtime, types.
"""
