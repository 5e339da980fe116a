"""The config of a run: its schema and settings, the checks of it, and the messages that explain a mistake in it.

May import: bounds, errors, record, runtime.
"""
