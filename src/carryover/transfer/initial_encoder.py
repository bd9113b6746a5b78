"""What a task's model begins with: the encoder with what was carried into it, and the evidence of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as ListOf
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from carryover.data.coding import TokenCoder
from carryover.data.vocabulary import Vocabulary
from carryover.encoders.encoder import Encoder, LayerGroup
from carryover.encoders.proof import CarryProof, carry_weights, distances_moved, measure_again
from carryover.encoders.words import WordsEncoder
from carryover.errors import UsageError
from carryover.models.tagger_encoder import WordEncoder
from carryover.transfer.from_labels import word_config
from carryover.transfer.learners import learner_of
from carryover.transfer.plan import CarryPlan
from carryover.transfer.settings import FitSettings
from carryover.transfer.trainable_encoders import MixedEncoder, OwnWords, TaskEncoder, WordsAndSpelling

Vectors = tuple[Vocabulary, np.ndarray]
Layers = dict[str, dict[str, Tensor]]
"""Layer → parameter → tensor."""


@dataclass(frozen=True, eq=False)
class InitialModel:
    """An encoder before training. `carried` is a copy of what was put into it, to tell later how far it moved."""

    encoder: TaskEncoder
    proof: CarryProof
    carried: Layers

    def moved(self) -> dict[str, float]:
        """‖now − then‖ / ‖then‖ of each layer that was carried over."""
        return distances_moved(self.carried, _copied(self.encoder.groups()))


def _copied(groups: ListOf[LayerGroup]) -> Layers:
    """Copies on the CPU, by name."""
    return {
        group.name: {name: parameter.detach().cpu().clone() for name, parameter in group.parameters.items()}
        for group in groups
    }


def check_material(plan: CarryPlan, encoder: Encoder | None, vectors: Vectors | None) -> None:
    """Raise UsageError when what the plan carries over was not given."""
    if plan.uses_encoder and encoder is None:
        raise UsageError(f"mode {plan.mode} needs a pretrained model, but none was given", repair="give --encoder FOLDER")
    if not plan.kind.uses_vectors:
        return
    if vectors is None:
        raise UsageError(f"mode {plan.mode} needs word vectors, but none were given", repair="give word vectors")
    vocabulary, array = vectors
    if array.ndim != 2 or array.shape[0] != len(vocabulary):
        raise UsageError(f"{len(vocabulary)} words but vectors of shape {list(array.shape)}", repair="give one row a word")


def build_initial_model(
    plan: CarryPlan,
    settings: FitSettings,
    sentences: ListOf[Any],
    *,
    encoder: Encoder | None,
    vectors: Vectors | None,
    device: str,
) -> InitialModel:
    """The encoder that `plan` asks for, for training on `sentences`. New weights come from torch's global generator."""
    if plan.uses_encoder:
        assert encoder is not None
        return _carried_encoder(plan, settings, encoder.count_words(sentences), encoder, device)
    learner = learner_of(sentences[0])
    if plan.kind.uses_vectors:
        assert vectors is not None
        if not learner.reads_words:
            raise UsageError(
                f"mode {plan.mode} carries word vectors over, and there are no words", repair="choose another mode"
            )
        return _given_vectors(plan, settings, Counter(word for sentence in sentences for word in sentence), vectors)
    return InitialModel(learner.build(settings, sentences), CarryProof(mode=plan.mode), {})


def _carried_encoder(
    plan: CarryPlan, settings: FitSettings, words: Counter[str], encoder: Encoder, device: str
) -> InitialModel:
    """A copy of the encoder, proved to be one; the caller's stays untouched."""
    copy = encoder.copy()
    stored_tensors = {name: tensor.cpu() for name, tensor in encoder.model.state_dict().items()}
    carry_weights(stored_tensors, copy.model, "the pretrained model")
    copy.model.to(device).eval()
    stored, measured = measure_again(copy, encoder)
    # From here on without the output layer: it served the proof only.
    own_words = None
    if plan.has_own_words and encoder.reads_words:
        vocabulary = Vocabulary.from_counts(words)
        rare = torch.tensor([words[word] == 1 for word in vocabulary.tokens])
        own_words = OwnWords(vocabulary, settings.word_size, rare=rare, dropout=settings.dropout or 0.0)
    own = MixedEncoder(
        copy,
        fixed=not plan.tunes_encoder,
        layer_norm=plan.mix_layer_norm,
        dropout=settings.dropout or 0.0,
        own=own_words,
        placement=plan.placement,
    )
    carried = copy.model.state_dict()
    proof = CarryProof(
        mode=plan.mode,
        tensors_loaded=len(carried),
        numbers_loaded=sum(tensor.numel() for tensor in carried.values()),
        vocabulary_rows=len(words),
        vocabulary_rows_matched=sum(map(encoder.knows, words)),
        stored_perplexity=stored,
        measured_perplexity=measured,
    )
    return InitialModel(own, proof, _copied(copy.groups()))


def _given_vectors(plan: CarryPlan, settings: FitSettings, words: Counter[str], vectors: Vectors) -> InitialModel:
    """Every word that has a vector keeps it, whether it occurs in the training data or not."""
    given, array = vectors
    # Words without a vector get one only where vectors are trained: else it could learn nothing, and they read as unknown.
    absent = Counter({word: count for word, count in words.items() if word not in given})
    new = Vocabulary.from_counts(absent).tokens[len(Vocabulary.FIXED) :] if plan.tune_vectors else ()
    vocabulary = Vocabulary((*given.tokens, *new))
    known = torch.from_numpy(np.array(array, dtype=np.float32))  # a copy
    spread = float(known.std()) if known.numel() > 1 else 1.0
    table = torch.cat([known, torch.randn(len(new), known.shape[1]) * spread])
    config = word_config(settings, len(vocabulary), table.shape[1], tune=plan.tune_vectors)
    rare = torch.tensor([absent[word] == 1 for word in vocabulary.tokens])
    own = WordsAndSpelling(WordsEncoder(WordEncoder(config, table), TokenCoder("words", vocabulary), {}), rare=rare)
    proof = CarryProof(
        mode=plan.mode,
        tensors_loaded=1,
        numbers_loaded=known.numel(),
        vocabulary_rows=len(words),
        vocabulary_rows_matched=len(words) - len(absent),
        scored=False,
    )
    return InitialModel(own, proof, {"word vectors": {"weight": table}})


def with_new_tensors(proof: CarryProof, tensors: int) -> CarryProof:
    """The proof of a model of `tensors` tensors in all."""
    return replace(proof, tensors_new=tensors - proof.tensors_loaded)
