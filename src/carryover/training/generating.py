"""A pretrained model that writes: from a prompt to text, a piece at a time, and back from its ids to characters."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carryover.data.joining import WordJoiner
from carryover.data.vocabulary import Vocabulary
from carryover.errors import BadData
from carryover.training.artefact import Artefact
from carryover.training.loading import fill, parsed, read_heldout

if TYPE_CHECKING:
    from carryover.data.coding import TokenCoder
    from carryover.generation import Sampling, Token
    from carryover.models.language_model import LanguageModel
    from carryover.sequence import Sequence

_FORBIDDEN = (Vocabulary.PAD_ID, Vocabulary.UNKNOWN_ID, Vocabulary.BEGIN_ID)
_LONGEST_CHARACTER = 4  # bytes of a code point in UTF-8


@dataclass(frozen=True)
class Prompt:
    """A prompt as ids, with the begin of a line before it. `unknown` counts tokens that the model does not know."""

    ids: list[int]
    unknown: int


@dataclass(frozen=True)
class Continuation:
    """Text that follows a prompt.

    `log_probability` is in nats under the model, `score` that by which beams are ranked, `tokens` the number of tokens,
    `ended` "line" where the model ended the line and "length" where the number of tokens did.
    """

    text: str
    tokens: int
    log_probability: float
    score: float
    ended: str

    def to_json(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "tokens": self.tokens,
            "log_probability": self.log_probability,
            "score": self.score,
            "ended": self.ended,
        }


class TextGenerator:
    """A pretrained language model that predicts the next token, ready to write.

    `model` is the network in evaluation mode, `coder` turns text into its ids, `record` says how it came about, `heldout`
    are the lines whose perplexity `record["heldout_check"]` holds. The pieces of a text are joined by what the model
    reads: characters and subwords exactly, words by rule.
    """

    def __init__(
        self,
        model: LanguageModel,
        coder: TokenCoder,
        record: dict[str, Any],
        heldout: ListOf[str] = (),
        folder: Path | None = None,
    ) -> None:
        self.model = model.eval()
        self.coder = coder
        self.record = record
        self.heldout = list(heldout)
        self.folder = folder

    @classmethod
    def from_artefact(cls, stored: Artefact, *, device: str = "cpu") -> TextGenerator:
        """Build and fill the network. Raises BadData where configuration, vocabulary and weights disagree."""
        from carryover.data.coding import TokenCoder
        from carryover.models.language_model import LanguageModel

        config = parsed(LanguageModel.Config.from_json, stored.config, stored.folder / "config.json")
        coder = parsed(TokenCoder.from_json, stored.tokenizer, stored.folder / "tokenizer.json")
        kind = "characters" if coder.tokenizer.kind == "characters" else coder.kind
        if kind != config.input or len(coder.vocabulary) != config.vocabulary_size:
            raise BadData(
                f"tokenizer.json has {kind} with {len(coder.vocabulary)} entries, config.json {config.input} with "
                f"{config.vocabulary_size}",
                path=stored.folder,
                repair="restore the folder from a copy",
            )
        if config.layers > len(stored.tensors):
            raise BadData(
                f"config.json asks for {config.layers} layers, model.safetensors has {len(stored.tensors)} tensors",
                path=stored.folder,
                repair="restore the folder from a copy",
            )
        model = fill(lambda: LanguageModel(config), stored.tensors, stored.folder)
        return cls(model.to(device), coder, stored.record, read_heldout(stored), stored.folder)

    def encode(self, prompt: str) -> Prompt:
        """The ids of a prompt, which may be empty and may have several lines; every line has its borders."""
        ids: list[int] = []
        unknown = 0
        for number, line in enumerate(prompt.split("\n")):
            if number:
                ids.append(Vocabulary.END_ID)
            found = self.coder.softmax_ids([self.coder.tokenize(line)], borders=False).rows()[0].tolist()
            unknown += found.count(Vocabulary.UNKNOWN_ID)
            ids += [Vocabulary.BEGIN_ID, *found]
        return Prompt(ids, unknown)

    def stream(
        self,
        prompt: str,
        *,
        max_tokens: int,
        min_tokens: int = 0,
        sampling: Sampling | None = None,
        seed: int = 0,
        across_lines: bool = False,
    ) -> Iterator[str]:
        """Text that follows the prompt, piece by piece as it comes; see `carryover.generation.stream`.

        It ends with the line, or with `across_lines` only at `max_tokens`, a line break counting as one.
        """
        from carryover.generation import stream

        tokens = stream(
            _Lines(self.model),
            [self.encode(prompt).ids],
            max_tokens=max_tokens,
            min_tokens=min_tokens,
            stop=() if across_lines else (Vocabulary.END_ID,),
            forbidden=_FORBIDDEN,
            sampling=sampling,
            seed=seed,
            device=next(self.model.parameters()).device,
        )
        return _texts(tokens, _Pieces(self.coder, prompt))

    def generate(
        self,
        prompt: str,
        *,
        max_tokens: int,
        min_tokens: int = 0,
        sampling: Sampling | None = None,
        seed: int = 0,
        across_lines: bool = False,
    ) -> Continuation:
        """The whole of what `stream` yields, with its probability."""
        from carryover.generation import generate

        (found,) = generate(
            _Lines(self.model),
            [self.encode(prompt).ids],
            max_tokens=max_tokens,
            min_tokens=min_tokens,
            stop=() if across_lines else (Vocabulary.END_ID,),
            forbidden=_FORBIDDEN,
            sampling=sampling,
            seed=seed,
            device=next(self.model.parameters()).device,
        )
        return self._continuation(prompt, found)

    def beam_search(
        self,
        prompt: str,
        *,
        beams: int,
        max_tokens: int,
        best: int = 1,
        min_tokens: int = 0,
        length_penalty: float = 0.0,
    ) -> list[Continuation]:
        """The likeliest continuations found up to the end of the line; see `carryover.generation.beam_search`."""
        from carryover.generation import beam_search

        (found,) = beam_search(
            self.model,
            [self.encode(prompt).ids],
            beams=beams,
            best=best,
            max_tokens=max_tokens,
            min_tokens=min_tokens,
            length_penalty=length_penalty,
            stop=(Vocabulary.END_ID,),
            forbidden=_FORBIDDEN,
        )
        return [self._continuation(prompt, one) for one in found]

    def _continuation(self, prompt: str, found: Any) -> Continuation:
        pieces = _Pieces(self.coder, prompt)
        text = "".join(pieces.add(number) for number in found.tokens) + pieces.rest()
        ended = "length" if found.stopped_by is None else "line"
        return Continuation(text, len(found.tokens), found.log_probability, found.score, ended)


class _Lines:
    """The model over a text of lines: what it read last being the end of a line, it reads the begin of the next too.

    In training nothing is predicted between the two, so nothing is known there.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> Any:
        return self.model.initial_state(batch_size, device=device, dtype=dtype)

    def step(self, x: Sequence, state: Any, /) -> tuple[Sequence, Any]:
        import torch

        scores, state = self.model.step(x, state)
        ended = (x.values[:, :1] == Vocabulary.END_ID) & x.mask[:, :1]  # [B, 1]
        if x.time != 1 or not bool(ended.any()):  # several at once are of a prompt, which has its borders
            return scores, state
        begin = torch.full_like(x.values, Vocabulary.BEGIN_ID)
        after, state = self.model.step(type(x)(begin, ended.squeeze(1).to(torch.int64)), state)
        return scores.with_values(torch.where(ended.unsqueeze(2), after.values, scores.values)), state


def _texts(tokens: Iterator[Token], pieces: _Pieces) -> Iterator[str]:
    for token in tokens:
        text = "" if token.stop else pieces.add(token.id)
        if text:
            yield text
    rest = pieces.rest()
    if rest:
        yield rest


class _Pieces:
    """Ids to text, each as soon as its characters are whole."""

    def __init__(self, coder: TokenCoder, prompt: str) -> None:
        line = prompt.rpartition("\n")[2]
        self.coder = coder
        self.waiting: list[int] = []  # pieces that end within a character
        self.exact = coder.tokenizer.kind == "characters"
        self.joiner = WordJoiner()
        if not self.exact and coder.subwords is None:
            for word in coder.tokenize(line):
                self.joiner.add(word)
        self._spaced = not line or line[-1].isspace()  # so a space before the next word would be one too many

    def add(self, number: int) -> str:
        """The text that is whole with this id; may be empty."""
        if number == Vocabulary.END_ID:
            text = self.rest() + "\n"
            self.joiner, self._spaced = WordJoiner(), True
            return text
        if self.coder.subwords is not None:
            self.waiting.append(number)
            broken = self.coder.subwords.decode(self.waiting).endswith("\ufffd")
            return "" if broken and len(self.waiting) < _LONGEST_CHARACTER else self.rest()
        token = self.coder.vocabulary.tokens[number]
        return token if self.exact else self._once_spaced(self.joiner.add(token))

    def rest(self) -> str:
        """What waits for more bytes of its last character."""
        if not self.waiting:
            return ""
        assert self.coder.subwords is not None
        text = self.coder.subwords.decode(self.waiting)
        self.waiting = []
        return self._once_spaced(text)

    def _once_spaced(self, text: str) -> str:
        if self._spaced and text:
            text, self._spaced = text.removeprefix(" "), False
        return text
