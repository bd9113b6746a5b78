"""The bidirectional language model of ELMo: one token encoder, a forward and a backward stack, one shared output layer.

M. E. Peters et al., "Deep contextualized word representations", NAACL 2018, sections 3.1–3.3; the character encoder and
the projected LSTM are those of R. Jozefowicz et al., "Exploring the limits of language modeling", 2016.

With token representation x_k of word k and L layers in each direction (cells of size C projected to P):

    h_{k,0} = x_k                                            from characters, a word table or a piece table
    f_{k,1} = LSTM_1(x_1 … x_k),  f_{k,j} = LSTM_j(f_{1,j-1} … f_{k,j-1}) + f_{k,j-1}      (residual from layer 2 on)
    b_{k,j}   likewise from the right, with its own weights
    p(t_{k+1} | t_1 … t_k) = softmax(W f_{k,L} + c),  p(t_{k-1} | t_k … t_n) = softmax(W b_{k,L} + c)

The representation of a word is the L+1 vectors [x_k; x_k] and [f_{k,j}; b_{k,j}], j = 1 … L.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from carryover.data.coding import CHARACTER_IDS, CHARACTERS_PER_WORD, TokenBatch
from carryover.errors import UsageError
from carryover.kernels.products import product_type, wants_gradients
from carryover.layers import LSTM, CharacterCNN, Dropout, Embedding
from carryover.layers.prepared import forget, prepared
from carryover.layers.recurrent.lstm import LARGEST_CLIP, LSTMState
from carryover.layers.recurrent.lstm_side_by_side import lstm_together
from carryover.models.configuration import ModelConfig, check_field
from carryover.models.output import NO_SOFTMAX, build_output_layer
from carryover.models.pieces import check_borders, mean_over_pieces, means_of_row
from carryover.models.sizes import SIZES
from carryover.models.word_forms import FormsAndSpelling, build_spelling
from carryover.sequence import Sequence

INPUTS = ("characters", "words", "subwords")
SOFTMAXES = ("full", "sampled", "adaptive")
BiLanguageModelState = tuple[tuple[LSTMState, LSTMState], ...]
"""For each layer the states of the forward and of the backward LSTM, every tensor [batch, ...]."""


class BiLanguageModel(nn.Module):
    """Token encoder → L forward and L backward LSTM layers → shared output layer.

    Attributes
    ----------
    mixed_layers : number of vectors a word has, L + 1.
    out_size : size of each of them, 2P.
    output : the output layer; `carryover.objectives` computes losses from it.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ModelConfig):
        """What the model is made of. Raises UsageError naming the field that is wrong.

        `vocabulary_size` counts the classes of the softmax and, for words and subwords, the input ids as well.
        `filters` are pairs (width in characters, number of filters). `samples` is for the sampled softmax, `cutoffs`
        and `reduction` for the adaptive one (no cutoffs: a tenth and four tenths of the vocabulary). The softmax "none"
        is that of weights which came without an output layer. `characters` counts the ids of characters, `word_forms` those
        of whole words that are read beside them, as vectors of `word_size`: both are of models with a `Lexicon`.
        """

        vocabulary_size: int
        input: str = "characters"
        character_size: int = 16
        filters: tuple[tuple[int, int], ...] = ((1, 32), (2, 32), (3, 64), (4, 96), (5, 96))
        highway_layers: int = 1
        projection: int = 128
        cells: int = 512
        layers: int = 2
        dropout: float = 0.1
        cell_clip: float | None = 3.0
        projection_clip: float | None = 3.0
        softmax: str = "full"
        samples: int = 8192
        cutoffs: tuple[int, ...] | None = None
        reduction: float = 4.0
        residual: bool = True
        characters: int = CHARACTER_IDS
        word_forms: int = 0
        word_size: int = 0

        def __post_init__(self) -> None:
            # lists come from JSON; the frozen form is tuples
            object.__setattr__(self, "filters", tuple((int(width), int(count)) for width, count in self.filters))
            if self.cutoffs is not None:
                object.__setattr__(self, "cutoffs", tuple(int(cutoff) for cutoff in self.cutoffs))
            self.check_choice("input", INPUTS)
            self.check_choice("softmax", (*SOFTMAXES, NO_SOFTMAX))
            self.check_positive("vocabulary_size", "character_size", "projection", "cells", "layers", "samples")
            self.check_probability("dropout")
            self.check_at_least("reduction", 1)
            for name in ("cell_clip", "projection_clip"):
                value = getattr(self, name)
                if value is not None and not 0 < value <= LARGEST_CLIP:
                    raise UsageError(f"{name} is {value}", repair="give a bound from 0 to 1e30, or null for no clipping")
            if (
                self.characters < 2
                or (self.word_forms > 0) != (self.word_size > 0)
                or min(self.word_forms, self.word_size) < 0
            ):
                raise UsageError(
                    f"characters is {self.characters}, word_forms is {self.word_forms}, word_size is {self.word_size}",
                    repair="give at least 2 characters, and both or neither of the others",
                )
            if self.highway_layers < 0:
                raise UsageError(f"highway_layers is {self.highway_layers}", repair="give 0 or more")
            widest = CHARACTERS_PER_WORD
            if not self.filters or any(not 1 <= width <= widest or count < 1 for width, count in self.filters):
                raise UsageError(
                    f"filters is {list(self.filters)}",
                    repair=f"give pairs of a width from 1 to {widest} characters and a count of at least 1",
                )

        @classmethod
        def of_size(cls, size: str, **others: Any) -> BiLanguageModel.Config:
            """One of `SIZES` with `others` on top. Raises UsageError for an unknown name."""
            check_field("size", size, SIZES)
            return cls(**{**SIZES[size], **others})

    SIZES = SIZES

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        size = config.projection
        self.mixed_layers = config.layers + 1
        self.out_size = 2 * size
        self.token_encoder: CharacterCNN | FormsAndSpelling | Embedding
        if config.input == "characters":
            self.token_encoder = build_spelling(
                size,
                config.filters,
                characters=config.characters,
                character_size=config.character_size,
                highway_layers=config.highway_layers,
                forms=config.word_forms,
                form_size=config.word_size,
            )
        else:
            self.token_encoder = Embedding(config.vocabulary_size, size)

        def stack() -> nn.ModuleList:
            return nn.ModuleList(
                LSTM(
                    size,
                    config.cells,
                    projection=size,
                    cell_clip=config.cell_clip,
                    projection_clip=config.projection_clip,
                )
                for _ in range(config.layers)
            )

        self.forward_layers = stack()
        self.backward_layers = stack()
        self.dropout = Dropout(size, config.dropout)
        self.output = build_output_layer(
            size, config.vocabulary_size, config.softmax, cutoffs=config.cutoffs, reduction=config.reduction
        )

    def token_representations(self, batch: TokenBatch) -> Sequence:
        """Context-free vector of every token, [B, T, P]; the character encoder runs once a distinct word.

        Raises ValueError for a batch of a coder of another kind than the model reads.
        """
        kind = "characters" if batch.characters is not None else "subwords" if batch.word_of_unit is not None else "words"
        if (kind == "characters") != (self.config.input == "characters"):
            raise ValueError(
                f"the model reads {self.config.input} but the batch holds {kind}: make it with a coder of kind "
                f"{self.config.input!r}, or build the model with input={kind!r}"
            )
        if batch.characters is None:
            assert isinstance(self.token_encoder, Embedding)
            return self.token_encoder(batch.index)
        assert isinstance(self.token_encoder, CharacterCNN | FormsAndSpelling)
        types = self.token_encoder.encode_types(batch.characters)  # [U, P]
        index = batch.index.zero_padding()
        return index.with_values(nn.functional.embedding(index.values, types)).zero_padding()

    def _both_token_representations(self, forward: TokenBatch, backward: TokenBatch) -> tuple[Sequence, Sequence]:
        """Of both directions by one look-up, so that the table's gradient is made once, where they share their words."""
        one, two = forward.index, backward.index
        ours, theirs = forward.characters, backward.characters
        shared = ours is theirs or (ours is not None and theirs is not None and torch.equal(ours, theirs))
        if not shared or one.time != two.time:
            return self.token_representations(forward), self.token_representations(backward)
        index = Sequence(torch.cat([one.values, two.values]), torch.cat([one.lengths, two.lengths]))
        both = self.token_representations(replace(forward, index=index))
        first, second = both.values.chunk(2)
        return one.with_values(first), two.with_values(second)

    # ------------------------------------------------------------------ pretraining

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> BiLanguageModelState:
        """Zeros: what every text begins with."""
        return tuple(
            (
                forward.initial_state(batch_size, device=device, dtype=dtype),
                backward.initial_state(batch_size, device=device, dtype=dtype),
            )
            for forward, backward in self._pairs()
        )

    def advance(
        self, forward: TokenBatch, backward: TokenBatch, state: BiLanguageModelState
    ) -> tuple[Sequence, Sequence, BiLanguageModelState]:
        """Read the next chunk of both directions and carry the state on.

        `forward` is in text order, `backward` in reversed order; both have the same lengths. Returns the top hidden
        states [B, T, P] of each, ready for the output layer, and the state after the chunk. Detach that state between
        training steps. Raises ValueError when lengths or batch sizes disagree.
        """
        if not torch.equal(forward.index.lengths, backward.index.lengths):
            raise ValueError(
                f"the forward chunk has lengths {forward.index.lengths.tolist()} and the backward chunk "
                f"{backward.index.lengths.tolist()}: both directions must advance by the same number of tokens"
            )
        if len(state) != self.config.layers:
            raise ValueError(
                f"the state has {len(state)} layers and the model {self.config.layers}: make it with initial_state"
            )
        if state[0][0].hidden.shape[0] != forward.index.batch_size:
            raise ValueError(
                f"the state has batch size {state[0][0].hidden.shape[0]} and the batch {forward.index.batch_size}: "
                f"make it with initial_state({forward.index.batch_size})"
            )
        tokens = self._both_token_representations(forward, backward)
        layers, state = self._run(tokens, state)
        top_forward, top_backward = (self.dropout(top) if self.training else top for top in layers[-1])
        return top_forward, top_backward, state

    def _run(
        self, tokens: tuple[Sequence, Sequence], state: BiLanguageModelState
    ) -> tuple[list[tuple[Sequence, Sequence]], BiLanguageModelState]:
        """Outputs of layers 1 … L in each direction, and the new state. The two directions run side by side."""
        outputs: list[tuple[Sequence, Sequence]] = []
        states: list[tuple[LSTMState, LSTMState]] = []
        inputs: SequenceOf[Sequence] = tokens
        for number, (pair, pair_state) in enumerate(zip(self._pairs(), state, strict=True)):
            inputs = [self.dropout(x) for x in inputs] if self.training else inputs
            ys, new = lstm_together(list(pair), list(inputs), list(pair_state))
            if self.config.residual and number > 0:
                ys = [y.with_values(y.values + x.values) for x, y in zip(inputs, ys, strict=True)]
            outputs.append((ys[0], ys[1]))
            states.append((new[0], new[1]))
            inputs = ys
        return outputs, tuple(states)

    def _pairs(self) -> list[tuple[LSTM, LSTM]]:
        return list(zip(self.forward_layers, self.backward_layers, strict=True))  # type: ignore[arg-type]

    # ------------------------------------------------------------------ representations

    def representations(self, batch: TokenBatch) -> Sequence:
        """All L+1 vectors of every word, [B, W, L+1, 2P], from a batch coded with borders around each sentence.

        Every call starts from the zero state, so a sentence has the same vectors alone and in any batch. The borders
        are left out; the vector of a word of several pieces is the mean of theirs. Layer 0 holds the token vector
        twice. Gradients flow; in evaluation mode the result is deterministic. Raises ValueError without borders.
        """
        check_borders(batch)
        tokens = self.token_representations(batch)
        if self._needs_borders(tokens):
            forget(self)
            state = self.initial_state(tokens.batch_size, device=tokens.device, dtype=tokens.values.dtype)
            return self._inner(batch, tokens, self._run((tokens, tokens.reverse()), state)[0])
        # The first border leaves the same state in every row, and nobody asks for what follows the last word.
        words = Sequence(tokens.values[:, 1:-1], tokens.lengths - 2).zero_padding()
        layers, _ = self._run((words, words.reverse()), self._state_after_border(batch))
        return self._of_layers(batch, words, layers)

    def continue_representations(
        self, batch: TokenBatch, state: BiLanguageModelState
    ) -> tuple[Sequence, BiLanguageModelState]:
        """`representations` that begin with `state`, as the published code does, and the state after them.

        Row b of the batch continues from row b of the state: forward from the end of what that row held before, backward
        from its beginning. Then a sentence's vectors depend on what was read before it.
        """
        check_borders(batch)
        tokens = self.token_representations(batch)
        layers, state = self._run((tokens, tokens.reverse()), state)
        return self._inner(batch, tokens, layers), state

    def _inner(self, batch: TokenBatch, tokens: Sequence, layers: list[tuple[Sequence, Sequence]]) -> Sequence:
        """`_of_layers` from outputs that hold the borders too."""

        def between(side: Sequence) -> Sequence:
            return Sequence(side.values[:, 1:-1], side.lengths - 2).zero_padding()

        return self._of_layers(batch, between(tokens), [(between(one), between(other)) for one, other in layers])

    def _of_layers(self, batch: TokenBatch, words: Sequence, layers: list[tuple[Sequence, Sequence]]) -> Sequence:
        """[B, W, L+1, 2P] from the vectors between the borders, those of the backward layers reversed.

        Their padding is zero, as that of all layers is, and so is that of the result.
        """
        sides = [words.values, words.values]
        sides += [side for forward, backward in layers for side in (forward.values, backward.reverse().values)]
        inner = words.with_values(torch.cat(sides, dim=-1).unflatten(-1, (self.mixed_layers, self.out_size)))
        if batch.word_of_unit is None:
            return inner.slice(0, int(batch.word_lengths.max()) if len(batch.word_lengths) else 0)
        return mean_over_pieces(inner, batch.word_of_unit[:, 1:-1], batch.word_lengths)

    def _needs_borders(self, tokens: Sequence) -> bool:
        """Whether the layers read the borders of every row: for gradients, dropout and taps; and of a batch of no row."""
        layers = [layer for pair in self._pairs() for layer in pair]
        weights = (weight for layer in layers for weight in layer.parameters())
        return (
            self.training
            or not tokens.batch_size
            or not all(layer.fast for layer in layers)
            or wants_gradients(tokens.values, *weights)
        )

    def _state_after_border(self, batch: TokenBatch) -> BiLanguageModelState:
        """What every row holds when it has read its first border, which is the last one for the backward layers."""
        places = batch.index.values[0, [0, int(batch.index.lengths[0]) - 1]]
        borders = places if batch.characters is None else batch.characters[places]
        ids = places.unsqueeze(0) if batch.characters is None else torch.tensor([[0, 1]], device=places.device)

        def read() -> BiLanguageModelState:
            characters = None if batch.characters is None else borders
            tokens = self.token_representations(replace(batch, index=Sequence.of(ids), characters=characters))
            start = self.initial_state(1, device=tokens.device, dtype=tokens.values.dtype)
            return self._run((tokens.slice(0, 1), tokens.slice(1, 2)), start)[1]

        layers = [layer for pair in self._pairs() for layer in pair]
        weights = (*self.token_encoder.parameters(), *(weight for layer in layers for weight in layer.parameters()))
        form = ("border", product_type(weights[0]), str(borders.tolist()))
        with torch.inference_mode(False), torch.no_grad():
            state = prepared(self, form, weights, read)
        rows = batch.index.batch_size
        return tuple(
            (LSTMState(*(part.expand(rows, -1) for part in one)), LSTMState(*(part.expand(rows, -1) for part in other)))
            for one, other in state
        )

    @torch.no_grad()
    def continue_long_representations(
        self,
        batch: TokenBatch,
        state: BiLanguageModelState,
        steps: int,
        choose: Callable[[Tensor], Tensor] = lambda layers: layers,
    ) -> tuple[list[Tensor], BiLanguageModelState]:
        """`continue_representations` read `steps` tokens at a time, without gradients; [W, L+1, 2P] for each row.

        Both directions carry their state from piece to piece, so these are the vectors of the whole up to rounding, while the
        work between takes the memory of a piece of all rows. `choose` makes of [t, L+1, …] what is kept, token by token and
        number by number, as in `lambda layers: layers[:, -1]`: what it leaves out is never held for the whole sentence.
        """
        check_borders(batch)
        read = self._reader(batch, steps)
        sides = (batch.index, batch.index.reverse())
        lengths: list[int] = batch.index.lengths.tolist()
        found: list[Tensor] = []
        for start in range(0, batch.index.time, steps):
            forward, backward = (read(side.slice(start, start + steps)) for side in sides)
            layers, state = self._run((forward, backward), state)
            every = [
                torch.stack([tokens.values, *(layer[side].values for layer in layers)], dim=2)
                for side, tokens in enumerate((forward, backward))
            ]  # [B, t, L+1, P] of each side
            for row, length in enumerate(lengths):
                stop = min(length, start + steps)
                if stop <= start and start:
                    continue
                one, other = (choose(side[row, : max(0, stop - start)]) for side in every)  # [t, …, P] each
                if not start:
                    found.append(one.new_empty(length, *one.shape[1:-1], 2 * self.config.projection))
                forward_half, backward_half = found[row].chunk(2, dim=-1)
                forward_half[start:stop] = one
                backward_half[length - stop : length - start] = other.flip(0)
        words: list[int] = batch.word_lengths.tolist()
        if batch.word_of_unit is None:
            return [vectors[1 : 1 + count] for vectors, count in zip(found, words, strict=True)], state
        units = [word_of_unit[:length] for word_of_unit, length in zip(batch.word_of_unit, lengths, strict=True)]
        return [means_of_row(*row) for row in zip(found, units, words, strict=True)], state

    def _reader(self, batch: TokenBatch, steps: int) -> Callable[[Sequence], Sequence]:
        """`token_representations` of a part of the batch's index; distinct words are read once, `steps` at a time."""
        if batch.characters is None:
            return lambda index: self.token_representations(replace(batch, index=index))
        assert isinstance(self.token_encoder, CharacterCNN | FormsAndSpelling)
        types = torch.cat([self.token_encoder.encode_types(part) for part in batch.characters.split(steps)])

        def read(index: Sequence) -> Sequence:
            index = index.zero_padding()
            return index.with_values(nn.functional.embedding(index.values, types)).zero_padding()

        return read
