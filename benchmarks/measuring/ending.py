"""How a script ends: by the exit codes of the command line, an error that a person can cause being one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from carryover.errors import CarryoverError


def leave(main: Callable[[], Any]) -> None:
    """Run `main` and exit with what it returns (None is 0), or say what was wrong and exit with the error's code."""
    try:
        code = main()
    except CarryoverError as error:
        print(f"{sys.argv[0]}: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print(f"{sys.argv[0]}: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)
