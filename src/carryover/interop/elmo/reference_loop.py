"""ELMo straight from the published arrays, one word and one step at a time: slow, for reading, and the fast path's test.

It shares nothing with `carryover.layers`: characters, gates, biases and the order of everything are read here as the
published layout has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from typing import Any

import numpy as np

LoopState = list[list[tuple[np.ndarray, np.ndarray]]]
"""For each side and layer the projected state [P] and the cell [C] of one row."""


def loop_state(options: Mapping[str, Any]) -> LoopState:
    """Zeros: what every text begins with."""
    lstm = options["lstm"]
    return [[(np.zeros(lstm["projection_dim"]), np.zeros(lstm["dim"])) for _ in range(lstm["n_layers"])] for _ in range(2)]


def loop_word(word: str, arrays: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> np.ndarray:
    """The context-free vector [P] of a word; `<s>` and `</s>` are the borders of a sentence."""
    signs = {"<s>": [256], "</s>": [257]}.get(word, list(word.encode()[:48]))
    characters = ([258, *signs, 259] + [260] * 50)[:50]
    embedded = arrays["char_embed"].astype(np.float64)[characters]  # [50, character size]
    found = []
    for number, (width, _) in enumerate(options["char_cnn"]["filters"]):
        weight, bias = arrays[f"CNN/W_cnn_{number}"][0], arrays[f"CNN/b_cnn_{number}"]  # [width, character size, filters]
        places = [np.einsum("wc,wcf->f", embedded[start : start + width], weight) + bias for start in range(50 - width + 1)]
        found.append(np.maximum(np.max(places, axis=0), 0))
    vector = np.concatenate(found)
    for number in range(options["char_cnn"]["n_highway"]):
        layer = {name: arrays[f"CNN_high_{number}/{name}"] for name in ("W_transform", "b_transform", "W_carry", "b_carry")}
        gate = _sigmoid(vector @ layer["W_carry"] + layer["b_carry"])
        vector = gate * np.maximum(vector @ layer["W_transform"] + layer["b_transform"], 0) + (1 - gate) * vector
    return np.asarray(vector @ arrays["CNN_proj/W_proj"] + arrays["CNN_proj/b_proj"])


def loop_sentence(
    words: ListOf[str], arrays: Mapping[str, np.ndarray], options: Mapping[str, Any], state: LoopState
) -> tuple[np.ndarray, LoopState]:
    """All vectors of a sentence's words, [words, L+1, 2P], and the state after it."""
    tokens = [loop_word(word, arrays, options) for word in ("<s>", *words, "</s>")]
    sides, after = [], []
    for side in range(2):
        layers, ends = [tokens if side == 0 else tokens[::-1]], []
        for number, (hidden, cell) in enumerate(state[side]):
            outputs = []
            for x in layers[-1]:
                hidden, cell = _step(x, hidden, cell, arrays, side, number, options["lstm"])
                skip = number > 0 and options["lstm"]["use_skip_connections"]
                outputs.append(hidden + x if skip else hidden)
            layers.append(outputs)
            ends.append((hidden, cell))
        sides.append([layer if side == 0 else layer[::-1] for layer in layers])
        after.append(ends)
    both = [np.concatenate([np.array(one), np.array(other)], axis=1) for one, other in zip(*sides, strict=True)]
    return np.stack(both, axis=1)[1:-1], after


def _step(
    x: np.ndarray,
    hidden: np.ndarray,
    cell: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    side: int,
    layer: int,
    lstm: Mapping[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    at = f"RNN_{side}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
    a = np.concatenate([x, hidden]) @ arrays[f"{at}/W_0"] + arrays[f"{at}/B"]
    a_i, a_g, a_f, a_o = np.split(a, 4)
    cell = _sigmoid(a_f + 1) * cell + _sigmoid(a_i) * np.tanh(a_g)
    if lstm["cell_clip"] is not None:
        cell = np.clip(cell, -lstm["cell_clip"], lstm["cell_clip"])
    hidden = (_sigmoid(a_o) * np.tanh(cell)) @ arrays[f"{at}/W_P_0"]
    if lstm["proj_clip"] is not None:
        hidden = np.clip(hidden, -lstm["proj_clip"], lstm["proj_clip"])
    return hidden, cell


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray((1 + np.tanh(x / 2)) / 2)  # as 1 / (1 + exp(−x)), which overflows
