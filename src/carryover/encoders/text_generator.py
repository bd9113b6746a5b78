"""A pretrained model that writes: from a prompt to text, a piece at a time, and back from its ids to characters."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from carryover.ambient import default_torch_state, each_with_default_torch_state
from carryover.data.vocabulary import Vocabulary
from carryover.encoders.causal import CausalEncoder
from carryover.encoders.encoder import Reading
from carryover.encoders.text_of_ids import IncrementalDecoder, TextUntilStop
from carryover.errors import UsageError, as_words, refuse_string
from carryover.sequence import Sequence

if TYPE_CHECKING:
    from carryover.generation import Sampling, Token
    from carryover.generation.steps import Generated
    from carryover.models.language_model import LanguageModel

_AT_ONCE = 2048  # pieces read at once, the state carried on
_FORBIDDEN = (Vocabulary.PAD_ID, Vocabulary.UNKNOWN_ID, Vocabulary.BEGIN_ID)


@dataclass(frozen=True)
class Prompt:
    """A prompt as ids, with the begin of a line before it. `unknown` counts tokens that the model does not know."""

    ids: list[int]
    unknown: int


@dataclass(frozen=True)
class Continuation:
    """Text that follows a prompt.

    `log_probability` is in nats under the model, `score` that by which beams are ranked, `tokens` the number of tokens,
    `ended` is "line" where the model ended the line, "stop" where it wrote something to stop at, "length" where the number of
    tokens was at its end. A text to stop at counts among the tokens, a single token to stop at does not.
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


@final
class TextGenerator(CausalEncoder):
    """A pretrained language model that predicts the next token, ready to write and to turn words into vectors.

    `model` is the network in evaluation mode, `coder` turns text into its ids, `record` says how it came about, `heldout`
    are the lines whose perplexity `record["heldout_check"]` holds. The pieces of a text are joined by what the model
    reads: characters, and whatever keeps spaces, exactly; subwords but for white space; words by rule.
    """

    description = "a causal language model (objective lm)"

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

    def decode(self, ids: ListOf[int]) -> str:
        """The text of ids, those of `encode` among them: exactly the text that was encoded where the model reads characters,
        or keeps spaces, and knows all of it."""
        pieces = IncrementalDecoder(self.coder, "")
        return "".join(pieces.add(number) for number in ids if number != Vocabulary.BEGIN_ID) + pieces.rest()

    @default_torch_state()
    @torch.no_grad()
    def read(self, text: str, *, most: int = 0) -> Reading:
        """See `Encoder.read`; a piece is what the model predicts: a character, a part of a word, a word. The end of a line is "\\n"."""
        ids = self.encode(text).ids
        pieces, vectors, following = list[str](), list[Tensor](), list[list[tuple[str, float]]]()
        state = self.initial_state(1)
        for start in range(0, len(ids), _AT_ONCE):
            some = torch.tensor([ids[start : start + _AT_ONCE]], device=self.device)
            found, state = self.model.continue_representations(Sequence.of(some), state)
            vectors.append(found.values[0].cpu())
            if most:
                scores = self.model.output_layer().scores(found.values[0, :, -1, : self.model.config.size])
                following += self._likeliest(scores.softmax(-1).cpu(), most)
        for line_number, line in enumerate(text.split("\n")):
            pieces += ["\n", ""] if line_number else [""]
            pieces += self._pieces(line)
        return Reading(pieces, torch.cat(vectors), following)

    def _pieces(self, line: str) -> list[str]:
        """The pieces of a line as they stand in it, also those that the model does not know."""
        tokens = self.coder.tokenize(line)
        numbers = self.coder.softmax_ids([tokens], borders=False).rows()[0].tolist()
        if len(tokens) != len(numbers):
            return [self._shown(number) for number in numbers]
        return list(tokens) if self.coder.tokenizer.exact else [f"{token} " for token in tokens]

    def _shown(self, number: int) -> str:
        """A single id as it stands in a text."""
        if number < len(Vocabulary.FIXED):
            return "\ufffd"
        if self.coder.subwords is not None:
            return self.coder.subwords.decode([number])
        token = self.coder.vocabulary.tokens[number]
        return token if self.coder.tokenizer.exact else f"{token} "

    def _likeliest(self, chances: Tensor, most: int) -> list[list[tuple[str, float]]]:
        values, numbers = chances.topk(min(most, chances.shape[-1]), dim=-1)
        return [
            [("\n" if n == Vocabulary.END_ID else self._shown(n), p) for n, p in zip(row, own, strict=True)]
            for row, own in zip(numbers.tolist(), values.tolist(), strict=True)
        ]

    def stop_ids(self, stops: ListOf[str]) -> list[int]:
        """The ids of tokens at which a text shall end: of every piece that reads so, spaces around it left out; "\\n" is the
        end of a line. What is no token is left out: see `stop_texts`."""
        return [number for text in stops for number in self._ids_of(text)]

    def stop_texts(self, stops: ListOf[str]) -> list[str]:
        """Those of `stops` that are several tokens, so that a text shall end where it would hold them.

        Raises UsageError for one of which this model knows a part only, and for an empty one.
        """
        found = [text for text in stops if not self._ids_of(text)]
        for text in found:
            if not text or self.encode(text).unknown:
                kind = "characters" if self.coder.tokenizer.kind == "characters" else self.coder.kind
                raise UsageError(
                    f"this model writes {kind} and cannot write {text!r}",
                    repair="use only text whose parts all occur in its training text",
                )
        return found

    def _ids_of(self, text: str) -> list[int]:
        if text == "\n":
            return [Vocabulary.END_ID]
        wanted = text.strip() or text
        return [number for number in range(len(self.coder.vocabulary)) if self._reads(number) == wanted] if wanted else []

    def _reads(self, number: int) -> str:
        """The text of a single id; nothing for those that mark places."""
        if number < len(Vocabulary.FIXED):
            return ""
        if self.coder.subwords is not None:
            return self.coder.subwords.decode([number]).strip()
        return self.coder.vocabulary.tokens[number]

    def _limits(self, max_tokens: int, min_tokens: int, across_lines: bool, stop: ListOf[str]) -> dict[str, Any]:
        ends = [*(() if across_lines else (Vocabulary.END_ID,)), *self.stop_ids(stop)]
        return {"max_tokens": max_tokens, "min_tokens": min_tokens, "stop": ends, "forbidden": _FORBIDDEN}

    def stream(
        self,
        prompt: str,
        *,
        max_tokens: int,
        min_tokens: int = 0,
        sampling: Sampling | None = None,
        seed: int = 0,
        across_lines: bool = False,
        stop: ListOf[str] = (),
    ) -> Iterator[str]:
        """Text that follows the prompt, piece by piece as it comes; see `carryover.generation.stream`.

        It ends with the line, or with `across_lines` only at `max_tokens`, a line break counting as one; and before what is
        one of `stop`. Raises UsageError as `stop_texts` does, and for wrong limits.
        """
        from carryover.generation import stream as tokens_of

        written = TextUntilStop(self.coder, prompt, self.stop_texts(stop), at_least=min_tokens)
        tokens = tokens_of(
            _Lines(self.model),
            [self.encode(prompt).ids],
            **self._limits(max_tokens, min_tokens, across_lines, stop),
            until=lambda row, number: written.add(number),
            sampling=sampling,
            seed=seed,
            device=next(self.model.parameters()).device,
        )
        return _texts(each_with_default_torch_state(tokens), written)

    def generate(self, prompt: str, *, seed: int = 0, **how: Any) -> Continuation:
        """The whole of what `stream` yields, with its probability; the same options."""
        return self.generate_all([prompt], seeds=[seed], **how)[0]

    @default_torch_state()
    def generate_all(
        self,
        prompts: ListOf[str],
        *,
        max_tokens: int,
        min_tokens: int = 0,
        sampling: Sampling | None = None,
        seeds: int | ListOf[int] = 0,
        across_lines: bool = False,
        stop: ListOf[str] = (),
    ) -> list[Continuation]:
        """`generate` for many prompts of any lengths, side by side. `seeds` is one for all or one for each: a row is what it is
        alone, up to rounding."""
        from carryover.generation import generate

        refuse_string("prompts", prompts)
        as_words(prompts)
        if not prompts:
            return []
        stops = self.stop_texts(stop)
        written = [TextUntilStop(self.coder, prompt, stops, at_least=min_tokens) for prompt in prompts]
        found = generate(
            _Lines(self.model),
            [self.encode(prompt).ids for prompt in prompts],
            **self._limits(max_tokens, min_tokens, across_lines, stop),
            until=lambda row, number: written[row].add(number),
            sampling=sampling,
            seed=[seeds] * len(prompts) if isinstance(seeds, int) else seeds,
            device=next(self.model.parameters()).device,
        )
        return [_continuation(text, one) for text, one in zip(written, found, strict=True)]

    def beam_search(self, prompt: str, **how: Any) -> list[Continuation]:
        """The likeliest continuations of a prompt; the options are those of `beam_search_all`."""
        return self.beam_search_all([prompt], **how)[0]

    @default_torch_state()
    def beam_search_all(
        self,
        prompts: ListOf[str],
        *,
        beams: int,
        max_tokens: int,
        best: int = 1,
        min_tokens: int = 0,
        length_penalty: float = 0.0,
        stop: ListOf[str] = (),
    ) -> list[list[Continuation]]:
        """The likeliest continuations found up to the end of the line or to one of `stop`, for each prompt the `best`; see
        `carryover.generation.beam_search`. Raises UsageError as `stop_texts` does."""
        from carryover.generation import beam_search

        refuse_string("prompts", prompts)
        as_words(prompts)
        if not prompts:
            return []
        stops = self.stop_texts(stop)

        def written(prompt: str, tokens: ListOf[int]) -> TextUntilStop:
            text = TextUntilStop(self.coder, prompt, stops, at_least=min_tokens)
            for number in tokens:
                text.add(number)
            return text

        found = beam_search(
            self.model,
            [self.encode(prompt).ids for prompt in prompts],
            beams=beams,
            best=best,
            length_penalty=length_penalty,
            **self._limits(max_tokens, min_tokens, False, stop),
            until=(lambda row, tokens: written(prompts[row], tokens).stopped) if stops else None,
        )
        return [
            [_continuation(written(prompt, one.tokens), one) for one in row]
            for prompt, row in zip(prompts, found, strict=True)
        ]


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


def _continuation(written: TextUntilStop, found: Generated) -> Continuation:
    written.end()
    ended = {None: "length", Vocabulary.END_ID: "line"}.get(found.stopped_by, "stop")
    return Continuation(
        written.text, len(found.tokens), found.log_probability, found.score, "stop" if written.stopped else ended
    )


def _texts(tokens: Iterator[Token], written: TextUntilStop) -> Iterator[str]:
    given = 0
    for token in tokens:
        if token.ends:
            written.end()
        if len(written.text) > given:
            yield written.text[given:]
            given = len(written.text)
