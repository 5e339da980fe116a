"""Methods that run anywhere, as programs of their own: they know a prepared folder and nothing of the run."""
