"""A word's vector from its spelling and from the word as a whole."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carryover.layers import CharacterCNN, Embedding
from carryover.layers.characters import WORDS_STEP


class FormsAndSpelling(nn.Module):
    """x = W [e_word; features of the characters] + b (Che et al. 2018, section 3).

    The features are those of `CharacterCNN` before its projection. Parameters: `forms.weight` [forms, form_size],
    `spelling.…`, and `projection.weight` [out_size, form_size + filters], `projection.bias`.
    """

    def __init__(self, spelling: CharacterCNN, forms: int, form_size: int, out_size: int) -> None:
        super().__init__()
        self.forms = Embedding(forms, form_size)
        self.spelling = spelling
        self.projection = nn.Linear(form_size + spelling.out_size, out_size)

    def encode_types(self, rows: Tensor) -> Tensor:
        """Vectors [U, out_size] of words given as [U, places + 1]: ids of their characters, then the word's own."""
        words = len(rows)
        # Filled up as `CharacterCNN` does it, and for its reason: a word's vector does not depend on its place in the table.
        rows = nn.functional.pad(rows, (0, 0, 0, -words % WORDS_STEP))
        spelled = self.spelling.encode_types(rows[:, :-1])
        vectors: Tensor = self.projection(torch.cat([self.forms.element(rows[:, -1]), spelled], dim=-1))
        return vectors[:words]


def build_spelling(
    size: int,
    filters: tuple[tuple[int, int], ...],
    *,
    characters: int,
    character_size: int,
    highway_layers: int,
    forms: int,
    form_size: int,
) -> CharacterCNN | FormsAndSpelling:
    """What reads words by their characters into `size` numbers, beside words as wholes where there are `forms`."""
    spelling = CharacterCNN(
        filters,
        in_size=characters,
        character_size=character_size,
        highway_layers=highway_layers,
        projection=None if forms else size,
    )
    return FormsAndSpelling(spelling, forms, form_size, size) if forms else spelling
