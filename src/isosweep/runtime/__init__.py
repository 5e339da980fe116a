"""What a process shares with its machine: cores, signals that ask it to stop, and files that are written whole.

May import: errors.
"""
