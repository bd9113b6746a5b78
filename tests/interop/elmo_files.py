"""Small files in the published ELMo layout, with numbers at random."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np

OPTIONS: dict[str, Any] = {
    "lstm": {
        "cell_clip": 3,
        "use_skip_connections": True,
        "n_layers": 2,
        "proj_clip": 3,
        "projection_dim": 6,
        "dim": 10,
    },
    "char_cnn": {
        "embedding": {"dim": 4},
        "filters": [[1, 3], [2, 4], [3, 5]],
        "n_highway": 2,
        "n_characters": 262,
        "max_characters_per_token": 50,
        "activation": "relu",
    },
}


def changed(**changes: Any) -> dict[str, Any]:
    """`OPTIONS` with other values; `lstm__dim=3` goes one level down, the value `...` leaves the key out."""
    found = copy.deepcopy(OPTIONS)
    for name, value in changes.items():
        *parts, last = name.split("__")
        place = found
        for part in parts:
            place = place[part]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return found


def random_arrays(options: dict[str, Any], seed: int = 0, scale: float = 0.5) -> dict[str, np.ndarray]:
    """Every data set of such a model, in the published shapes, which are spelled out here once more."""
    draw = np.random.default_rng(seed)
    lstm, characters = options["lstm"], options["char_cnn"]
    size, cells, dim = lstm["projection_dim"], lstm["dim"], characters["embedding"]["dim"]
    total = sum(count for _, count in characters["filters"])
    shapes: dict[str, tuple[int, ...]] = {"char_embed": (261, dim)}
    for number, (width, count) in enumerate(characters["filters"]):
        shapes |= {f"CNN/W_cnn_{number}": (1, width, dim, count), f"CNN/b_cnn_{number}": (count,)}
    for number in range(characters["n_highway"]):
        for part in ("carry", "transform"):
            shapes |= {f"CNN_high_{number}/W_{part}": (total, total), f"CNN_high_{number}/b_{part}": (total,)}
    shapes |= {"CNN_proj/W_proj": (total, size), "CNN_proj/b_proj": (size,)}
    for side in range(2):
        for layer in range(lstm["n_layers"]):
            cell = f"RNN_{side}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            shapes |= {f"{cell}/W_0": (2 * size, 4 * cells), f"{cell}/B": (4 * cells,), f"{cell}/W_P_0": (cells, size)}
    return {name: draw.normal(0, scale, shape).astype(np.float32) for name, shape in shapes.items()}


def write_files(folder: Path, options: dict[str, Any] = OPTIONS, **of_arrays: Any) -> tuple[Path, Path]:
    """options.json and weights.hdf5 in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "options.json").write_text(json.dumps(options))
    write_weights(folder / "weights.hdf5", random_arrays(options, **of_arrays))
    return folder / "options.json", folder / "weights.hdf5"


def write_weights(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
