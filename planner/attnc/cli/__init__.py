"""The command line: a thin skin over the library, one module for each command.

`main` is what the `attnc` script calls; `app` is the same as a click group, for scripts and tests. Nothing
here imports Numba; commands that compile import it when they run.
"""

from attnc.cli.app import app, main

__all__ = ["app", "main"]
