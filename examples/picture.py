"""The learning curves of a comparison's page as a picture file.

    python examples/picture.py runs/demo/report.html learning-curves.svg

The curves take their colours from the style of the page. The picture gets a copy of them, a background and the colours for dark
screens, so that it looks the same in a README or on a slide.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_COLOURS = re.compile(r"--(?:page|quiet|grid|rung-\w+): #[0-9a-f]{6};")


def picture(page: str) -> str:
    """The wide learning curves of the text of a `report.html` as one SVG document. Raises ValueError where it has none."""
    curves = re.search(r'<svg [^>]*class="wide".*?</svg>', page, re.DOTALL)
    if curves is None:
        raise ValueError("the page has no learning curves: it is not the report.html of a comparison with finished cells")
    blocks = re.findall(r":root \{(.*?)\}", page, re.DOTALL)  # those of light screens and of dark ones by turns
    light, dark = (" ".join(_COLOURS.findall(" ".join(blocks[turn::2]))) for turn in (0, 1))
    style = (
        f"<style>svg {{ {light} background: var(--page); font-family: system-ui, sans-serif; }} "
        f"@media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}</style>"
    )
    head, rest = curves[0].split(">", 1)
    return f"{head}>{style}{rest}\n"


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print("usage: python examples/picture.py REPORT.html PICTURE.svg", file=sys.stderr)
        return 2
    source, target = map(Path, arguments)
    target.write_text(picture(source.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
