"""Contextual vectors from Python: a function of texts, and a transformer for scikit-learn's pipelines."""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.exceptions import NotFittedError

from carryover.encoders.embed_lines import POOLS, check_choice, embed_lines, words_of
from carryover.encoders.encoder import Encoder
from carryover.errors import BadData, UsageError
from carryover.interop.encoder_argument import given_encoder
from carryover.interop.sklearn.rows import texts_of
from carryover.interop.sklearn.text_input import TextInput


class ElmoEmbedder:
    """Texts in, one array of vectors a text out, in their order.

    Parameters
    ----------
    encoder : folder of a pretrained model, or the model itself.
    layers, pool : as `carryover embed` takes them; see `carryover.encoders.embed_lines.embed_lines`.
    device : "auto", "cpu", "cuda".

    A text's vectors never depend on the texts beside it. Attributes: `size` of a vector, `encoder`.
    """

    def __init__(
        self,
        encoder: Encoder | Path | str,
        *,
        layers: str | int = "mix",
        pool: str | None = None,
        device: str = "auto",
    ) -> None:
        self.encoder = given_encoder(encoder, device=device)
        self.layers, self.pool = str(layers), pool
        check_choice(self.encoder, self.layers, pool)
        self.size = self.encoder.out_size

    def __call__(self, texts: ListOf[str | ListOf[str]]) -> list[np.ndarray]:
        """float32 [words, size] a text ([words, L+1, size] with all layers; pooled [size]). A text may be a list of words.

        Raises TypeError for a single string.
        """
        found = embed_lines(self.encoder, texts_of(texts, words_too=True), layers=self.layers, pool=self.pool)
        return [line.vectors.cpu().numpy() for line in found]

    def words(self, text: str) -> list[str]:
        """The words of a text, one for each of its vectors."""
        return words_of(self.encoder, text)


class TextVectors(TransformerMixin, TextInput):
    """One contextual vector a text, as input for any estimator of scikit-learn.

    `fit(texts)` loads `encoder` (a folder or an `Encoder`); without one it pretrains on the texts themselves.
    `transform(texts)` gives float32 [texts, features]: of the mixed layers, the top one or one by number 2P features, of all
    layers (L+1) · 2P.

    Parameters
    ----------
    encoder, layers, device : as in `ElmoEmbedder`.
    pool : "mean" or "max" over the words; a text without words is a row of zeros.
    pretraining, seed, verbose : of pretraining, when there is no `encoder`; see `TextClassifier`.
    """

    def __init__(
        self,
        encoder: Any = None,
        *,
        layers: str | int = "mix",
        pool: str = "mean",
        pretraining: dict[str, Any] | None = None,
        seed: int = 0,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.encoder = encoder
        self.layers = layers
        self.pool = pool
        self.pretraining = pretraining
        self.seed = seed
        self.device = device
        self.verbose = verbose

    def fit(self, X: ListOf[str], y: Any = None) -> Self:
        """Raises BadData for no texts, UsageError for a wrong choice."""
        X = texts_of(X)
        if len(X) == 0:
            raise BadData("X is empty", repair="give at least a few texts")
        if self.pool not in POOLS:
            raise UsageError(f"pool {self.pool!r} is unknown", repair=f"use one of {', '.join(POOLS)}")
        encoder = self._pretrain(X) if self.encoder is None else given_encoder(self.encoder, device=self.device)
        self.embedder_ = ElmoEmbedder(encoder, layers=self.layers, pool=self.pool)
        return self

    def transform(self, X: ListOf[str]) -> np.ndarray:
        """[texts, features]."""
        embedder = self._fitted()
        rows = [vector.reshape(-1) for vector in embedder(texts_of(X))]
        return np.stack(rows) if rows else np.empty((0, self._features()), np.float32)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """`elmo0`, `elmo1`, … as scikit-learn wants names to be."""
        return np.array([f"elmo{number}" for number in range(self._features())], dtype=object)

    def _features(self) -> int:
        embedder = self._fitted()
        return embedder.size * (embedder.encoder.layer_count if embedder.layers == "all" else 1)

    def _fitted(self) -> ElmoEmbedder:
        if "embedder_" not in vars(self):
            raise NotFittedError(f"this {type(self).__name__} has no language model yet: call fit(texts) first")
        return self.embedder_

    def __sklearn_is_fitted__(self) -> bool:
        return "embedder_" in vars(self)
