"""What a task learns from labels alone, whatever it reads; and of words, their vectors and spelling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as ListOf
from typing import Any, ClassVar, final

import torch

from carryover.data.coding import TokenCoder
from carryover.data.vocabulary import Vocabulary
from carryover.encoders.words import WordsEncoder
from carryover.models.tagger_encoder import WordEncoder
from carryover.transfer.settings import FitSettings
from carryover.transfer.trainable_encoders import TaskEncoder, WordsAndSpelling


class FromLabels(ABC):
    """An encoder that is learned from labels alone.

    fit_defaults : of `FitSettings`, in place of those of the mode. reads_words : whether it reads words.
    """

    fit_defaults: ClassVar[Mapping[str, Any]] = {}
    reads_words: ClassVar[bool] = True

    @abstractmethod
    def build(self, settings: FitSettings, sentences: ListOf[Any]) -> TaskEncoder:
        """For training on `sentences`, with weights from torch's global generator."""

    @abstractmethod
    def say_cut(self, where: str, sentences: Iterable[Any]) -> None:
        """Tell how many words are read in part; nothing when all are read whole."""


@final
class WordsFromLabels(FromLabels):
    """Vectors of the words and of their spelling."""

    def build(self, settings: FitSettings, sentences: ListOf[Any]) -> TaskEncoder:
        words = Counter(word for sentence in sentences for word in sentence)
        vocabulary = Vocabulary.from_counts(words)
        config = word_config(settings, len(vocabulary), settings.word_size, tune=True)
        rare = torch.tensor([words[word] == 1 for word in vocabulary.tokens])
        return WordsAndSpelling(WordsEncoder(WordEncoder(config), TokenCoder("words", vocabulary), {}), rare=rare)

    def say_cut(self, where: str, sentences: Iterable[Any]) -> None:
        TokenCoder("characters").say_cut(where, sentences)


def word_config(settings: FitSettings, size: int, word_size: int, *, tune: bool) -> WordEncoder.Config:
    """Of the encoder of words and spelling with `size` entries."""
    return WordEncoder.Config(
        vocabulary_size=size,
        word_size=word_size,
        tune_vectors=tune,
        filters=settings.filters,
        cells=settings.hidden,
        dropout=settings.dropout or 0.0,
    )
