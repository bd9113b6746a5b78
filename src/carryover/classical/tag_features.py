"""The lowest rung for tagging: a linear-chain CRF over hand-made features of a window (Lafferty et al. 2001).

The score of tag y at token i is the sum of one learned weight for every feature that holds there (the word, its
lower-case form, prefixes, suffixes, shape, the two words on either side, …) plus a transition weight. The number of
passes is chosen on a held-out fifth of the given sentences; the model is then fitted on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Rows
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from carryover.classical.feature_model import FeatureModel, strongest
from carryover.classical.stored import Stored
from carryover.errors import NothingToLearn
from carryover.sequence import Sequence
from carryover.tasks.crf import LinearChainCRF

MOST_WEIGHTS = 2**25
"""Features × tags."""
_MOST_PAIRS = 2**24

# What a fit holds: tables of features × tags, and bytes for each distinct feature, each token, each pair of tags. Measured.
_TABLES, _NUMBER, _BYTES_A_NAME, _BYTES_A_TOKEN, _BYTES_A_PAIR = 5, 4, 250, 400, 12


@lru_cache(maxsize=200_000)
def word_features(word: str) -> tuple[str, ...]:
    """Features of one word alone."""
    lower = word.lower()
    features = [f"lower={lower}", f"shape={word_shape(word)}"]
    features += [f"prefix={lower[:n]}" for n in (1, 2, 3) if len(lower) > n]
    features += [f"suffix={lower[-n:]}" for n in (1, 2, 3, 4) if len(lower) > n]
    if word != lower:
        features.append(f"word={word}")
    if any(character.isdigit() for character in word):
        features.append("digit")
    if "-" in word:
        features.append("hyphen")
    return tuple(features)


@lru_cache(maxsize=200_000)
def word_shape(word: str) -> str:
    """The word with every capital as X, small letter as x, digit as 0, runs longer than two cut: `Xxx`, `00`, `X.X.`"""
    shape: list[str] = []
    for character in word:
        kind = "X" if character.isupper() else "x" if character.isalpha() else "0" if character.isdigit() else character
        if shape[-2:] != [kind, kind]:
            shape.append(kind)
    return "".join(shape)


def token_features(tokens: Rows[str]) -> list[list[str]]:
    """Names of the features that hold at every token of a sentence."""
    lowers = ["<<", "<", *(token.lower() for token in tokens), ">", ">>"]
    shapes = ["<", *(word_shape(token) for token in tokens), ">"]
    rows = []
    for i, token in enumerate(tokens):
        before2, before, here, after, after2 = lowers[i : i + 5]
        rows.append(
            [
                "bias",
                *word_features(token),
                f"-1={before}",
                f"+1={after}",
                f"-2={before2}",
                f"+2={after2}",
                f"-1,0={before}|{here}",
                f"0,+1={here}|{after}",
                f"-1suffix={before[-3:]}",
                f"+1suffix={after[-3:]}",
                f"shapes={shapes[i]}|{shapes[i + 1]}|{shapes[i + 2]}",
            ]
        )
    return rows


class FeatureTagger(FeatureModel):
    """Fit and predict tags with a linear-chain CRF on hand-made features."""

    kind: ClassVar[str] = "words"
    reads: ClassVar[type] = tuple
    reading: ClassVar[str] = "words"

    def __init__(
        self,
        *,
        epochs: int = 15,
        updates: int = 600,
        batch_size: int | None = None,
        learning_rate: float = 0.2,
        patience: int = 3,
    ) -> None:
        self.epochs = epochs
        self.updates = updates
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience

    def fit(self, sentences: Rows[Rows[str]], tags: Rows[Rows[str]], seed: int = 0) -> FeatureTagger:
        """Fit on `sentences` [N] of tokens and their `tags`. Raises NothingToLearn when fewer than two tags occur."""
        self.labels = tuple(sorted({tag for row in tags for tag in row}))
        if len(self.labels) < 2:
            raise NothingToLearn(
                f"only one tag ({', '.join(self.labels) or 'none'}) in {len(sentences)} sentences",
                repair="give sentences with at least two different tags",
            )
        self._ids: dict[str, int] = {}
        data = [
            [[self._ids.setdefault(name, len(self._ids)) for name in token] for token in token_features(sentence)]
            for sentence in sentences
        ]
        self._drop_rare_features(data)
        place = {label: i for i, label in enumerate(self.labels)}
        targets = [torch.tensor([place[tag] for tag in row]) for row in tags]
        order = np.random.default_rng([seed, 3]).permutation(len(data))
        held_out, rest = order[: len(data) // 5], order[len(data) // 5 :]
        # Large batches for many sentences: there are updates enough, and a batch costs little more than a sentence.
        self._batch = self.batch_size or min(64, max(16, len(data) // 100))
        most = max(self.epochs, -(-self.updates * self._batch // max(1, len(rest))))
        most = min(most, 40)
        self.epochs_chosen = self._choose(data, targets, rest, held_out, most, seed) if len(held_out) else most
        self._start()
        for epoch in range(self.epochs_chosen):
            self._pass(data, targets, order, epoch, seed)
        return self

    def predict(self, sentences: Rows[Rows[str]]) -> list[tuple[str, ...]]:
        """One tag a token; features never seen in training say nothing."""
        data = [self._encode(token_features(sentence)) for sentence in sentences]
        predicted: list[tuple[str, ...]] = [()] * len(data)
        order = sorted(range(len(data)), key=lambda i: len(data[i]))
        for start in range(0, len(order), self._side_by_side):
            rows = [i for i in order[start : start + self._side_by_side] if len(data[i])]
            if rows:
                for i, path in zip(rows, self._decode([data[i] for i in rows]), strict=True):
                    predicted[i] = tuple(self.labels[k] for k in path)
        return predicted

    def predict_proba(self, sentences: Rows[Rows[str]]) -> list[np.ndarray]:
        """For each sentence the probability of every tag at every token, [W, K]: marginals of the random field."""
        data = [self._encode(token_features(sentence)) for sentence in sentences]
        found = [np.zeros((0, len(self.labels)), dtype=np.float32)] * len(data)
        order = sorted((i for i in range(len(data)) if len(data[i])), key=lambda i: len(data[i]))
        for start in range(0, len(order), self._side_by_side):
            rows = order[start : start + self._side_by_side]
            with torch.no_grad():
                scores = self._scores([data[i] for i in rows])
                tables = scores.with_values(self._crf.marginals(scores)).rows()
            for i, table in zip(rows, tables, strict=True):
                found[i] = table.numpy()
        return found

    def weights(self, count: int = 10) -> dict[str, list[tuple[str, float]]]:
        """For every tag the features that speak most for it, with their weights less the mean over the tags."""
        names, table = list(self._ids), self._table.weight.detach()
        rows = (table - table.mean(dim=1, keepdim=True)).T.numpy()
        return {label: strongest(names, row, count) for label, row in zip(self.labels, rows, strict=True)}

    def to_stored(self) -> Stored:
        """All that `predict` needs."""
        arrays = {"table": self._table.weight.detach().numpy()}
        arrays |= {f"field.{name}": tensor.numpy() for name, tensor in self._crf.state_dict().items()}
        return Stored({"epochs": int(self.epochs_chosen)}, {"observed": list(self._ids)}, arrays)

    @classmethod
    def from_stored(cls, stored: Stored, labels: Rows[str]) -> FeatureTagger:
        """Inverse of `to_stored`. Raises KeyError, TypeError, ValueError for what does not fit together."""
        model = cls()
        model.labels = tuple(labels)
        model.epochs_chosen = stored.value("epochs", int)
        model._ids = {name: number for number, name in enumerate(stored.listed("observed"))}
        table = stored.array("table", len(model._ids), len(labels))
        model._table = nn.EmbeddingBag.from_pretrained(torch.from_numpy(table), freeze=False, mode="sum", sparse=True)
        model._crf = LinearChainCRF(len(labels))
        wanted = model._crf.state_dict()
        field = {name: torch.from_numpy(stored.array(f"field.{name}", *tensor.shape)) for name, tensor in wanted.items()}
        model._crf.load_state_dict(field)
        return model

    @property
    def chosen(self) -> str:
        """What was chosen on the held-out fifth."""
        return f"{self.epochs_chosen} passes"

    def parameter_count(self) -> int:
        """Number of learned weights."""
        return sum(p.numel() for p in (*self._table.parameters(), *self._crf.parameters()))

    def foretold_mib(self, sample: Rows[Rows[str]], tags: int, sentences: int) -> float:
        """Memory that `fit` needs beyond what the process holds already, for `sentences` like those of `sample`,
        a random part of them."""
        known: set[str] = set()
        halfway = 1
        for number, sentence in enumerate(sample):
            if number == len(sample) // 2:
                halfway = max(1, len(known))
            known.update(name for token in token_features(sentence) for name in token)
        times = sentences / len(sample)
        # Distinct features grow as a power of the amount of text (Heaps 1978), taken from the second half of the sample.
        distinct = len(known) * times ** min(1.0, max(0.0, math.log2(max(1, len(known)) / halfway)))
        weights = min(distinct * tags, MOST_WEIGHTS)
        tokens = times * sum(map(len, sample))
        fixed = _BYTES_A_PAIR * min(64 * tags**2, _MOST_PAIRS)
        return (_TABLES * _NUMBER * weights + fixed + _BYTES_A_NAME * distinct + _BYTES_A_TOKEN * tokens) / 2**20

    def _encode(self, row: list[list[str]]) -> list[list[int]]:
        ids = self._ids
        return [[ids[name] for name in token if name in ids] for token in row]

    def _drop_rare_features(self, data: list[list[list[int]]]) -> None:
        """With many tags leave the rarest features out, so that the weights are no more than `MOST_WEIGHTS`."""
        most = MOST_WEIGHTS // len(self.labels)
        if len(self._ids) <= most:
            return
        counts = np.zeros(len(self._ids), dtype=np.int64)
        for row in data:
            for token in row:
                counts[token] += 1  # a feature holds once at a token
        kept = np.sort(np.argsort(-counts, kind="stable")[:most])
        place = np.full(len(counts), -1)
        place[kept] = np.arange(len(kept))
        new: list[int] = place.tolist()
        self._ids = {name: new[old] for name, old in self._ids.items() if new[old] >= 0}
        for row in data:
            row[:] = [[new[i] for i in token if new[i] >= 0] for token in row]

    @property
    def _side_by_side(self) -> int:
        """Sentences decoded at once: a step of the search compares every pair of tags."""
        return max(1, min(64, _MOST_PAIRS // len(self.labels) ** 2))

    def _start(self) -> None:
        for name in ("_table", "_optimiser"):  # the weights of the choice make room first
            vars(self).pop(name, None)
        self._table = nn.EmbeddingBag(len(self._ids), len(self.labels), mode="sum", sparse=True)
        nn.init.zeros_(self._table.weight)
        self._crf = LinearChainCRF(len(self.labels))
        self._optimiser = torch.optim.Adagrad([*self._table.parameters(), *self._crf.parameters()], lr=self.learning_rate)

    def _scores(self, batch: list[list[list[int]]]) -> Sequence:
        tokens = [token for row in batch for token in row]
        counts = torch.tensor([0, *(len(token) for token in tokens)]).cumsum(0)[:-1]
        flat = self._table(torch.tensor([i for token in tokens for i in token]), counts)  # [sum of lengths, K]
        return Sequence.pad(list(flat.split([len(row) for row in batch])))

    def _decode(self, batch: list[list[list[int]]]) -> list[list[int]]:
        with torch.no_grad():
            return self._crf.decode(self._scores(batch))

    def _pass(self, data: list, targets: list[Tensor], indices: np.ndarray, epoch: int, seed: int) -> None:
        shuffled = np.random.default_rng([seed, 4, epoch]).permutation(indices)
        for start in range(0, len(shuffled), self._batch):
            rows = [i for i in shuffled[start : start + self._batch] if len(data[i])]
            if not rows:
                continue
            scores = self._scores([data[i] for i in rows])
            gold = Sequence.pad([targets[i] for i in rows])
            loss = self._crf.loss(scores, gold.values).mean()
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()
            # torch warns until somebody says whether sparse tensors are to be checked; these come from EmbeddingBag.
            with torch.sparse.check_sparse_tensor_invariants(enable=False):
                self._optimiser.step()

    def _choose(
        self, data: list, targets: list[Tensor], rest: np.ndarray, held_out: np.ndarray, most: int, seed: int
    ) -> int:
        """The number of passes with the best accuracy on the held-out fifth (span scores are too coarse for few)."""
        self._start()
        kept = [i for i in held_out if len(data[i])]
        best, best_epoch = -1.0, 1
        for epoch in range(most):
            self._pass(data, targets, rest, epoch, seed)
            correct = total = 0
            for start in range(0, len(kept), self._side_by_side):
                rows = kept[start : start + self._side_by_side]
                for i, path in zip(rows, self._decode([data[i] for i in rows]), strict=True):
                    correct += int((torch.tensor(path) == targets[i]).sum())
                    total += len(path)
            score = correct / max(1, total)
            if score > best:
                best, best_epoch = score, epoch + 1
            elif epoch + 1 - best_epoch >= self.patience:
                break
        return best_epoch
