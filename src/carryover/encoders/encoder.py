"""What everything that uses a finished model needs of it: vectors, layers, a held-out score, a fingerprint, an artefact.

`frozen`, `head`, `top-k` and `full`, the cache of vectors, `embed`, the estimators, `inspect` and the proof of carrying over
ask an `Encoder` and never which one it is.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as ListOf
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from carryover import storage
from carryover.ambient import default_torch_state
from carryover.data.coding import TokenCoder
from carryover.data.examples import Text, TextPair
from carryover.data.examples import Words as WordsInput
from carryover.devices import autocast
from carryover.encoders.batching import batches_by_length
from carryover.errors import as_words, refuse_string
from carryover.forking import computing
from carryover.layers.base import State
from carryover.sequence import Sequence
from carryover.storage.artefact import Artefact

Words = ListOf[str]
Choose = Callable[[Tensor], Tensor]

LONG = 4096
"""Words that are read at once; a longer sentence is read in pieces."""
_FINGERPRINT_FORMAT = "1"
_FEWEST_ROWS = 4


def every_layer(vectors: Tensor) -> Tensor:
    """Keep all layers' vectors as they are."""
    return vectors


@dataclass(frozen=True)
class LayerGroup:
    """Parameters of a model that are trained, thawed and measured together; depth 1 is the topmost group."""

    name: str
    depth: int
    parameters: dict[str, nn.Parameter]


@dataclass(frozen=True, eq=False)
class Reading:
    """A text as a model reads it: its pieces [T], the vectors of all layers [T, L, D], and the likeliest next pieces of each with
    their probabilities (nothing where none were asked for, or the model predicts none)."""

    pieces: list[str]
    vectors: Tensor
    following: list[list[tuple[str, float]]] = field(default_factory=list)


class Encoder(ABC):
    """A finished model that reads sentences and gives vectors of their words, with what belongs to it.

    `model` is the network in evaluation mode, `coder` turns words into its input, `record` says how it came about, `heldout`
    are the lines whose figures `record["heldout_check"]` holds, `folder` is where it was stored, None where it was not.

    A batch is what `batch` makes of sentences; what is in it is the encoder's own affair. Vectors are aligned with the words:
    L of them for each word, of `out_size` numbers, layer 0 before any context.
    """

    kind: ClassVar[str]
    """Of its artefact; see `carryover.encoders.loading.KINDS`."""
    description: ClassVar[str]
    """What it is in a few words, for messages."""
    kind_in_task: ClassVar[str]
    """What the description of a task's model calls it; see `carryover.encoders.loading.KINDS_IN_TASKS`."""
    proved_figures: ClassVar[tuple[str, ...]] = ()
    """Figures of `score` that must be the stored ones after loading."""
    carries_state: bool = True
    """Whether a text can be read on from where another ended, so that a long one can be read in pieces."""
    reads: ClassVar[tuple[type, ...]] = (Text, WordsInput, TextPair)
    """Types of input that it reads."""
    reads_words: ClassVar[bool] = True
    """Whether what it reads is words, which a task may also learn vectors of its own for."""
    fit_defaults: ClassVar[Mapping[str, Any]] = {}
    """Settings of a task's training in place of those of its mode; see `carryover.transfer.settings.FitSettings`."""
    model: Any

    def __init__(
        self,
        model: nn.Module,
        coder: Any,
        record: dict[str, Any],
        heldout: ListOf[str] = (),
        folder: Path | None = None,
    ) -> None:
        self.model = model.eval()
        self.coder = coder
        self.record = record
        self.heldout = list(heldout)
        self.folder = folder

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.model.parameters()).device
        return device

    # ------------------------------------------------------------------ what each encoder answers

    @classmethod
    @abstractmethod
    def from_artefact(cls, stored: Artefact, *, device: str = "cpu") -> Self:
        """Build and fill the network. Raises BadData where configuration, vocabulary and weights disagree."""

    @classmethod
    @abstractmethod
    def build(cls, config: dict[str, Any], coder: TokenCoder) -> Self:
        """One with fresh weights, from the configuration as JSON. Raises BadData, UsageError where the two do not fit."""

    @property
    @abstractmethod
    def out_size(self) -> int:
        """Numbers of a vector, D."""

    @property
    @abstractmethod
    def layer_count(self) -> int:
        """Vectors of a word, L."""

    @abstractmethod
    def batch(self, sentences: ListOf[Words]) -> Any:
        """Sentences side by side as the network reads them, on the CPU. It has `to(device)`."""

    @abstractmethod
    def states(self, batch: Any) -> Sequence:
        """All layers' vectors of every word, [B, W, L, D], each sentence from its beginning. Gradients flow."""

    @abstractmethod
    def initial_state(self, rows: int) -> State:
        """What `rows` texts begin with, every tensor [rows, …]."""

    @abstractmethod
    def advance(
        self, batch: Any, state: State, *, steps: int | None = None, choose: Choose = every_layer
    ) -> tuple[list[Tensor], State]:
        """Vectors of every row, [words, L, D] each, read on from `state`, and the state after them.

        With `steps` at most that many are read at a time, without gradients, so that what lies between takes the memory of a
        piece. `choose` makes of [words, L, D] what is kept, word by word and number by number.
        """

    @abstractmethod
    def groups(self) -> list[LayerGroup]:
        """The layers from the topmost down to the token vectors; the output layer is none of them."""

    @abstractmethod
    def score(self, lines: ListOf[str]) -> dict[str, float]:
        """Figures of lines of held-out text; those of `proved_figures` among them."""

    @abstractmethod
    def drop_output_layer(self) -> None:
        """Take off what predicts words: a task has no use for it, and it cannot be scored again."""

    @abstractmethod
    def knows(self, word: str) -> bool:
        """Whether the word is read as itself and not as an unknown one."""

    # ------------------------------------------------------------------ what all have in common

    def tokenize(self, text: str) -> list[str]:
        """The words of a running text."""
        return self.coder.tokenize(text)

    @classmethod
    def read_coder(cls, content: Any) -> Any:
        """The coder that `coder.to_json` stored. Raises BadData."""
        return TokenCoder.from_json(content)

    def check_sentence(self, sentence: Any) -> None:
        """Raise TypeError for what cannot be embedded."""
        refuse_sentence(sentence)
        as_words(sentence)

    def key(self, sentence: Words) -> bytes:
        """Hash of a sentence, ASCII so that numpy strips no byte of it."""
        return hashlib.sha256("\x1f".join(sentence).encode("utf-8", "surrogatepass")).hexdigest()[:32].encode()

    def count_words(self, sentences: Iterable[Words]) -> Counter[str]:
        """How often each word occurs; nothing where no words are read."""
        return Counter(word for sentence in sentences for word in sentence)

    def say_cut(self, where: str, sentences: Iterable[Words]) -> None:
        """Tell how many words are read in part; nothing when all are read whole."""
        self.coder.say_cut(where, sentences)

    def length(self, sentence: Words) -> int:
        """Steps that the network takes over a sentence, borders not counted."""
        return len(sentence)

    def steady_batch(self, sentences: ListOf[Words]) -> Any:
        """A batch that is never so small that matrix products take another path, with other rounding, than in large ones.

        That is what makes a sentence's vectors the same to the last bit alone and among others; sentences of two words fill
        it up, and nothing reads them.
        """
        return self.batch([*sentences, *[("", "")] * (_FEWEST_ROWS - len(sentences))])

    def read(self, text: str, *, most: int = 0) -> Reading:
        """What is read of a text, piece by piece, with the vectors of all layers; here words, line by line.

        `most` is how many likeliest next pieces are told of each, by models that predict them.
        """
        pieces: list[str] = []
        vectors: list[Tensor] = []
        for number, line in enumerate(text.split("\n")):
            words = self.tokenize(line)
            if number:
                pieces, vectors = (
                    [*pieces, "\n"],
                    [*vectors, vectors[-1][-1:] if vectors else torch.zeros(1, self.layer_count, self.out_size)],
                )
            if words:
                (found,) = self.embed([words])
                pieces += [f"{word} " for word in words]
                vectors.append(found.cpu())
        if not vectors:
            return Reading([], torch.zeros(0, self.layer_count, self.out_size))
        return Reading(pieces, torch.cat(vectors))

    def copy(self) -> Self:
        """Another of the same kind and configuration, with fresh weights on the CPU."""
        return type(self).build(self.model.config.to_json(), self.coder)

    def fingerprint(self) -> str:
        """Of everything that decides a vector: weights (without the output layer), configuration, coder, PyTorch, device."""
        parts: list[str | Tensor] = [_FINGERPRINT_FORMAT, torch.__version__, str(self.device.type)]
        parts += [repr(self.model.config), repr(self.coder.to_json())]
        for name, tensor in self.model.state_dict().items():
            if not name.startswith("output"):
                parts += [name, tensor]
        return storage.fingerprint(*parts)

    def content(self) -> str:
        """Hash of configuration, coder and all weights, the output layer's too."""
        tensors = (part for name, tensor in self.model.state_dict().items() for part in (name, tensor))
        coder = json.dumps(self.coder.to_json(), sort_keys=True)
        return storage.fingerprint(repr(self.model.config), coder, *tensors)

    @default_torch_state()
    def embed(
        self,
        sentences: ListOf[Words],
        *,
        batch_tokens: int = LONG,
        longest: int | None = None,
        choose: Choose = every_layer,
        precision: str = "float32",
    ) -> list[Tensor]:
        """All layers' vectors of every word, [words, L, D] a sentence, in the order given.

        Sentences of similar length are read together, about `batch_tokens` at a time; that changes the speed and not the
        result. One that is longer than `longest` (default: `batch_tokens`) is read in pieces with the state carried on, so it
        takes no more memory than its vectors. A sentence is a sequence of words (`tokenize` makes them from text); one without
        words gives [0, …]. `choose` makes of [words, L, …] what is kept, word by word. With precision "bfloat16" products are
        of numbers rounded to 8 bits, and so is the result. Raises TypeError for a sentence that is a string.
        """
        refuse_string("sentences", sentences)
        for sentence in sentences:
            self.check_sentence(sentence)
        longest = batch_tokens if longest is None else longest
        lengths = [self.length(sentence) for sentence in sentences]
        found: dict[int, Tensor] = {}
        device = self.device
        for chosen in batches_by_length([length + 2 for length in lengths], batch_tokens):
            if len(chosen) == 1 and lengths[chosen[0]] > longest:
                alone = self.batch([sentences[chosen[0]]]).to(device)
                with computing(), torch.no_grad(), autocast(precision, str(device)):
                    (found[chosen[0]],), _ = self.advance(alone, self.initial_state(1), steps=longest, choose=choose)
                continue
            batch = self.steady_batch([sentences[number] for number in chosen]).to(device)
            with computing(), torch.inference_mode(), autocast(precision, str(device)):
                rows = self.states(batch).rows()
            for number, row in zip(chosen, rows, strict=False):
                found[number] = choose(row).clone()  # outside, so that a caller can train on it
        return [found[number] for number in range(len(sentences))]


def refuse_sentence(sentence: object) -> None:
    """Raise TypeError for a sentence that is a string, which would be taken letter by letter."""
    if isinstance(sentence, str):
        raise TypeError(f"a sentence is a list of words, got the string {sentence[:40]!r}: use coder.tokenize first")
