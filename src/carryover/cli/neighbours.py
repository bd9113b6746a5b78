"""`carryover neighbours`: the words, or the occurrences of a word, whose vectors are nearest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import options
from carryover.cli.output import print_document, print_lines, suggest_next
from carryover.errors import BadData, UsageError
from carryover.progress import say
from carryover.setting import DATA, RESULT


def neighbours(
    word: Annotated[
        str,
        typer.Argument(help="The word to look up. If it does not occur in this spelling, upper and lower case are ignored."),
    ],
    in_context: Annotated[
        bool,
        typer.Option(
            "--in-context",
            help="Compare the occurrences of the word in --raw by their contextual vectors.",
            rich_help_panel=DATA,
        ),
    ] = False,
    encoder: Annotated[
        Path | None,
        typer.Option("--encoder", help="Folder of a pretrained model.", metavar="FOLDER", rich_help_panel=DATA),
    ] = None,
    raw: Annotated[
        str | None,
        typer.Option(
            "--raw",
            help="Text to find the word in: a file, - for standard input, or builtin:NAME.",
            metavar="TEXT",
            rich_help_panel=DATA,
        ),
    ] = None,
    vectors: Annotated[
        Path | None,
        typer.Option(
            "--vectors",
            help="Folder of static word vectors, for the neighbours by these.",
            metavar="FOLDER",
            rich_help_panel=DATA,
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Format of --raw: text (one sentence per line), jsonl, conll or conllu. Default: by the file's name, else text.",
            metavar="FORMAT",
            rich_help_panel=DATA,
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", help="Number of neighbours.", rich_help_panel=RESULT)] = 10,
    contexts: Annotated[
        int, typer.Option("--contexts", help="Number of different occurrences to start from.", rich_help_panel=RESULT)
    ] = 3,
    layers: Annotated[
        str, typer.Option("--layers", help="top, mix, or the number of a layer (0: tokens).", rich_help_panel=RESULT)
    ] = "top",
    seed: options.Seed = 0,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Show the nearest neighbours of a word: by its static vector, and by its contextual vector in each of a few contexts.

    A static vector is the same in every context. A contextual vector tells the senses of a word apart.
    """
    if not in_context and vectors is None:
        raise UsageError(
            "nothing to compare with", repair="give --in-context with --encoder and --raw, or --vectors FOLDER, or both"
        )
    if in_context and (encoder is None or raw is None):
        raise UsageError(f"--in-context needs {'--encoder' if encoder is None else '--raw'}", repair="give it")
    if top < 1:
        raise UsageError(f"--top is {top}", repair="give a whole number of at least 1")
    document: dict[str, Any] = {"schema": "carryover.neighbours/1", "word": word, "static": None}
    if vectors is not None:
        from carryover.embeddings.vectors import WordVectors

        static = WordVectors.load(vectors)
        try:
            spelled = static.spelled(word)
        except KeyError as error:
            raise BadData(str(error.args[0]), path=vectors, repair="is it spelled as in the text?") from error
        near = static.nearest(spelled, top)
        if spelled != word:
            say(f"{word!r} has no vector; these are the neighbours of {spelled!r}")
        document["static_word"] = spelled
        document["static"] = [{"word": other, "cosine": cosine} for other, cosine in near]
    if encoder is not None and raw is not None and in_context:
        document |= _in_context(word, encoder, raw, format, layers, contexts, top, seed, device)
    print_document(document) if as_json else print_lines(_lines(document))
    if in_context:
        suggest_next(["carryover", "embed", encoder, raw, "--out", "vectors.safetensors"])
    else:
        suggest_next(["carryover", "neighbours", word, "--in-context", "--encoder", "runs/lm", "--raw", "CORPUS"])


def _in_context(
    word: str,
    encoder: Path,
    raw: str,
    format: str | None,
    layers: str,
    contexts: int,
    top: int,
    seed: int,
    device: str,
) -> dict[str, Any]:
    from carryover.data.formats.word_stream import read_items
    from carryover.devices import choose_device
    from carryover.encoders.loading import load_encoder
    from carryover.inspect.occurrences import find_occurrences, neighbours_in_context

    model = load_encoder(encoder, device=choose_device(device))
    try:
        found = find_occurrences(enumerate(read_items(raw, format=format), 1), word, model.tokenize, seed=seed)
    except BadData as error:
        raise BadData(error.message, path=error.path or raw, line=error.line, repair=error.repair) from error
    if word not in found.spellings:
        listed = ", ".join(f"{spelling!r} ({count:,})" for spelling, count in sorted(found.spellings.items()))
        say(f"{word!r} does not occur; found in another case: {listed}")
    return {
        "layers": layers,
        "spellings": found.spellings,
        "occurrences": found.total,
        "compared": len(found.occurrences),
        "contexts": neighbours_in_context(model, found, contexts=contexts, top=top, layers=layers),
    }


def _lines(document: dict[str, Any]) -> list[str]:
    from carryover.inspect.occurrences import Occurrence

    def sentence(row: dict[str, Any]) -> str:
        return Occurrence(tuple(row["sentence"].split(" ")), row["position"]).marked()

    lines = []
    if document["static"] is not None:
        near = ", ".join(f"{row['word']} {row['cosine']:.3f}" for row in document["static"])
        lines += [f"static, the same everywhere: {near}"]
    if "contexts" in document:
        lines.append(f"{document['occurrences']:,} occurrences, {document['compared']:,} compared by {document['layers']}")
    for context in document.get("contexts", []):
        lines += [f"line {context['line']}: {sentence(context)}"]
        lines += [f"  {row['cosine']:.3f}  line {row['line']}: {sentence(row)}" for row in context["neighbours"]]
    return lines
