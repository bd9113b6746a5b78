"""AllenNLP's modules without what AllenNLP pins: its packages are entered without running their `__init__`.

`CARRYOVER_ALLENNLP` names a folder made by `pip install --no-deps --target FOLDER allennlp==2.10.1`. What the modules import
besides torch (registries, data classes, spaCy behind them) is replaced by empty names; what they compute is theirs.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES = ("", ".common", ".modules", ".nn", ".data", ".data.token_indexers")


def find_allennlp() -> Callable[[str], Any] | None:
    """A function from "modules.elmo_lstm.ElmoLstm" to the class of that name, or None where no folder is given."""
    folder = os.environ.get("CARRYOVER_ALLENNLP")
    if not folder:
        return None
    root = Path(folder) / "allennlp"
    if not root.is_dir():
        print(f"CARRYOVER_ALLENNLP is {folder} but holds no folder allennlp: install it there first", file=sys.stderr)
        raise SystemExit(69)  # as the command line says it where a piece is missing
    for name in PACKAGES:
        package = types.ModuleType(f"allennlp{name}")
        package.__path__ = [str(root.joinpath(*name.strip(".").split(".")))]
        sys.modules[package.__name__] = package

    class Base:
        @classmethod
        def register(cls, *_: Any, **__: Any) -> Callable[[Any], Any]:
            return lambda thing: thing

    for name, content in {
        "common": {"FromParams": Base, "Registrable": Base},
        "common.file_utils": {"cached_path": lambda path: path},
        "common.util": {
            "int_to_device": lambda device: device,
            "is_distributed": lambda: False,
            "is_global_primary": lambda: True,
            "lazy_groups_of": None,
            "pad_sequence_to_length": None,
        },
        "data.batch": {"Batch": Base},
        "data.fields": {"TextField": Base},
        "data.instance": {"Instance": Base},
        "data.token_indexers.token_indexer": {"TokenIndexer": Base, "IndexedTokenList": dict},
        "data.tokenizers": {"Token": Base},
        "data.tokenizers.token_class": {"Token": Base},
        "data.vocabulary": {"Vocabulary": Base},
        "nn.initializers": {"block_orthogonal": lambda *_, **__: None},
    }.items():
        module = sys.modules.setdefault(f"allennlp.{name}", types.ModuleType(f"allennlp.{name}"))
        vars(module).update(content)
    try:
        importlib.import_module("h5py")
    except ImportError:  # only its loader of weights needs it
        sys.modules["h5py"] = types.ModuleType("h5py")

    def find(name: str) -> Any:
        module, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(f"allennlp.{module}"), attribute)

    return find
