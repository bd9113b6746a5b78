"""ELMo at the published size with random weights beside AllenNLP's own modules, which read the same two files.

Skipped where they are not there: `pip install --no-deps --target FOLDER allennlp==2.10.1` makes the folder that
`CARRYOVER_ALLENNLP` names; what their modules import besides torch is replaced by empty names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from carryover.data.coding import TokenCoder
from carryover.encoders.bilm import BidirectionalEncoder
from carryover.encoders.embed_lines import embed_carrying
from carryover.encoders.loading import load
from carryover.interop.elmo.layout import options_of
from carryover.models.bilm import BiLanguageModel
from interop.elmo_files import write_files

pytest.importorskip("h5py", reason="published ELMo files need h5py: pip install carryover[published]")
pytestmark = pytest.mark.slow

PEERS = Path(__file__).resolve().parents[2] / "benchmarks"
TOLERANCE = 1e-5
BATCHES = [
    [
        ["The", "cat", "sat", "on", "the", "mat", "."],
        ["Play"],
        ["Größe", "日本", "🙂", "x" * 70, "end", "of", "it", "all", "now"],
    ],
    [
        ["She", "banks", "on", "it"],
        ["a", "river", "bank", "in", "spring", ",", "and", "so", "on", "-", "for", "long"],
        ["no"],
    ],
    [["one", "two"], ["three"], ["the", "last", "of", "these", "sentences", "ends", "here", "."]],
]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[BidirectionalEncoder, Any]:
    """Our model and theirs, of the same files."""
    if not os.environ.get("CARRYOVER_ALLENNLP"):
        pytest.skip("AllenNLP's modules are not here, see the head of this file")
    from carryover.interop.elmo.published import import_elmo

    sys.path.append(str(PEERS))
    try:
        from peers.allennlp_modules import find_allennlp
    finally:
        sys.path.remove(str(PEERS))
    find = find_allennlp()
    assert find is not None
    folder = tmp_path_factory.mktemp("published")
    options = options_of(BiLanguageModel.Config.of_size("original", vocabulary_size=3, softmax="none"))
    assert (options["lstm"]["dim"], options["lstm"]["projection_dim"], len(options["char_cnn"]["filters"])) == (4096, 512, 7)
    files = write_files(folder / "files", options, scale=0.035)  # larger ones make rounding grow from step to step
    import_elmo(*files, folder / "elmo", tokenizer="whitespace")
    ours = load(folder / "elmo")
    assert isinstance(ours, BidirectionalEncoder)
    return ours, find("modules.elmo._ElmoBiLm")(*map(str, files)).eval()


def theirs(peer: Any, sentences: list[list[str]]) -> list[Tensor]:
    """[words, L + 1, 2P] of each sentence, from where the state of their LSTMs stands."""
    batch = TokenCoder("characters").batch(sentences, borders=False)
    assert batch.characters is not None
    with torch.no_grad():
        layers = torch.stack(peer(batch.characters[batch.index.values])["activations"], 2)
    return [layers[row, 1 : 1 + len(words)] for row, words in enumerate(sentences)]


def far(found: list[Tensor], expected: list[Tensor]) -> dict[str, float]:
    """The largest difference of each direction."""
    half = expected[0].shape[-1] // 2
    worst = {"forward": 0.0, "backward": 0.0}
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        difference = (one - other).abs()
        worst["forward"] = max(worst["forward"], float(difference[..., :half].max()))
        worst["backward"] = max(worst["backward"], float(difference[..., half:].max()))
    return worst


@pytest.mark.parametrize("kernels", ["on", "off"])
def test_every_layer_of_every_word(
    both: tuple[BidirectionalEncoder, Any], kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARRYOVER_KERNELS", kernels)
    ours, peer = both
    for sentences in BATCHES:
        peer._elmo_lstm.reset_states()
        expected = theirs(peer, sentences)
        worst = far(ours.embed(sentences), expected)
        assert max(worst.values()) < TOLERANCE, worst
        assert max(float(vectors.std()) for vectors in expected) > 0.02, "vectors of nothing are equal however they are made"


def test_with_the_state_carried_on(both: tuple[BidirectionalEncoder, Any]) -> None:
    ours, peer = both
    peer._elmo_lstm.reset_states()
    for sentences, found in zip(BATCHES, embed_carrying(ours, BATCHES), strict=True):
        worst = far(found, theirs(peer, sentences))
        assert max(worst.values()) < TOLERANCE, worst
