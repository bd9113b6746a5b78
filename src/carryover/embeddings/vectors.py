"""Static word vectors: a vocabulary and one row a word, with the one query everything else builds on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from carryover.ambient import default_torch_state
from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData, UsageError
from carryover.storage import atomic_folder, load_tensors, read_json, save_tensors, verify_manifest, write_file


@dataclass(frozen=True, eq=False)
class WordVectors:
    """`array` float32 [V, D]: row i belongs to token i of `vocabulary`; the special tokens have rows of zeros."""

    vocabulary: Vocabulary
    array: np.ndarray

    def __post_init__(self) -> None:
        if self.array.shape[0] != len(self.vocabulary):
            raise ValueError(f"{self.array.shape[0]} vectors for {len(self.vocabulary)} words: there must be one a word")

    def nearest(self, word: str, count: int = 10) -> list[tuple[str, float]]:
        """The `count` words of largest cosine to `word`, itself and words whose vector is zero left out: fewer where there
        are no more. Raises KeyError for an unknown word."""
        if word not in self.vocabulary:
            raise KeyError(f"{word!r} has no vector: it is not among the {len(self.vocabulary)} words of the vocabulary")
        norms = np.linalg.norm(self.array, axis=1)
        unit = self.array / np.where(norms == 0, 1, norms)[:, None]
        cosine = unit @ unit[self.vocabulary.id(word)]
        cosine[self.vocabulary.id(word)] = -np.inf
        cosine[norms == 0] = -np.inf
        best = np.argsort(-cosine, kind="stable")[: min(count, int(np.isfinite(cosine).sum()))]
        return [(self.vocabulary.tokens[i], float(cosine[i])) for i in best]

    def spelled(self, word: str) -> str:
        """The word as spelled in the vocabulary: itself, else the most frequent in another case. KeyError when neither."""
        if word in self.vocabulary:
            return word
        # the vocabulary is in the order of frequency
        for token in self.vocabulary:
            if token.casefold() == word.casefold():
                return token
        raise KeyError(f"{word!r} has no vector, in upper or lower case: it is not among the {len(self.vocabulary)} words")

    def save(self, folder: Path) -> None:
        """Write `vectors.safetensors`, `vocabulary.json` and their manifest, whole or not at all."""
        with atomic_folder(folder) as temporary:
            save_tensors(temporary / "vectors.safetensors", {"vectors": torch.from_numpy(self.array)})
            write_file(temporary / "vocabulary.json", [json.dumps(self.vocabulary.to_json()).encode()])

    @classmethod
    @default_torch_state()
    def load(cls, folder: Path) -> WordVectors:
        """Read what `save` wrote. Raises InputMissing when the folder is absent, UsageError when it holds
        something else, BadData when a file is damaged or the two disagree."""
        if folder.is_dir() and not (folder / "vectors.safetensors").is_file():
            raise UsageError(
                "holds no word vectors: vectors.safetensors is missing", path=folder, repair="give a folder of word vectors"
            )
        verify_manifest(folder)
        tensors = load_tensors(folder / "vectors.safetensors")
        vocabulary = Vocabulary.from_json(read_json(folder / "vocabulary.json"))
        found = tensors.get("vectors", torch.empty(0))
        if found.dtype != torch.float32 or found.dim() != 2 or len(found) != len(vocabulary):
            raise BadData(
                f"vectors are {str(found.dtype).removeprefix('torch.')} {list(found.shape)}, expected float32 "
                f"[{len(vocabulary)}, …], one row a word",
                path=folder,
                repair="train the vectors again",
            )
        if not bool(found.isfinite().all()):
            raise BadData("a vector holds NaN or infinity", path=folder, repair="train the vectors again")
        return cls(vocabulary, found.numpy())
