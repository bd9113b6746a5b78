"""A word's vector from its spelling: convolutions over its characters."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carryover.kernels import character_cnn
from carryover.kernels.character_cnn import BiasedWeight, CharacterTables, CharacterWeights, HighwayWeights
from carryover.kernels.products import product_type, wants_gradients
from carryover.layers.element import ElementLayer
from carryover.layers.embedding import no_such_id
from carryover.layers.highway import Highway
from carryover.layers.prepared import forget, prepared
from carryover.sequence import Sequence

# Numbers of words and of places are rounded up to multiples of these: oneDNN compiles a kernel for every shape and
# keeps a thousand of them, a gigabyte of memory when every batch has a different shape. Besides, matrix products round the
# last few rows of a table differently; with the rows filled up, a word's vector does not depend on its place in the table.
WORDS_STEP = 32
_PLACES_STEP = 4


@final
class CharacterCNN(ElementLayer):
    """Words as rows of character ids [B, T, characters a word] to word vectors [B, T, out_size].

    Every character id becomes a vector e of `character_size`; a filter of width w gives
    max_p f(W · [e_p; …; e_{p+w−1}] + b) over all places p in the word; the filters of all widths side by side pass
    through the highway layers and an affine projection. Kim et al. 2016, "Character-aware neural language models"
    equations 1–6; with the projection as in Jozefowicz et al. 2016, "Exploring the limits of language modeling".

    Each distinct word of a batch is computed once. Ids are 0 … in_size−1; id 0 stands for "no word here", its vector
    is zero and stays so. All places count, those that hold the padding character too (as in the published weights).

    Parameters
    ----------
    in_size : number of character ids (262 in the published layout of 256 bytes, 5 marks and the 0).
    character_size : length of a character's vector.
    filters : pairs (width, number of filters).
    highway_layers : how many highway layers follow.
    projection : size of the word vector, `None` to leave out the projection.
    activation : f, which must be non-decreasing (it is applied after the maximum, which is the same and cheaper).

    `last_path` says what the latest call ran: "compiled" (without gradients, on a processor with AVX-512 where a compiler is
    present; `carryover.kernels.character_cnn`) or "plain".

    Parameters learned: `characters` [in_size, character_size], `convolutions.k.weight` [number, character_size, width],
    `convolutions.k.bias` [number], `highways.k.…` and `projection.weight`, `projection.bias`.
    """

    reads_ids = True

    def __init__(
        self,
        filters: tuple[tuple[int, int], ...],
        *,
        in_size: int = 262,
        character_size: int = 16,
        highway_layers: int = 1,
        projection: int | None = None,
        activation: Callable[[Tensor], Tensor] = torch.relu,
    ) -> None:
        super().__init__()
        if not filters:
            raise ValueError("CharacterCNN was given no filters: give pairs (width, number of filters)")
        total = sum(number for _, number in filters)
        self.in_size, self.out_size = in_size, projection or total
        self.widest = max(width for width, _ in filters)
        self.activation = activation
        self.characters = nn.Parameter(torch.randn(in_size, character_size) / character_size**0.5)
        with torch.no_grad():
            self.characters[0] = 0
        self.convolutions = nn.ModuleList(nn.Conv1d(character_size, number, width) for width, number in filters)
        self.highways = nn.ModuleList(Highway(total) for _ in range(highway_layers))
        self.projection = None if projection is None else nn.Linear(total, projection)
        self.last_path: str | None = None

    def encode_types(self, characters: Tensor) -> Tensor:
        """Vectors [U, out_size] of words given as character ids [U, characters a word], one row a word.

        Raises ValueError when the rows are shorter than the widest filter.
        """
        if characters.shape[1] < self.widest:
            raise ValueError(
                f"words are given as {characters.shape[1]} characters and the widest filter spans {self.widest}: "
                "pad the words further or use narrower filters"
            )
        if len(characters) == 0:
            return self.characters.new_zeros(0, self.out_size)
        dtype = product_type(self.characters)
        if self._may_be_compiled() and character_cnn.fits(self._weights(), characters, dtype):
            self.last_path = "compiled"
            with torch.autocast("cpu", enabled=False):
                return character_cnn.encode(self._tables(dtype), characters, dtype, self.activation)
        self.last_path = "plain"
        forget(self)
        words = len(characters)
        characters = F.pad(self._without_equal_places(characters), (0, 0, 0, -words % WORDS_STEP))
        embedded = F.embedding(characters, self.characters, padding_idx=0).transpose(1, 2).contiguous()  # [U, C, places]
        # With gradients, the maximum that remembers its place is faster than the one that compares again.
        found = [
            convolution(embedded).max(-1).values if torch.is_grad_enabled() else convolution(embedded).amax(-1)
            for convolution in self.convolutions
        ]
        features = self.activation(torch.cat(found, dim=-1))  # [U, all filters]
        for highway in self._highways():
            features = highway.element(features)
        return (features if self.projection is None else self.projection(features))[:words]

    def forget_words(self) -> None:
        """Compute every word again, as if the compiled kernel had met none."""
        for dtype in (torch.float32, torch.bfloat16):
            self._tables(dtype).known.forget()

    def _may_be_compiled(self) -> bool:
        """Whether nobody wants gradients or the plain path, and the layer computes what the compiled kernel does."""
        if not self.fast or wants_gradients(*self.parameters()):
            return False
        linear = [] if self.projection is None else [self.projection]
        for highway in self._highways():
            if highway.activation is not torch.relu:
                return False
            linear += [highway.transform, highway.gate]
        return all(isinstance(one, nn.Linear) for one in linear)

    def _weights(self) -> CharacterWeights:
        return CharacterWeights(
            self.characters,
            tuple(_biased(convolution) for convolution in self.convolutions),
            tuple(HighwayWeights(_biased(highway.transform), _biased(highway.gate)) for highway in self._highways()),
            None if self.projection is None else _biased(self.projection),
        )

    def _tables(self, dtype: torch.dtype) -> CharacterTables:
        parameters = tuple(self.parameters())
        return prepared(self, ("words", dtype), parameters, lambda: character_cnn.tables_of(self._weights(), dtype))

    def _highways(self) -> list[Highway]:
        return cast(list[Highway], list(self.highways))

    def element(self, values: Tensor) -> Tensor:
        words = values.flatten(0, -2)  # [words, characters a word]
        distinct, place = torch.unique(words, dim=0, return_inverse=True)
        try:
            vectors = self.encode_types(distinct)
        except IndexError as error:
            raise IndexError(no_such_id(self, distinct)) from error
        return vectors[place].view(*values.shape[:-1], self.out_size)

    def check_input(self, x: Sequence) -> None:
        """Raise TypeError on real numbers, ValueError on another shape than [batch, time, characters a word]."""
        super().check_input(x)
        if x.values.dim() != 3:
            raise ValueError(
                f"CharacterCNN reads character ids [batch, time, characters a word], got shape {tuple(x.values.shape)}"
            )

    def _without_equal_places(self, characters: Tensor) -> Tensor:
        """Leave out places at the end where every word of the batch only repeats its last character.

        All windows there are equal, so one of them is enough for the maximum. Words are padded to 50 characters and
        mostly shorter than 15, so this saves most of the work.
        """
        varying = (characters != characters[:, -1:]).any(0).nonzero()
        used = int(varying[-1]) + 1 if len(varying) else 0
        return characters[:, : used + -used % _PLACES_STEP + self.widest]


def _biased(module: nn.Module) -> BiasedWeight:
    return BiasedWeight(cast(Tensor, module.weight), cast(Tensor, module.bias))
