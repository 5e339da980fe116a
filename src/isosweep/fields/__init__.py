"""Fields are functions of points in space: signed distance, density and colour, with the gradients they need.

May import: bounds, encodings, errors, ops.
"""
