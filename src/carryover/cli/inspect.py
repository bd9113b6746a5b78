"""`carryover inspect`: look inside a pretrained model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from carryover.cli import options
from carryover.cli.output import print_document, print_lines, print_rows, say_when_waiting
from carryover.errors import UsageError, nearest
from carryover.progress import say
from carryover.setting import DATA, OUTPUT, RESULT

WHAT = ("neuron",)


def inspect(
    what: Annotated[str, typer.Argument(metavar="neuron", help="What to look at: neuron, a unit of a layer along a text.")],
    model: Annotated[Path, typer.Argument(help="Folder of a pretrained model.")],
    source: Annotated[str, typer.Argument(metavar="[FILE|-]", help="The text. Default: standard input.")] = "-",
    text: Annotated[
        str | None, typer.Option("--text", help="The text itself, in place of a file.", metavar="TEXT", rich_help_panel=DATA)
    ] = None,
    find: Annotated[
        str | None,
        typer.Option(
            "--find",
            help="Find the units that follow this: quote, bracket, url, upper, digit, space, vowel, word-end, line-start or line-end.",
            metavar="PROPERTY",
            rich_help_panel=RESULT,
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option("--pattern", help="The same for a regular expression.", metavar="PATTERN", rich_help_panel=RESULT),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            "--unit",
            help="The unit to draw. Default: the best that was found.",
            metavar="LAYER:NUMBER",
            rich_help_panel=RESULT,
        ),
    ] = None,
    following: Annotated[
        int,
        typer.Option(
            "--following", help="On the page: how many likeliest next pieces to show below each.", rich_help_panel=RESULT
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Write a page with the text in the colours of the unit.",
            metavar="FILE.html",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Draw the value of a unit behind each piece of a text, or find the units that follow a property of it.

    Units are found on the first half of the text and tested on the second. On a terminal the text is printed in colours, in a
    pipe one piece a line with its value.
    """
    from carryover.data.formats.opening import read_lines
    from carryover.devices import choose_device
    from carryover.encoders.loading import load_encoder
    from carryover.inspect.neuron import find_units, property_of, read_text, unit_of, unit_values
    from carryover.inspect.neuron_page import coloured, neuron_page
    from carryover.storage import atomic_write

    if what not in WHAT:
        raise UsageError(f"inspect has no {what!r}", repair=nearest(what, WHAT, otherwise=f"use {', '.join(WHAT)}"))
    if find is None and pattern is None and unit is None:
        raise UsageError(
            "nothing says which unit", repair="give --unit LAYER:NUMBER, or --find PROPERTY or --pattern PATTERN"
        )
    mark = property_of(find, pattern) if find is not None or pattern is not None else None
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out is {str(out)!r}, which is no name of a page", repair="end the name in .html")
    encoder = load_encoder(model, device=choose_device(device))
    if text is None:
        say_when_waiting(source)
        text = "\n".join(line for _, line in read_lines(source))
    reading = read_text(encoder, text, most=following if out is not None else 0)
    units = [] if mark is None else find_units(reading, mark)
    layer, number = unit_of(unit if unit is not None else units[0].name, reading)
    values = unit_values(reading, layer, number)
    if out is not None:
        told = find or pattern or ""
        atomic_write(out, neuron_page(reading, layer, number, model=str(model), units=units, property=told))
        say(f"page: {out}")
    if as_json:
        print_document(
            {
                "schema": "carryover.inspect-neuron/1",
                "unit": f"{layer}:{number}",
                "units": [one.to_json() for one in units],
                "pieces": reading.pieces,
                "values": [round(value, 6) for value in values.tolist()],
            }
        )
        return
    print_lines(
        f"unit {one.name}: {one.found:.3f} where it was found, {one.tested:.3f} on the rest of the text{' (low there)' if one.sign < 0 else ''}"
        for one in units
    )
    if out is not None:
        return
    if sys.stdout.isatty():
        sys.stdout.write(coloured(reading, layer, number))
    else:
        print_rows((piece, f"{value:+.4f}") for piece, value in zip(reading.pieces, values.tolist(), strict=True) if piece)
