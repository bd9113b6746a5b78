"""`carryover generate`: text from a pretrained language model that writes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import options
from carryover.cli.output import given_words, print_document, print_text, suggest_next
from carryover.errors import BadData, UsageError
from carryover.progress import say
from carryover.setting import DATA, RESULT


def generate(
    model: Annotated[Path, typer.Argument(help="Folder of a language model pretrained with --objective lm.")],
    prompt: Annotated[str, typer.Option("--prompt", help="Start of the text. May be empty.", rich_help_panel=DATA)] = "",
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            help="A file with one prompt per line (- for standard input). All are continued side by side.",
            metavar="FILE",
            rich_help_panel=DATA,
        ),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", help="Largest number of tokens to generate.", rich_help_panel=RESULT)
    ] = 200,
    min_tokens: Annotated[
        int, typer.Option("--min-tokens", help="Do not end the line before this number of tokens.", rich_help_panel=RESULT)
    ] = 0,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            help="A number above 0. Below 1, likely tokens become likelier. Default: 1.",
            rich_help_panel=RESULT,
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k", help="Sample only from this number of likeliest tokens. Default: from all.", rich_help_panel=RESULT
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            "--top-p",
            help="Sample only from the likeliest tokens that hold this share of the probability. Default: from all.",
            rich_help_panel=RESULT,
        ),
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always take the likeliest token.", rich_help_panel=RESULT)
    ] = False,
    beam: Annotated[
        int | None,
        typer.Option(
            "--beam",
            help="Search for the likeliest line with this number of beams. Default: sample.",
            rich_help_panel=RESULT,
        ),
    ] = None,
    length_penalty: Annotated[
        float,
        typer.Option(
            "--length-penalty",
            help="With --beam: a higher penalty prefers longer lines (Wu et al. 2016); 0 is none.",
            rich_help_panel=RESULT,
        ),
    ] = 0.0,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            "--stop",
            help=r"End before this text too, such as '.', 'The end' or '\n\n'. May be given several times.",
            rich_help_panel=RESULT,
        ),
    ] = None,
    number: Annotated[
        int,
        typer.Option(
            "--number", help="Number of texts. The n-th is sampled with the seed --seed + n − 1.", rich_help_panel=RESULT
        ),
    ] = 1,
    across_lines: Annotated[
        bool,
        typer.Option("--across-lines", help="Continue after the end of a line, up to --max-tokens.", rich_help_panel=RESULT),
    ] = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Continue a prompt. The text is written to standard output while it is generated."""
    from carryover.data.formats.opening import read_lines
    from carryover.devices import choose_device
    from carryover.encoders.loading import load, require
    from carryover.encoders.text_generator import Continuation, TextGenerator
    from carryover.generation import Sampling

    drawing: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    drawn = {name: value for name, value in drawing.items() if value is not None}
    given = [f"--{name.replace('_', '-')}" for name in drawn]
    if (greedy or beam is not None) and given:
        raise UsageError(
            f"{given[0]} is for sampling, but {'--greedy' if greedy else '--beam'} does not sample",
            repair="leave one of them out",
        )
    if greedy and beam is not None:
        raise UsageError("--greedy and --beam are two ways to search", repair="choose one")
    if beam is None and length_penalty:
        raise UsageError("--length-penalty is for --beam", repair="leave it out or give --beam")
    if beam is not None and across_lines:
        raise UsageError("--beam searches for a line", repair="leave --across-lines out")
    if number < 1 or (greedy and number > 1):
        raise UsageError(
            f"--number is {number}", repair="greedy gives one text: leave it out" if greedy else "give at least 1"
        )
    if seed < 0:
        raise UsageError(f"seed is {seed}", repair="give a whole number from 0")
    if prompts is not None and prompt:
        raise UsageError("--prompt and --prompts are two ways to begin", repair="choose one")
    sampling = None
    if not greedy and beam is None:
        sampling = Sampling(**drawn)
    repair = "give a language model pretrained with --objective lm"
    loaded = load(model, device=choose_device(device))
    writer = require(loaded, TextGenerator, model, but="which cannot write", repair=repair)
    beginnings = [prompt] if prompts is None else [line for _, line in read_lines(prompts)]
    if not beginnings:
        raise BadData("there is no prompt", path=prompts, repair="write one a line; an empty line is an empty prompt")
    unknown = sum(writer.encode(one).unknown for one in beginnings)
    limits: dict[str, Any] = {
        "max_tokens": max_tokens,
        "min_tokens": min_tokens,
        "stop": [options.sign(one) for one in stop or ()],
    }
    drawing_how = {**limits, "sampling": sampling, "across_lines": across_lines}
    found: list[list[Continuation]] = []
    if beam is not None:
        found = writer.beam_search_all(beginnings, beams=beam, best=number, length_penalty=length_penalty, **limits)
    elif as_json or prompts is not None:
        rows = [one for one in beginnings for _ in range(number)]
        seeds = [seed + turn for _ in beginnings for turn in range(number)]
        written = writer.generate_all(rows, seeds=seeds, **drawing_how)
        found = [written[start : start + number] for start in range(0, len(written), number)]
    if as_json:
        of_each = [
            {"prompt": one, "unknown_in_prompt": writer.encode(one).unknown, "texts": [text.to_json() for text in texts]}
            for one, texts in zip(beginnings, found, strict=True)
        ]
        about = {"schema": "carryover.generate/1", "model": str(model), "seed": seed}
        print_document({**about, **of_each[0]} if prompts is None else {**about, "prompts": of_each})
    elif found:
        print_text(f"{one}{text.text}\n" for one, texts in zip(beginnings, found, strict=True) for text in texts)
    else:
        silent = not across_lines
        for turn in range(number):
            pieces = writer.stream(prompt, seed=seed + turn, **drawing_how)
            print_text([prompt])
            for piece in pieces:
                silent = False
                print_text([piece])
            print_text(["\n"])
        if silent:
            say(
                "the model ends the line immediately; use --across-lines to continue after it, or --min-tokens N for a longer line"
            )
    if unknown:
        what = "the prompt" if prompts is None else "the prompts"
        say(f"tokens of {what} that the model does not know: {unknown:,}")
    if quiet:
        return
    if sampling is not None:
        say(f"seed {seed}")
        again = list(given_words)
        if "--seed" in again:
            place = again.index("--seed")
            del again[place : place + 2]
        suggest_next(["carryover", *again, "--seed", seed + number])
    elif greedy and prompts is None:
        suggest_next(["carryover", "generate", model, "--prompt", prompt, "--temperature", 0.8])
