"""Polyphonic music as Boulanger-Lewandowski et al. 2012 prepared it: which of 88 keys sound at each moment."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from carryover.data.formats.matlab import read_matlab
from carryover.data.formats.opening import FilePath
from carryover.errors import BadData, InputMissing

_VARIABLES = ("traindata", "validdata", "testdata")


class PianoRolls(NamedTuple):
    """Pieces of each part, float32 [T, keys] of 0 and 1; T ≥ 2, so that every piece has something to predict."""

    train: list[NDArray[np.float32]]
    valid: list[NDArray[np.float32]]
    test: list[NDArray[np.float32]]

    @property
    def keys(self) -> int:
        return int(self.train[0].shape[1])


def read_piano_rolls(path: FilePath) -> PianoRolls:
    """A `.mat` file with the cell arrays `traindata`, `validdata` and `testdata` of matrices [T, keys].

    Raises InputMissing, or BadData naming the piece that is no such matrix.
    """
    if not Path(path).is_file():
        raise InputMissing("there is no such file", path=path, repair="put it there")
    variables = read_matlab(path, _VARIABLES)
    parts: list[list[NDArray[np.float32]]] = []
    keys: int | None = None
    for name in _VARIABLES:
        pieces = variables[name]
        if not isinstance(pieces, list) or not pieces:
            raise BadData(f"{name} is not a cell array of pieces", path=path, repair="use the published file")
        for number, piece in enumerate(pieces):
            keys = piece.shape[-1] if keys is None else keys
            if piece.ndim != 2 or piece.shape[1] != keys or keys == 0 or len(piece) < 2 or not np.isin(piece, (0, 1)).all():
                raise BadData(
                    f"piece {number} of {name}, shape {list(piece.shape)}, is not a matrix of 0 and 1 with {keys} keys and at "
                    "least two moments",
                    path=path,
                    repair="use the published file",
                )
        parts.append([piece.astype(np.float32) for piece in pieces])
    return PianoRolls(*parts)
