"""Named sizes of the language models, from seconds to the published one.

`SIZES` are sets of keyword arguments for `BiLanguageModel.Config`; vocabulary and input are the caller's to add.
"""

from __future__ import annotations

from typing import Any

SIZES: dict[str, dict[str, Any]] = {
    # seconds on one core: for tests, a first look and the built-in grammar
    "tiny": {
        "character_size": 8,
        "filters": ((1, 8), (2, 16), (3, 24), (4, 16)),
        "highway_layers": 1,
        "cells": 96,
        "projection": 48,
        "dropout": 0.1,
    },
    # minutes to an hour on two cores: one to twenty million tokens
    "small": {
        "character_size": 16,
        "filters": ((1, 32), (2, 32), (3, 64), (4, 96), (5, 96)),
        "highway_layers": 1,
        "cells": 512,
        "projection": 128,
        "dropout": 0.1,
    },
    # a workstation or one GPU: tens to hundreds of millions of tokens
    "medium": {
        "character_size": 16,
        "filters": ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 256)),
        "highway_layers": 2,
        "cells": 1024,
        "projection": 256,
        "dropout": 0.1,
    },
    # Peters et al. 2018, 93.6 million parameters beside the softmax; trained on 10^9 tokens with 8192 samples
    "original": {
        "character_size": 16,
        "filters": ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024)),
        "highway_layers": 2,
        "cells": 4096,
        "projection": 512,
        "dropout": 0.1,
        "softmax": "sampled",
        "samples": 8192,
    },
}

NEXT_TOKEN_SIZES: dict[str, dict[str, Any]] = {
    # seconds on one core
    "tiny": {"size": 48, "cells": 96, "layers": 2, "heads": 2, "horizon": 32, "dropout": 0.1},
    # minutes to an hour on two cores
    "small": {"size": 256, "cells": 512, "layers": 3, "heads": 4, "horizon": 128, "dropout": 0.1},
}
"""Named sizes of the language model that generates: keyword arguments for `LanguageModel.Config`."""

SERIES_SIZES: dict[str, dict[str, Any]] = {
    # seconds to minutes on one core
    "tiny": {"size": 32, "layers": 4},
    # minutes to an hour on two cores
    "small": {"size": 64, "layers": 6},
}
"""Named sizes of models of series: keyword arguments for `SeriesModel.Config`."""
