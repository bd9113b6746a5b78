"""What all cells share and is made once: the pretrained model and the static word vectors."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carryover.compare.encoders import entry
from carryover.compare.ladder import Resources, rung_of
from carryover.compare.plan import ComparePlan
from carryover.compare.result import ENCODER_FOLDER, LANGUAGE_MODEL, VECTORS_FOLDER, WORD_VECTORS
from carryover.errors import BadData, InputMissing, UsageError, check_fields
from carryover.pretraining.recipes import usual_settings
from carryover.pretraining.settings import PretrainSettings
from carryover.progress import say
from carryover.storage import atomic_write, file_digest, read_json

if TYPE_CHECKING:
    from carryover.embeddings.vectors import WordVectors

_VECTORS_RECORD = "word-vectors.json"
_VECTORS_TEXT = f"{VECTORS_FOLDER}-text"
MADE_ONCE = (ENCODER_FOLDER, VECTORS_FOLDER, _VECTORS_RECORD, _VECTORS_TEXT)
"""Names of what is made for all cells, in the folder of a comparison."""
_CHANGED_DEFAULTS = ("learning_rate", "patience")
"""Of pretraining: 0.003 and 4 in comparisons of version 0.1.0."""
_SIZES = {"vocabulary_size": 50_000, "minimum_count": 2}
"""Of the vocabulary of word vectors."""


def check_material(plan: ComparePlan) -> dict[str, str | None]:
    """Fingerprints of raw text and encoders, read before anything is written; those of encoders are called as in `entry`.

    Raises UsageError for settings that are unknown or wrong or an encoder that is no language model, InputMissing when a
    text or the encoder is not there, BadData when it is damaged.
    """
    from carryover.data.shards import content_fingerprint
    from carryover.pretraining.recipes import build_objective
    from carryover.transfer.settings import FitSettings

    # Report wrong settings now and not after half the work.
    vector_settings(plan)
    check_fields("fitting", plan.fitting, FitSettings)
    FitSettings(**plan.fitting)
    wanted = pretrain_settings(plan)
    if plan.raw is not None:
        build_objective(wanted.objective).config(wanted, None)
    raw = None if plan.raw is None else content_fingerprint(str(plan.raw))
    valid = None if plan.valid is None else content_fingerprint(str(plan.valid))
    folders = {"": None, **plan.encoders, **plan.rung_encoders}
    encoders = {entry(name): None if folder is None else _encoder_fingerprint(folder) for name, folder in folders.items()}
    return {"raw": raw, "valid": valid, **encoders}


def prepare(plan: ComparePlan, out: Path, fingerprints: Mapping[str, str | None], *, quiet: bool = False) -> Resources:
    """Make, or find, what the plan's rungs need. What an interrupted run left is continued."""
    seconds: dict[str, float] = {}
    encoders, vectors = dict[str, Path](), None
    for name, folder in plan.rung_encoders.items():
        encoders[name], seconds[entry(name, LANGUAGE_MODEL)] = (
            _pretrained(plan, out, quiet) if folder is None else (folder, _pretraining_seconds(folder))
        )
    if any(rung_of(rung).needs.vectors for rung in plan.rungs):
        vectors, seconds[WORD_VECTORS] = _vectors(plan, out, str(fingerprints["raw"]), quiet)
    return Resources(encoders, vectors, plan.device, dict(plan.fitting), seconds, plan.placement)


def _pretraining_seconds(encoder: Path) -> float:
    """What making a given encoder took, as far as its record tells."""
    record = read_json(encoder / "record.json")
    seconds = record.get("seconds", 0.0) if isinstance(record, dict) else 0.0
    return float(seconds or 0.0)


def _pretrained(plan: ComparePlan, out: Path, quiet: bool) -> tuple[Path, float]:
    """A language model of the raw text, with the seconds that making it took."""
    from carryover.pretraining.pretrain import pretrain

    folder = out / ENCODER_FOLDER
    settings = _as_begun(plan, folder)
    if not quiet:
        say(f"pretraining a language model once, for all cells: {folder}")
    result = pretrain(settings, folder, quiet=quiet)
    return folder, float(result.record["seconds"])


def _as_begun(plan: ComparePlan, folder: Path) -> PretrainSettings:
    """The plan's settings; a run that an earlier version began keeps what was usual then."""
    settings = pretrain_settings(plan)
    try:
        stored = read_json(folder / "run" / "settings.json")["settings"]
        usual = {name: stored[name] for name in _CHANGED_DEFAULTS if name not in plan.pretraining}
        return replace(settings, **usual)
    except (InputMissing, BadData, UsageError, KeyError, TypeError):
        return settings


def pretrain_settings(plan: ComparePlan) -> PretrainSettings:
    """The settings of the pretraining that the plan asks for. Raises UsageError for an unknown or wrong one."""
    valid = None if plan.valid is None else str(plan.valid)
    given = {"raw": str(plan.raw), "valid": valid, "raw_column": plan.raw_column, "raw_format": plan.raw_format}
    given |= {"seed": plan.seed, "device": plan.device}
    if plan.raw is not None and "objective" not in plan.pretraining:
        given |= usual_settings(str(plan.raw), plan.raw_format)
    check_fields("pretraining", plan.pretraining, PretrainSettings)
    return PretrainSettings(**{**given, **plan.pretraining})


def vector_settings(plan: ComparePlan) -> tuple[dict[str, int], Any]:
    """Sizes of the vocabulary and `SkipgramSettings` of the static vectors. Raises UsageError for an unknown one."""
    from carryover.embeddings.skipgram import SkipgramSettings

    options = {**_SIZES, "seed": plan.seed, **plan.vectors}
    sizes = {name: int(options.pop(name)) for name in _SIZES}
    check_fields("vectors", options, SkipgramSettings)
    return sizes, SkipgramSettings(**options)


def read_as(plan: ComparePlan) -> dict[str, Any]:
    """How the raw text is read, where it is not read as plain text by its name alone."""
    asked = {"raw_column": plan.raw_column, "raw_format": plan.raw_format}
    return {name: value for name, value in asked.items() if value != getattr(ComparePlan, name)}


def _vectors(plan: ComparePlan, out: Path, raw_fingerprint: str, quiet: bool) -> tuple[Path, float]:
    """Skip-gram vectors; read back when the very same were made before."""
    from carryover.embeddings.skipgram import train_skipgram
    from carryover.embeddings.vectors import WordVectors

    folder, record = out / VECTORS_FOLDER, out / _VECTORS_RECORD
    options = {**_SIZES, "seed": plan.seed, **plan.vectors}
    wanted = {"raw": raw_fingerprint, **read_as(plan), "options": json.loads(json.dumps(options, sort_keys=True))}
    try:
        stored = read_json(record)
        if isinstance(stored, dict) and stored.get("made_from") == wanted:
            WordVectors.load(folder)
            return folder, float(stored["seconds"])
    except (InputMissing, BadData):
        pass
    if not quiet:
        say(f"learning static word vectors once, for all cells: {folder}")
    started = time.perf_counter()
    sizes, settings = vector_settings(plan)
    vectors = _train_vectors(plan, out, sizes, lambda shards: train_skipgram(shards, settings, quiet=quiet), quiet)
    vectors.save(folder)
    seconds = time.perf_counter() - started
    atomic_write(record, json.dumps({"made_from": wanted, "seconds": seconds}, indent=1))
    return folder, seconds


def _train_vectors(plan: ComparePlan, out: Path, sizes: dict[str, int], train: Any, quiet: bool) -> WordVectors:
    """`train` on the tokenised raw text, which is gone again afterwards."""
    from carryover.data.held_out import RawText
    from carryover.data.shards import build_shards
    from carryover.data.words import WordTokenizer
    from carryover.progress import Progress
    from carryover.storage import remove_folder

    place, raw = out / _VECTORS_TEXT, RawText((str(plan.raw),), False, plan.raw_column, plan.raw_format)
    size, minimum = sizes["vocabulary_size"], sizes["minimum_count"]
    words = WordTokenizer().words
    with Progress("reading text", None, quiet=quiet) as progress:
        shards = build_shards(
            raw, "words", place, tokenize=words, vocabulary_size=size, minimum_count=minimum, progress=progress
        )
    vectors: WordVectors = train(shards)
    del shards
    remove_folder(place)
    return vectors


def _encoder_fingerprint(folder: Path) -> str:
    """Of what computes the vectors; how and when the model was made may be told anew."""
    from carryover.encoders.loading import encoder_class
    from carryover.storage.artefact import load_artefact

    encoder_class(load_artefact(folder).kind, folder)
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        digest.update(file_digest(folder / name).encode())
    return digest.hexdigest()
