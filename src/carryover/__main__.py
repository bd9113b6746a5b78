"""`python -m carryover` is the command line, also where another program starts it so (`torchrun -m carryover …`)."""

from __future__ import annotations

from carryover.cli.main import run

if __name__ == "__main__":
    run()
