"""What a pretrained language model scores on texts: each file by itself, and all of them one after another."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carryover.data.batch_size import held_out_stream, lanes_for
from carryover.data.long_words import say_cut
from carryover.data.shards import build_shards, content_fingerprint
from carryover.errors import BadData, UsageError
from carryover.models.bilm import NO_SOFTMAX
from carryover.pretraining.corpus import Corpus, count_characters, line_units
from carryover.pretraining.families import Family, family_of
from carryover.pretraining.held_out import RawText
from carryover.pretraining.settings import PretrainSettings
from carryover.pretraining.soundness import clip_notes, doubts_of_figures, doubts_of_record

if TYPE_CHECKING:
    from carryover.data.coding import TokenCoder

Source = str | Path


def measure_text(
    files: ListOf[Source],
    model: Any,
    coder: TokenCoder,
    family: Family,
    *,
    lanes: int,
    steps: int,
    block_tokens: int,
    device: str,
    raw_column: str | int = "text",
    raw_format: str | None = None,
) -> dict[str, Any]:
    """Figures of a model over the lines of `files`, read one after another in at most so many lanes.

    Those of the family (`perplexity`, `forward_perplexity`, …, `tokens`) and `text`, `lines`, `blank_lines` and
    `unknown_share`. Tokenised into a temporary folder: memory does not follow the text. Raises InputMissing, BadData.
    """
    lines = RawText(tuple(files), family.kind == "lm", raw_column, raw_format)
    with tempfile.TemporaryDirectory(prefix="carryover-") as folder:
        try:
            shards = build_shards(
                lines,
                coder.kind,
                Path(folder) / "shards",
                tokenize=line_units(coder, exact=lines.exact),
                vocabulary=coder.vocabulary,
                keep_blank=lines.exact,
            )
        except BadData as error:
            raise BadData(error.message, path=error.path or str(files[0]), line=error.line, repair=error.repair) from error
        say_cut(str(lines), shards.count_cut(), shards.tokens - 2 * shards.lines)
        counted = count_characters(lines) if lines.exact else 0
        corpus = Corpus(shards, shards, coder, [], shards.fingerprint, shards.fingerprint, counted)
        stream = held_out_stream(shards, lanes=lanes, steps=steps, block_tokens=block_tokens, both_ways=family.both_ways)
        figures = family.evaluate(model, stream, corpus, device)
    return {
        "text": ", ".join(str(file) for file in files),
        "lines": shards.lines,
        "blank_lines": shards.blank_lines,
        "unknown_share": shards.unknown_tokens / max(shards.tokens, 1),
        **figures,
    }


def measure_files(files: ListOf[Source], model: Any, coder: TokenCoder, family: Family, **how: Any) -> list[dict[str, Any]]:
    """`measure_text` of each file by itself, with its `fingerprint`."""
    return [
        {**measure_text([file], model, coder, family, **how), "fingerprint": content_fingerprint(file)} for file in files
    ]


def measured_as_in_training(record: Mapping[str, Any]) -> dict[str, int]:
    """Lanes, chunks and blocks of the run that a record is of, so that the same text has the same figures."""
    stored = record.get("settings", {})
    usual = {name: int(stored.get(name) or getattr(PretrainSettings, name)) for name in ("steps", "block_tokens")}
    tokens = int(record.get("corpus", {}).get("tokens", 0))
    return {"lanes": int(stored.get("batch_size") or lanes_for(tokens, usual["steps"])), **usual}


def evaluate_language_model(
    found: Any,
    folder: Path,
    files: ListOf[Source],
    *,
    device: str = "cpu",
    raw_column: str | int | None = None,
    raw_format: str | None = None,
) -> dict[str, Any]:
    """Perplexities of the pretrained model `found`, which was loaded from `folder`, as the JSON document of the command.

    Each file by itself, and `together`. On its own held-out file a model has the figures of its record. `doubts` are
    sentences about figures that do not fit together, there or here, `notes` about clipped states beside figures that do. Raises UsageError for weights that came without an
    output layer.
    """
    objective = found.kind
    if getattr(found.model.config, "softmax", None) == NO_SOFTMAX:
        raise UsageError(
            "has no output layer (its weights were published without one), so it cannot be scored as a language model",
            path=folder,
            repair="make it one on your text with `carryover pretrain --begin-with`",
        )
    family = family_of(objective)
    how: dict[str, Any] = {**measured_as_in_training(found.record), "device": device, "raw_format": raw_format}
    if raw_column is not None:
        how["raw_column"] = raw_column
    each = measure_files(files, found.model, found.coder, family, **how)
    whole = each[0] if len(files) == 1 else measure_text(files, found.model, found.coder, family, **how)
    return {
        "schema": "carryover.evaluate-language-model/1",
        "folder": str(folder),
        "objective": objective,
        "files": each,
        "together": {name: value for name, value in whole.items() if name not in ("text", "fingerprint")},
        "doubts": [
            *(f"{folder / 'record.json'}: {doubt}" for doubt in doubts_of_record(found.record)),
            *(f"{figures['text']}: {doubt}" for figures in each for doubt in doubts_of_figures(figures)),
        ],
        "notes": [
            f"{figures['text']}: {note}"
            for figures in each
            if not doubts_of_figures(figures)
            for note in clip_notes(figures)
        ],
    }


def perplexity_lines(document: Mapping[str, Any]) -> list[str]:
    """The figures as a person reads them, a line a file."""
    rows = [(file["text"], file) for file in document["files"]]
    if len(rows) > 1:
        rows.append(("together", document["together"]))
    return [f"{name}: {perplexity_of(figures)}" for name, figures in rows]


def perplexity_of(figures: Mapping[str, Any]) -> str:
    """One set of figures in a line."""
    if "bits_per_character" in figures:
        detail = f"{figures['bits_per_character']:.3f} bits per character"
    else:
        detail = f"forward {figures['forward_perplexity']:.2f}, backward {figures['backward_perplexity']:.2f}"
    return (
        f"perplexity {figures['perplexity']:.2f} ({detail}; {figures['tokens']:,} targets in {figures['lines']:,} lines, "
        f"{figures['unknown_share']:.2%} of the tokens unknown)"
    )
