"""Models seen from anywhere in a browser, while they train or afterwards: they are drawn between the steps.

May import: config, errors, geometry, meshes, rendering, runtime, types.
"""
