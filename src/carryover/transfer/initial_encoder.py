"""What a task's model begins with: the encoder with what was carried into it, and the evidence of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as ListOf
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from carryover.data.coding import TokenCoder
from carryover.data.vocabulary import Vocabulary
from carryover.encoders.proof import CarryProof, LanguageModelLike, carry_weights, distances_moved, measure_again
from carryover.errors import UsageError
from carryover.models.bilm import BiLanguageModel
from carryover.models.tagger_encoder import WordEncoder
from carryover.transfer.plan import CarryPlan, encoder_layers
from carryover.transfer.settings import FitSettings
from carryover.transfer.trainable_encoders import Encoder, MixedLanguageModel, OwnWords, WordsAndSpelling

Vectors = tuple[Vocabulary, np.ndarray]
Layers = dict[str, dict[str, Tensor]]
"""Layer → parameter → tensor."""


@dataclass(frozen=True, eq=False)
class Beginning:
    """An encoder before training. `carried` is a copy of what was put into it, to tell later how far it moved."""

    encoder: Encoder
    proof: CarryProof
    carried: Layers

    def moved(self) -> dict[str, float]:
        """‖now − then‖ / ‖then‖ of each layer that was carried over."""
        encoder, now = self.encoder, dict[str, dict[str, Tensor]]()
        if isinstance(encoder, MixedLanguageModel):
            now = {layer.name: dict(layer.parameters) for layer in encoder_layers(encoder.model)}
        elif encoder.encoder.words is not None:
            now = {"word vectors": {"weight": encoder.encoder.words.weight}}
        on_cpu = {layer: {name: tensor.detach().cpu() for name, tensor in part.items()} for layer, part in now.items()}
        return distances_moved(self.carried, on_cpu)


def check_material(plan: CarryPlan, encoder: LanguageModelLike | None, vectors: Vectors | None) -> None:
    """Raise UsageError when what the plan carries over was not given."""
    if plan.uses_language_model and encoder is None:
        raise UsageError(
            f"mode {plan.mode} carries a language model over and none was given", repair="give --encoder FOLDER"
        )
    if plan.mode != "static":
        return
    if vectors is None:
        raise UsageError("mode static carries word vectors over and none were given", repair="give word vectors")
    vocabulary, array = vectors
    if array.ndim != 2 or array.shape[0] != len(vocabulary):
        raise UsageError(f"{len(vocabulary)} words but vectors of shape {list(array.shape)}", repair="give one row a word")


def begin(
    plan: CarryPlan,
    settings: FitSettings,
    sentences: ListOf[tuple[str, ...]],
    *,
    encoder: LanguageModelLike | None,
    vectors: Vectors | None,
    device: str,
) -> Beginning:
    """The encoder that `plan` asks for, for training on `sentences`. New weights come from torch's global generator."""
    words = Counter(word for sentence in sentences for word in sentence)
    if plan.uses_language_model:
        assert encoder is not None
        return _language_model(plan, settings, words, encoder, device)
    if plan.mode == "static":
        assert vectors is not None
        return _given_vectors(plan, settings, words, vectors)
    vocabulary = Vocabulary.from_counts(words)
    config = _word_config(settings, len(vocabulary), settings.word_size, tune=True)
    rare = torch.tensor([words[word] == 1 for word in vocabulary.tokens])
    own = WordsAndSpelling(config, TokenCoder("words", vocabulary), rare=rare)
    return Beginning(own, CarryProof(mode=plan.mode), {})


def _language_model(
    plan: CarryPlan, settings: FitSettings, words: Counter[str], encoder: LanguageModelLike, device: str
) -> Beginning:
    """A copy of the language model, proved to be one; the caller's stays untouched."""
    copy = BiLanguageModel(encoder.model.config)
    carry_weights({name: tensor.cpu() for name, tensor in encoder.model.state_dict().items()}, copy, "the language model")
    stored, measured = measure_again(copy.to(device).eval(), encoder)
    # From here on without the output layer: it served the proof only.
    own_words = None
    if plan.has_own_words:
        vocabulary = Vocabulary.from_counts(words)
        rare = torch.tensor([words[word] == 1 for word in vocabulary.tokens])
        own_words = OwnWords(vocabulary, settings.word_size, rare=rare, dropout=settings.dropout or 0.0)
    own = MixedLanguageModel(
        copy,
        encoder.coder,
        fixed=not plan.tunes_language_model,
        layer_norm=plan.mix_layer_norm,
        dropout=settings.dropout or 0.0,
        own=own_words,
        placement=plan.placement,
    )
    carried = copy.state_dict()
    known = len(words) if encoder.coder.kind == "characters" else sum(word in encoder.coder.vocabulary for word in words)
    proof = CarryProof(
        mode=plan.mode,
        tensors_loaded=len(carried),
        numbers_loaded=sum(tensor.numel() for tensor in carried.values()),
        vocabulary_rows=len(words),
        vocabulary_rows_matched=known,
        stored_perplexity=stored,
        measured_perplexity=measured,
    )
    layers = {
        layer.name: {name: parameter.detach().cpu().clone() for name, parameter in layer.parameters.items()}
        for layer in encoder_layers(copy)
    }
    return Beginning(own, proof, layers)


def _given_vectors(plan: CarryPlan, settings: FitSettings, words: Counter[str], vectors: Vectors) -> Beginning:
    """Every word that has a vector keeps it, whether it stands in the training data or not."""
    given, array = vectors
    # Words without a vector get one only where vectors are trained: else it could learn nothing, and they read as unknown.
    absent = Counter({word: count for word, count in words.items() if word not in given})
    new = Vocabulary.from_counts(absent).tokens[len(Vocabulary.FIXED) :] if plan.tune_vectors else ()
    vocabulary = Vocabulary((*given.tokens, *new))
    known = torch.from_numpy(np.array(array, dtype=np.float32))  # a copy
    spread = float(known.std()) if known.numel() > 1 else 1.0
    table = torch.cat([known, torch.randn(len(new), known.shape[1]) * spread])
    config = _word_config(settings, len(vocabulary), table.shape[1], tune=plan.tune_vectors)
    rare = torch.tensor([absent[word] == 1 for word in vocabulary.tokens])
    own = WordsAndSpelling(config, TokenCoder("words", vocabulary), vectors=table, rare=rare)
    proof = CarryProof(
        mode=plan.mode,
        tensors_loaded=1,
        numbers_loaded=known.numel(),
        vocabulary_rows=len(words),
        vocabulary_rows_matched=len(words) - len(absent),
    )
    return Beginning(own, proof, {"word vectors": {"weight": table}})


def _word_config(settings: FitSettings, size: int, word_size: int, *, tune: bool) -> WordEncoder.Config:
    return WordEncoder.Config(
        vocabulary_size=size,
        word_size=word_size,
        tune_vectors=tune,
        filters=settings.filters,
        cells=settings.hidden,
        dropout=settings.dropout or 0.0,
    )


def with_new_tensors(proof: CarryProof, tensors: int) -> CarryProof:
    """The proof of a model of `tensors` tensors in all."""
    return replace(proof, tensors_new=tensors - proof.tensors_loaded)
