"""A pretrained bidirectional language model that turns words into contextual vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import replace
from typing import TYPE_CHECKING

from carryover.ambient import settled
from carryover.encoders.pretrained import Pretrained, check_coder, fill, parsed, read_heldout
from carryover.errors import as_words, refuse_string
from carryover.storage.artefact import Artefact

if TYPE_CHECKING:
    from torch import Tensor

    from carryover.data.coding import TokenBatch
    from carryover.models.bilm import BiLanguageModel

LONG = 4096
"""Words that are read at once; a longer sentence is read in pieces."""
_FEWEST_ROWS, _FEWEST_WORDS = 4, 32


class LanguageModel(Pretrained):
    """A pretrained bidirectional language model, ready to turn words into vectors.

    `model` is the network in evaluation mode, `coder` turns words into its input, `record` says how it came about,
    `heldout` are the lines whose perplexity `record["heldout_check"]` holds.
    """

    description = "a bidirectional language model"
    model: BiLanguageModel

    @classmethod
    def from_artefact(cls, stored: Artefact, *, device: str = "cpu") -> LanguageModel:
        """Build and fill the network. Raises BadData where configuration, vocabulary and weights disagree."""
        from carryover.data.coding import TokenCoder
        from carryover.models.bilm import BiLanguageModel

        config = parsed(BiLanguageModel.Config.from_json, stored.config, stored.folder / "config.json")
        coder = parsed(TokenCoder.from_json, stored.tokenizer, stored.folder / "tokenizer.json")
        parsed(lambda coder: check_coder(coder, config), coder, stored.folder)
        model = fill(lambda: BiLanguageModel(config), stored.tensors, stored.folder)
        return cls(model.to(device), coder, stored.record, read_heldout(stored), stored.folder)

    @settled()
    def embed(
        self,
        sentences: SequenceOf[SequenceOf[str]],
        *,
        batch_tokens: int = LONG,
        choose: Callable[[Tensor], Tensor] = lambda layers: layers,
        precision: str = "float32",
    ) -> list[Tensor]:
        """All layers' vectors of every word, [words, L+1, 2P] a sentence, in the order given.

        Sentences of similar length are read together, about `batch_tokens` at a time; that changes the speed and not the
        result. One that is longer is read in pieces with the state carried on, so it takes no more memory than its vectors.
        A sentence is a sequence of words (`coder.tokenize` makes them from text); one without words gives [0, …]. `choose`
        makes of [words, L+1, …] what is kept, word by word (see `BiLanguageModel.long_representations`). With precision
        "bfloat16" products are of numbers rounded to 8 bits, and so is the result. Raises TypeError for a sentence that is a
        string.
        """
        import torch

        from carryover.devices import autocast

        refuse_string("sentences", sentences)
        for sentence in sentences:
            if isinstance(sentence, str):
                raise TypeError(f"a sentence is a list of words, got the string {sentence[:40]!r}: use coder.tokenize first")
            as_words(sentence)
        order = sorted(range(len(sentences)), key=lambda number: len(sentences[number]))
        found: dict[int, Tensor] = {}
        device = str(next(self.model.parameters()).device)
        for chosen in _batches(order, [len(sentence) + 2 for sentence in sentences], batch_tokens):
            if len(chosen) == 1 and len(sentences[chosen[0]]) > batch_tokens:
                alone = self.coder.batch([sentences[chosen[0]]], borders=True).to(self.device)
                with torch.no_grad(), autocast(precision, device):
                    found[chosen[0]] = self.model.long_representations(alone, batch_tokens, choose)
                continue
            batch = self._code([sentences[number] for number in chosen])
            with torch.inference_mode(), autocast(precision, device):
                rows = self.model.representations(batch).rows()
            for number, row in zip(chosen, rows, strict=False):
                found[number] = choose(row).clone()  # outside, so that a caller can train on it
        return [found[number] for number in range(len(sentences))]

    def _code(self, sentences: list[SequenceOf[str]]) -> TokenBatch:
        """A batch that is never so small that matrix products take another path, with other rounding, than in large ones.

        That is what makes a sentence's vectors the same to the last bit alone and among others; sentences of two words and
        rows of padding fill up, and nothing reads them.
        """
        import torch

        rows = sentences + [("", "")] * (_FEWEST_ROWS - len(sentences))
        batch = self.coder.batch(rows, borders=True)
        if batch.characters is not None and len(batch.characters) < _FEWEST_WORDS:
            missing = _FEWEST_WORDS - len(batch.characters)
            filled = torch.nn.functional.pad(batch.characters, (0, 0, 0, missing))  # [U, 50] → [U + missing, 50]
            batch = replace(batch, characters=filled)
        return batch.to(self.device)


def _batches(order: list[int], lengths: list[int], limit: int) -> Iterator[list[int]]:
    """Numbers in the given order, so many at a time that the longest times their count stays below `limit`."""
    chosen: list[int] = []
    longest = 0
    for number in order:
        if chosen and max(longest, lengths[number]) * (len(chosen) + 1) > limit:
            yield chosen
            chosen, longest = [], 0
        chosen.append(number)
        longest = max(longest, lengths[number])
    if chosen:
        yield chosen
