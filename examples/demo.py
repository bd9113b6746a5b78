"""The main job on built-in data: raw text and few labels in; table, verdict and page out. Run by `make demo`.

The data is `builtin:grammar`, a small generated language in which the same word is a noun here and a verb there, so that a
few labelled sentences are not enough and raw text can help. For real English without a download try, in more time:

    carryover compare --task tag --train builtin:pydocs/train --test builtin:pydocs/test --raw builtin:pydocs/code --out runs/roles
"""

from __future__ import annotations

import shlex
import sys

from carryover.cli.main import run_command

COMMAND = """
compare --task tag --train builtin:grammar/train --test builtin:grammar/test --raw builtin:grammar
        --rungs features,static,scratch,frozen,full --budgets 25,100 --seeds 5
        --size tiny --pretrain-time 45s --out runs/demo
"""


def main() -> int:
    arguments = shlex.split(COMMAND)
    print("carryover " + shlex.join(arguments), file=sys.stderr)
    return run_command(arguments)


if __name__ == "__main__":  # the worker processes of the comparison import this file again
    sys.exit(main())
