"""The README of an artefact: what the model is, how good it is, how to use it, and what it was made from."""

from __future__ import annotations

from typing import Any

from carryover.escaping import code_in_markdown, in_markdown
from carryover.progress import duration


def language_model_card(config: dict[str, Any], record: dict[str, Any]) -> str:
    """Model card of a bidirectional language model from its configuration and record, as Markdown."""
    corpus, held_out, check, versions = record["corpus"], record["held_out"], record["heldout_check"], record["versions"]
    measures = [
        ("held-out perplexity, both directions", f"{held_out['perplexity']:.2f}"),
        ("forward", f"{held_out['forward_perplexity']:.2f}"),
        ("backward", f"{held_out['backward_perplexity']:.2f}"),
    ]
    if "forward_clipped_share" in held_out:  # not where an earlier version measured the best model
        shares = [f"{held_out[f'{side}_clipped_share']:.2%}" for side in ("forward", "backward")]
        measures.append(("states at the clip, forward and backward", " and ".join(shares)))
    return f"""# Bidirectional language model

Reads {config["input"]}, {config["layers"]} layers of {config["cells"]} cells projected to {config["projection"]} in each
direction; predicts one of {config["vocabulary_size"]:,} words with a {config["softmax"]} softmax. Pretrained by carryover
{versions["carryover"]} on raw text, without labels.

{_figures(measures, record, "words")}

Perplexities are exact (full softmax) and count the end (backward: the beginning) of every line. Compare them only with
models that have the same vocabulary and the same held-out text.
{_begun_with(record)}
## Use

```
carryover embed FOLDER texts.txt --out vectors.safetensors
carryover train --task classify --train train.tsv --encoder FOLDER --mode frozen --out runs/task
```

`heldout.txt` holds {check["lines"]} held-out lines. Read one by one, they have perplexity {check["forward_perplexity"]:.4f}
forward and {check["backward_perplexity"]:.4f} backward. You can measure that again after loading the model.

## Data

* text: {code_in_markdown(corpus["raw"])}, SHA-256 `{corpus["fingerprint"]}`
* held out: {in_markdown(held_out["text"])}
* blank lines left out: {corpus["blank_lines"]:,}; words outside the vocabulary: {corpus["unknown_share"]:.2%}

The model reproduces its training text: errors and biases of the text are in the vectors. carryover does not know the licence
of the text; check that it permits this use.

## Made by

{code_in_markdown(record["command"])} with seed {record["seed"]}; PyTorch {versions["torch"]}, NumPy {versions["numpy"]}, Python
{versions["python"]}. All settings are in `record.json`. The folder `run`, where present, holds the log and the last
checkpoints; the model does not need it.
"""


def _figures(measures: list[tuple[str, str]], record: dict[str, Any], units: str) -> str:
    """Table of what was measured on held-out text, then of how much was read, learned and predicted; `units` are its items."""
    corpus, held_out = record["corpus"], record["held_out"]
    figures = [
        *measures,
        ("held-out targets", f"{held_out['tokens']:,} in {held_out['lines']:,} lines"),
        (f"held-out {units} outside the vocabulary", f"{held_out['unknown_share']:.2%}"),
        ("parameters", f"{record['parameters']:,}"),
        ("training tokens in the corpus", f"{corpus['tokens']:,} in {corpus['lines']:,} lines"),
        (
            "training tokens read",
            f"{record['tokens']:,} in {record['steps']:,} steps, ended by {in_markdown(record['stopped_by'])}",
        ),
        ("best model after step", f"{held_out['best_step']:,}"),
        ("time", duration(record["seconds"])),
    ]
    rows = "\n".join(f"| {name} | {value} |" for name, value in figures)
    doubts = "".join(f"\n\n**Warning:** {doubt}." for doubt in record.get("doubts", ()))
    return f"| | |\n|---|---|\n{rows}{doubts}"


def _begun_with(record: dict[str, Any]) -> str:
    """Section of a card: the model that this one began with, and what it scored before."""
    if "begun_with" not in record:
        return ""
    start, now = record["begun_with"], record["held_out"]
    lines = [
        f"* {code_in_markdown(start['folder'])}, fingerprint of its weights, configuration and tokenizer `{start['fingerprint']}`",
        f"* {start['output_layer']}",
        f"* held-out perplexity before: {start['before']['perplexity']:.2f}, now: {now['perplexity']:.2f}",
    ]
    if "earlier_text" in start:
        before, after = ("forward {forward_perplexity:.2f}, backward {backward_perplexity:.2f}", "{perplexity:.2f}")
        form = before if "forward_perplexity" in start["earlier_text"]["before"] else after
        figures = [form.format(**start["earlier_text"][when]) for when in ("before", "after")]
        lines.append(f"* perplexity of the held-out lines stored with it, before: {figures[0]}; now: {figures[1]}")
    rows = "\n".join(lines)
    return f"""
## Initial model

{rows}

See `begun_with` in `record.json` for what that model was trained on.
"""


def generator_card(config: dict[str, Any], record: dict[str, Any]) -> str:
    """Model card of a language model that predicts the next token, as Markdown."""
    corpus, held_out, check, versions = record["corpus"], record["held_out"], record["heldout_check"], record["versions"]
    measures = [
        ("held-out perplexity of a token", f"{held_out['perplexity']:.3f}"),
        ("held-out bits per character", f"{held_out['bits_per_character']:.4f}"),
    ]
    tied = "tied to" if config["tied"] else "apart from"
    return f"""# Language model

Reads and predicts {config["input"]}, {config["vocabulary_size"]:,} of them, with {config["layers"]} layers of kind
{config["stack"]} and an output layer {tied} the embedding. Pretrained by carryover {versions["carryover"]} on raw text, without
labels.

{_figures(measures, record, "tokens")}

Figures count the end of every line. Compare perplexities only with models that have the same vocabulary and the same held-out
text. Bits per character compare with any model of that text if no token is outside the vocabulary.
{_begun_with(record)}
## Use

```
carryover generate FOLDER --prompt "The" --max-tokens 200 --temperature 0.8
```

`heldout.txt` holds {check["lines"]} held-out lines. Read one by one, they have perplexity {check["perplexity"]:.4f}. You can
measure that again after loading the model. `carryover embed FOLDER` and
`carryover train --encoder FOLDER` use it as an encoder that reads from left to right.

## Data

* text: {code_in_markdown(corpus["raw"])}, SHA-256 `{corpus["fingerprint"]}`
* held out: {in_markdown(held_out["text"])}
* blank lines, kept as part of the text: {corpus["blank_lines"]:,}; tokens outside the vocabulary: {corpus["unknown_share"]:.2%}

The model reproduces its training text, with its errors and biases, and whole passages if the text is small. carryover does
not know the licence of the text; check that it permits this use.

## Made by

{code_in_markdown(record["command"])} with seed {record["seed"]}; PyTorch {versions["torch"]}, NumPy {versions["numpy"]}, Python
{versions["python"]}. All settings are in `record.json`.
"""


def imported_model_card(config: dict[str, Any], record: dict[str, Any]) -> str:
    """Model card of a language model that was read from published files, as Markdown."""
    imported, versions = record["imported"], record["versions"]
    files = "\n".join(
        f"* {name}: {code_in_markdown(file['path'])}, {file['bytes']:,} bytes, SHA-256 `{file['sha256']}`"
        for name, file in imported["files"].items()
    )
    return f"""# Bidirectional language model, imported

Reads {config["input"]}, {config["layers"]} layers of {config["cells"]} cells projected to {config["projection"]} in each
direction; {record["parameters"]:,} parameters. Read by carryover {versions["carryover"]} from files in the published layout
`{imported["format"]}`:

{files}

The files hold no output layer, so the model gives vectors and cannot be scored as a language model: no held-out perplexity
is stored. The files do not say what it was trained on, how well it scored or under which licence it was published.

## Use

```
carryover embed FOLDER texts.txt --out vectors.safetensors
carryover train --task classify --train train.tsv --encoder FOLDER --mode frozen --out runs/task
```

The tokenizer `{imported["tokenizer"]}` splits text into words. Vectors of a sentence never depend on its neighbours; the published
programs carry their state from batch to batch, which `carryover embed --carry-state` repeats.

## Made by

{code_in_markdown(record["command"])}; PyTorch {versions["torch"]}, NumPy {versions["numpy"]}, Python {versions["python"]}.
"""
