"""Loss terms, each a function of what was rendered and what was photographed, and their weighted sum.

May import: bounds, config, errors, samplers, types.
"""
