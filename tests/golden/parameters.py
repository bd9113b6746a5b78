"""Names and shapes of every layer's parameters, kept in `parameters.json` so that no saved model loses its meaning.

After a change that is meant, write the file anew: `python tests/golden/parameters.py`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FILE = Path(__file__).with_name("parameters.json")
Description = dict[str, dict[str, list[int]]]


def describe() -> Description:
    """Row of the inventory → name of each tensor in its state dictionary → shape."""
    from laws.inventory import ROWS

    return {row.name: {name: list(tensor.shape) for name, tensor in row.make(0).state_dict().items()} for row in ROWS}


def stored() -> Description:
    return json.loads(FILE.read_text())


def differences(found: Description, golden: Description) -> list[str]:
    """One line for each disagreement, sorted."""
    lines = [f"{row}: not in the golden file" for row in found.keys() - golden.keys()]
    lines += [f"{row}: no such row in the inventory" for row in golden.keys() - found.keys()]
    for row in found.keys() & golden.keys():
        ours, theirs = found[row], golden[row]
        lines += [f"{row}: {name} is not in the golden file" for name in ours.keys() - theirs.keys()]
        lines += [f"{row}: {name} is missing" for name in theirs.keys() - ours.keys()]
        lines += [
            f"{row}: {name} has shape {ours[name]}, the golden file says {theirs[name]}"
            for name in ours.keys() & theirs.keys()
            if ours[name] != theirs[name]
        ]
    return sorted(lines)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    FILE.write_text(json.dumps(describe(), indent=1) + "\n")
    print(f"wrote {FILE}")
