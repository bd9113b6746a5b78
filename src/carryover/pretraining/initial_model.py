"""Pretraining that begins with a model instead of at random: published weights, or an artefact of ours, on new text.

Configuration, input and tokenizer are the model's. Its output layer stays where its vocabulary does; for another vocabulary,
and for weights published without one, a new output layer is made, with the rows of the words that both know carried over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from carryover import storage
from carryover.data.coding import TokenCoder
from carryover.encoders.loading import load
from carryover.encoders.proof import CarryProof, carry_weights, check_agreement, distances_moved
from carryover.errors import UsageError
from carryover.models.output import NO_SOFTMAX
from carryover.objectives.objective import Corpus, Objective
from carryover.objectives.text import check_samples
from carryover.pretraining.recipes import RECIPES, build_objective, objective_name
from carryover.pretraining.settings import PretrainSettings
from carryover.progress import say

_OUTPUT = "output."
_ROWS = (f"{_OUTPUT}weight", f"{_OUTPUT}bias")
_FREE = ("dropout", "samples", "softmax")
"""Of the configuration: what changes neither the weights nor what they compute."""


@dataclass(frozen=True, eq=False)
class InitialModel:
    """A pretrained model that a run begins with. `fingerprint` covers its weights, configuration and tokenizer."""

    folder: Path
    objective: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    coder: TokenCoder
    record: dict[str, Any]
    heldout: list[str]
    fingerprint: str

    @property
    def predicts(self) -> bool:
        """Whether it came with an output layer."""
        return bool(self.config.get("softmax") != NO_SOFTMAX)

    def check(self, wanted: PretrainSettings, config: Mapping[str, Any], out: Path | None = None) -> None:
        """Raise UsageError where the settings, or the configuration made of them, are not those of this model."""
        if out is not None and out.resolve() == self.folder.resolve():
            raise UsageError("is the model to begin with", path=out, repair="give another folder for --out")
        if wanted.objective != self.objective:
            raise self.contradiction("objective", self.objective, wanted.objective)
        if not wanted.new_vocabulary and not self.predicts:
            raise UsageError(
                "has no output layer and therefore no vocabulary to keep", path=self.folder, repair="ask for a new one"
            )
        if self.coder.lexicon is not None:
            raise UsageError(
                "reads words through word tables (ELMoForManyLangs), but pretraining supports only bytes, words or pieces",
                path=self.folder,
                repair="begin with another model; this one works with embed, train and compare",
            )
        if wanted.new_vocabulary:
            self._check_new_vocabulary()
        for name, value in _plain(config).items():
            if name not in (*_FREE, "vocabulary_size") and value != self.config[name]:
                raise self.contradiction(name, self.config[name], value)
        if not wanted.new_vocabulary and (config.get("softmax") == "adaptive") != (self.config.get("softmax") == "adaptive"):
            raise UsageError(
                f"softmax {config['softmax']!r} needs another output layer than the {self.config['softmax']!r} one it has",
                path=self.folder,
                repair="leave --softmax out, or have a new vocabulary counted with --vocabulary-size",
            )

    def _check_new_vocabulary(self) -> None:
        objective = build_objective(self.objective)
        if not objective.may_replace_vocabulary(self.config):
            raise UsageError(
                f"reads {self.config['input']} with objective {self.objective}: its vocabulary defines its input and cannot change",
                path=self.folder,
                repair="leave --vocabulary-size out",
            )

    def contradiction(self, name: str, ours: Any, asked: Any) -> UsageError:
        """The error of a setting that is not the model's own."""
        return UsageError(
            f"{name.replace('_', ' ')} is {json.dumps(ours)} in the model to begin with, {json.dumps(asked)} was asked for",
            path=self.folder,
            repair="leave that option out, or begin with another model",
        )

    def carry(self, model: nn.Module, objective: Objective[Any], corpus: Corpus) -> CarryProof:
        """Fill `model` and prove it. Tensors it has no source for stay as they are.

        Raises BadData when the filled model does not score the held-out lines that came with it as it did.
        """
        same_tensors = self.tensors.keys() == model.state_dict().keys()  # not those of another softmax
        kept = same_tensors and corpus.coder.vocabulary == self.coder.vocabulary
        own = {name: tensor for name, tensor in self.tensors.items() if kept or not name.startswith(_OUTPUT)}
        new = {name: tensor for name, tensor in model.state_dict().items() if name not in own}
        matched = len(corpus.coder.vocabulary) if kept else self._match_rows(new, corpus.coder)
        carry_weights({**new, **own}, model, "the model to begin with")
        stored, measured = self._measure(objective, model, corpus) if kept else (None, None)
        return CarryProof(
            mode="continued",
            tensors_loaded=len(own),
            numbers_loaded=sum(tensor.numel() for tensor in own.values()),
            tensors_new=len(new),
            vocabulary_rows=len(corpus.coder.vocabulary),
            vocabulary_rows_matched=matched,
            stored_perplexity=stored,
            measured_perplexity=measured,
            scored=False,
        )

    def describe_output_layer(self, proof: CarryProof) -> str:
        """What became of its output layer, in words."""
        rows, known = proof.vocabulary_rows, proof.vocabulary_rows_matched
        if not self.predicts:
            return f"it had no output layer; carryover made a new one for {rows:,} words of this text"
        if not proof.tensors_new:
            return f"output layer kept, {rows:,} words"
        return f"made a new output layer for {rows:,} words of this text; {known:,} of its rows were carried over"

    def _match_rows(self, new: dict[str, Tensor], coder: TokenCoder) -> int:
        """Put the rows of known words into a new output layer; how many there were."""
        if not all(name in self.tensors and name in new for name in _ROWS):
            return 0  # none there, or clusters whose rows differ in width
        known = [
            (row, self.coder.vocabulary.id(word))
            for row, word in enumerate(coder.vocabulary)
            if word in self.coder.vocabulary
        ]
        here, there = torch.tensor(known).T
        for name in _ROWS:
            new[name] = (
                new[name].clone().index_copy_(0, here.to(new[name].device), self.tensors[name][there].to(new[name].device))
            )
        return len(known)

    def _measure(self, objective: Objective[Any], model: nn.Module, corpus: Corpus) -> tuple[dict[str, float] | None, ...]:
        """Stored perplexities of the held-out lines that came with the model, and those it has now."""
        check = self.record.get("heldout_check")
        if not check or not self.heldout:
            return None, None
        stored = {name: float(value) for name, value in check.items() if name.endswith("perplexity")}
        found = self.measure_earlier(objective, model, corpus)
        measured = {name: found[name] for name in stored}
        check_agreement(stored, measured, len(self.heldout))
        return stored, measured

    def measure_earlier(self, objective: Objective[Any], model: nn.Module, corpus: Corpus) -> dict[str, float]:
        """Figures of `model` on the held-out lines of the earlier text."""
        return objective.check_figures(model, corpus, self.heldout)

    def moved(self, model: nn.Module) -> dict[str, float]:
        """‖now − then‖ / ‖then‖ of each part of the model that was loaded whole."""
        now = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
        parts: dict[str, list[str]] = {}
        for name, tensor in self.tensors.items():
            if name in now and now[name].shape == tensor.shape and not name.startswith(_OUTPUT):
                parts.setdefault(_part(name), []).append(name)
        return distances_moved(
            {part: {name: self.tensors[name] for name in names} for part, names in parts.items()},
            {part: {name: now[name] for name in names} for part, names in parts.items()},
        )

    def lineage(self) -> dict[str, Any]:
        """What the record says of this model: where it stood, what it is, and what it came from itself."""
        kept: dict[str, Any] = {
            name: self.record[name] for name in ("corpus", "imported", "steps", "begun_with") if name in self.record
        }
        return {
            "folder": str(self.folder),
            "fingerprint": self.fingerprint,
            "objective": self.objective,
            "vocabulary_size": len(self.coder.vocabulary) if self.predicts else None,
            **kept,
        }


def read_initial_model(folder: Path | str) -> InitialModel:
    """The model in `folder`. Raises InputMissing, BadData when it is damaged, UsageError for the model of a task."""
    found = load(folder)
    objective = objective_name(found.kind, found.record)
    if objective is None or not build_objective(objective).continues:
        raise UsageError(
            "is a task model, but pretraining can only begin with a pretrained one",
            path=folder,
            repair="give the folder that `carryover pretrain` or `carryover import` made",
        )
    config = _plain(found.model.config.to_json())
    tensors = {name: tensor.detach().cpu() for name, tensor in found.model.state_dict().items()}
    parts: list[str | Tensor] = [json.dumps(config, sort_keys=True), json.dumps(found.coder.to_json(), sort_keys=True)]
    for name, tensor in sorted(tensors.items()):
        parts += [name, tensor]
    return InitialModel(
        folder=Path(folder),
        objective=objective,
        config=config,
        tensors=tensors,
        coder=found.coder,
        record=found.record,
        heldout=found.heldout,
        fingerprint=storage.fingerprint(*parts),
    )


def continued(folder: Path | str, raw: Path | str, **asked: Any) -> PretrainSettings:
    """Settings of a run on the text `raw` that begins with the model in `folder`; `asked` are further `PretrainSettings`.

    What the model decides need not be asked for; where it is, it must agree. A `vocabulary_size` asks for a new vocabulary,
    which weights without an output layer get in any case. Raises UsageError naming an option that contradicts the model,
    with both values, and what `read_initial_model` raises.
    """
    start = read_initial_model(folder)
    for name, own in (("objective", start.objective), ("input", start.config["input"])):
        if asked.get(name, own) != own:
            raise start.contradiction(name, own, asked[name])
    known = RECIPES[start.objective].sizes
    size = asked.pop("size", None)
    if size is not None:
        if size not in known:
            raise UsageError(f"unknown size {size!r}", repair=f"leave it out: {folder} has its own")
        for name, value in _plain(known[size]).items():
            if name not in _FREE and value != start.config[name]:
                raise UsageError(
                    f"size {size} has {name} = {json.dumps(value)}, but the model to begin with has {json.dumps(start.config[name])}",
                    path=folder,
                    repair="leave --size out",
                )
    softmax = asked.pop("softmax", None)
    if softmax is None:
        softmax = start.config["softmax"] if start.predicts else "full"
    check_samples(asked.get("model", {}), softmax)
    model = {name: value for name, value in start.config.items() if name not in ("vocabulary_size", "input", "softmax")}
    settings = {
        "objective": start.objective,
        "input": start.config["input"],
        "size": next((name for name in known if _fits(known[name], start.config)), "other"),
        "new_vocabulary": not start.predicts or "vocabulary_size" in asked,
        "steps": build_objective(start.objective).usual_steps(start.config["input"]),
        **asked,
        "softmax": softmax,
        "model": {**model, **asked.get("model", {})},
    }
    return PretrainSettings(raw=raw, begin_with=folder, **settings)


def _fits(size: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    return all(config[name] == value for name, value in _plain(size).items() if name not in _FREE)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as JSON gives it back: lists for tuples."""
    return dict(json.loads(json.dumps(config)))


def _part(name: str) -> str:
    """The module a parameter belongs to: `forward_layers.1`, `token_encoder`."""
    first, _, rest = name.partition(".")
    number = rest.partition(".")[0]
    return f"{first}.{number}" if number.isdigit() else first


# The run ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Initialisation:
    """A run that began with `start`: how it was carried over, and what the model scored before its first step.

    `before` are the figures of the run's held-out text, `earlier` those of the held-out lines that came with the model, where
    it can still be scored on them.
    """

    start: InitialModel
    proof: CarryProof
    before: dict[str, float]
    earlier: dict[str, float] | None

    @classmethod
    def make(
        cls,
        start: InitialModel,
        model: nn.Module,
        objective: Objective[Any],
        corpus: Corpus,
        *,
        stored: Path,
        held_out: Any,
        device: str,
        quiet: bool,
    ) -> Initialisation:
        """Fill `model` from `start` and measure it, unless an earlier session left the figures in the file `stored`."""
        proof = start.carry(model, objective, corpus)
        earlier = None if proof.measured_perplexity is None else start.record["heldout_check"]
        if not quiet:
            say(f"beginning with {start.folder}: {start.describe_output_layer(proof)}")
            for line in proof.lines():
                say(line)
        if not stored.exists():
            storage.atomic_write(stored, json.dumps(objective.evaluate(model, held_out, corpus, device)))
        before: dict[str, float] = storage.read_json(stored)
        if not quiet:
            say(f"held-out perplexity of the new text before the first step: {before['perplexity']:.2f}")
        return cls(start, proof, before, earlier)

    def record(self, model: nn.Module, objective: Objective[Any], corpus: Corpus) -> dict[str, Any]:
        """What the record says of it, `model` being the one that is kept."""
        proof = replace(self.proof, moved=self.start.moved(model))
        found = {
            **self.start.lineage(),
            "output_layer": self.start.describe_output_layer(proof),
            "proof": proof.to_json(),
            "before": self.before,
        }
        if self.earlier is not None:
            found["earlier_text"] = {
                "before": self.earlier,
                "after": self.start.measure_earlier(objective, model, corpus),
            }
        return found
