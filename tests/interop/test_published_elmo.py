"""Published ELMo files: the golden vectors of the official fixture, a plain loop, and back into files unchanged."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from carryover.encoders.bilm import BidirectionalEncoder
from carryover.encoders.embed_lines import embed_carrying
from carryover.encoders.loading import load
from carryover.errors import UsageError
from carryover.interop.elmo.layout import from_state, options_of, parse_options, published_shapes, to_state
from carryover.interop.elmo.reference_loop import loop_sentence, loop_state, loop_word
from carryover.models.bilm import BiLanguageModel
from carryover.objectives.bilm import lines_perplexity
from interop.elmo_files import OPTIONS, changed, random_arrays, write_files
from task_material import language_model, store_language_model

h5py = pytest.importorskip("h5py", reason="published ELMo files need h5py: pip install carryover[published]")

SENTENCES = [["the", "cow", "sees", "Ann"], ["a"], ["Größe", "日本", "🙂", "", "x" * 70, "end"], []]
SHAPES = {
    "as published": OPTIONS,
    "one layer": changed(lstm__n_layers=1),
    "three layers": changed(lstm__n_layers=3),
    "no residual": changed(lstm__use_skip_connections=False),
    "no clipping": changed(lstm__cell_clip=None, lstm__proj_clip=None),
    "close clipping": changed(lstm__cell_clip=0.3, lstm__proj_clip=0.2),
    "no highway": changed(char_cnn__n_highway=0),
    "one filter": changed(char_cnn__filters=[[7, 9]]),
}


@pytest.fixture(scope="module")
def official(shared_data: Path) -> Path:
    return shared_data / "elmo-official-fixture"


@pytest.fixture(scope="module")
def imported(official: Path, tmp_path_factory: pytest.TempPathFactory) -> BidirectionalEncoder:
    from carryover.interop.elmo.published import import_elmo

    out = tmp_path_factory.mktemp("elmo") / "elmo"
    import_elmo(official / "options.json", official / "lm_weights.hdf5", out, tokenizer="whitespace")
    found: BidirectionalEncoder = load(out)
    return found


def made(options: dict[str, Any], **of_arrays: Any) -> tuple[BidirectionalEncoder, dict[str, np.ndarray]]:
    """A model of random published arrays, and the arrays."""
    from carryover.data.coding import TokenCoder

    arrays = random_arrays(options, **of_arrays)
    config = parse_options(options, Path("options.json"))
    model = BiLanguageModel(config)
    model.load_state_dict(to_state(arrays, config))
    return BidirectionalEncoder(model, TokenCoder("characters"), {}), arrays


# The official fixture --------------------------------------------------------------------------------------------------


def test_the_golden_embeddings_are_met_in_both_directions(official: Path, imported: BidirectionalEncoder) -> None:
    """They were made three sentences at a time, the state carried on: batch i holds sentence i of each list."""
    lists = [[sentence.split() for sentence in one] for one in json.loads((official / "sentences.json").read_text())]
    batches = [[one[number] for one in lists] for number in range(10)]
    worst = {"forward": 0.0, "backward": 0.0}
    with ExitStack() as stack:
        files = [stack.enter_context(h5py.File(official / f"lm_embeddings_{number}.hdf5")) for number in range(3)]
        for number, found in enumerate(embed_carrying(imported, batches)):
            for vectors, file in zip(found, files, strict=True):
                forward, backward = file[str(number)][...]
                top = vectors[:, -1].numpy()
                assert top.shape == (len(forward), 32)
                worst["forward"] = max(worst["forward"], float(np.abs(top[:, :16] - forward).max()))
                worst["backward"] = max(worst["backward"], float(np.abs(top[:, 16:] - backward).max()))
    assert worst["forward"] < 1e-5 and worst["backward"] < 1e-5, worst


def test_the_golden_token_embeddings_are_met(official: Path, imported: BidirectionalEncoder) -> None:
    """The vocabulary spells the borders of a sentence <S> and </S>; we read them from a sentence with borders."""
    words = (official / "vocab_test.txt").read_text(encoding="utf-8").split("\n")
    with h5py.File(official / "elmo_token_embeddings.hdf5") as file:
        golden = file["embedding"][...]
    assert len(words) == len(golden) == 458
    with torch.inference_mode():
        found = imported.model.token_representations(imported.coder.batch([words], borders=True)).values[0].numpy()
    found = {**dict(zip(words, found[1:-1], strict=True)), "<S>": found[0], "</S>": found[-1]}
    assert max(float(np.abs(found[word] - vector).max()) for word, vector in zip(words, golden, strict=True)) < 1e-6


def test_the_golden_embeddings_need_the_carried_state(official: Path, imported: BidirectionalEncoder) -> None:
    """The first sentence of each list began with zeros, so it is the same without; the second is not."""
    sentences = [sentence.split() for sentence in json.loads((official / "sentences.json").read_text())[0]]
    with h5py.File(official / "lm_embeddings_0.hdf5") as file:
        first, second = imported.embed(sentences[:2])
        assert np.abs(first[:, -1, :16].numpy() - file["0"][0]).max() < 1e-5
        assert np.abs(second[:, -1, :16].numpy() - file["1"][0]).max() > 0.1


# The plain loop --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_the_model_equals_the_plain_loop(shape: str) -> None:
    options = SHAPES[shape]
    encoder, arrays = made(options)
    assert {name: array.shape for name, array in arrays.items()} == published_shapes(encoder.model.config)
    for words, found in zip(SENTENCES, encoder.embed(SENTENCES), strict=True):
        expected, _ = loop_sentence(words, arrays, options, loop_state(options))
        assert found.shape == expected.shape == (len(words), options["lstm"]["n_layers"] + 1, 12)
        assert np.abs(found.numpy() - expected).max(initial=0) < 1e-5


def test_large_numbers_meet_the_clips_in_both() -> None:
    encoder, arrays = made(OPTIONS, scale=4.0)
    (found,) = encoder.embed([SENTENCES[0]])
    assert float(found[:, 1].abs().max()) == 3.0, "the projection was clipped"
    expected, _ = loop_sentence(SENTENCES[0], arrays, OPTIONS, loop_state(OPTIONS))
    assert np.allclose(found.numpy(), expected, rtol=1e-5, atol=1e-3)


def test_a_word_is_read_by_its_first_48_bytes() -> None:
    encoder, arrays = made(OPTIONS)
    long = "é" * 24 + "rest"
    found = [encoder.embed([[word]])[0][0, 0, :6].numpy() for word in (long, long[:24])]
    assert (found[0] == found[1]).all() and np.abs(found[0] - loop_word(long, arrays, OPTIONS)).max() < 1e-6


# Carrying the state ----------------------------------------------------------------------------------------------------


def test_carried_state_equals_the_loop_row_by_row() -> None:
    """Batches of 2, 3, 1 and 2 rows: a row that a batch does not have keeps its state, a new one begins with zeros."""
    encoder, arrays = made(OPTIONS)
    batches = [SENTENCES[:2], [SENTENCES[2], [], SENTENCES[0]], [SENTENCES[0]], [SENTENCES[1], SENTENCES[2]]]
    states = [loop_state(OPTIONS) for _ in range(3)]
    for batch, found in zip(batches, embed_carrying(encoder, batches), strict=True):
        for row, (words, vectors) in enumerate(zip(batch, found, strict=True)):
            expected, states[row] = loop_sentence(words, arrays, OPTIONS, states[row])
            assert np.abs(vectors.numpy() - expected).max(initial=0) < 1e-5


def test_without_it_nothing_is_carried() -> None:
    encoder, _ = made(OPTIONS)
    again = [encoder.embed([sentence])[0] for sentence in SENTENCES for _ in range(2)]
    for one, other in zip(again[::2], again[1::2], strict=True):
        assert torch.equal(one, other)
    (first,), (second,) = embed_carrying(encoder, [[SENTENCES[0]], [SENTENCES[0]]])
    assert torch.equal(first, embed_carrying_first(encoder)) and not torch.allclose(first[:, 1:], second[:, 1:], atol=1e-3)
    assert torch.equal(first[:, 0], second[:, 0])


def embed_carrying_first(encoder: BidirectionalEncoder) -> torch.Tensor:
    return next(embed_carrying(encoder, [[SENTENCES[0]]]))[0]


# Into files and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_options_and_arrays_come_back(shape: str) -> None:
    options = SHAPES[shape]
    config = parse_options(options, Path("options.json"))
    again = options_of(config)
    assert parse_options(json.loads(json.dumps(again)), Path("options.json")) == config
    assert {**again, "dropout": None} == {**options, "dropout": None}
    arrays = random_arrays(options)
    back = from_state(to_state(arrays, config), config)
    assert list(back) == list(published_shapes(config))
    for name, array in arrays.items():
        # A forget bias has 1 added and taken away in float32; all else only changes its place.
        assert np.abs(back[name] - array).max() <= (2.4e-7 if name.endswith("/B") else 0), name


def test_what_is_trained_here_is_exported_and_read_back_equal(tmp_path: Path) -> None:
    from carryover.interop.elmo.published import export_elmo, import_elmo

    ours = language_model()
    store_language_model(tmp_path / "lm", ours)
    told = export_elmo(tmp_path / "lm", tmp_path / "files")
    assert told["largest_difference"] == 0 and told["left_out"] == ["output.weight", "output.bias"]
    options, weights = tmp_path / "files" / "options.json", tmp_path / "files" / "weights.hdf5"
    import_elmo(options, weights, tmp_path / "elmo")
    back: BidirectionalEncoder = load(tmp_path / "elmo")
    assert back.model.config.softmax == "none" and back.coder.kind == "characters" and back.heldout == []
    for one, other in zip(ours.embed(SENTENCES), back.embed(SENTENCES), strict=True):
        assert torch.equal(one, other)
    # The same model again makes the same bytes, and may replace an earlier export.
    before = weights.read_bytes(), options.read_bytes()
    export_elmo(tmp_path / "lm", tmp_path / "files")
    assert (weights.read_bytes(), options.read_bytes()) == before
    export_elmo(tmp_path / "elmo", tmp_path / "twice")
    assert (tmp_path / "twice" / "weights.hdf5").read_bytes() == before[0]


def test_forget_biases_that_float32_cannot_hold_less_one() -> None:
    config = parse_options(OPTIONS, Path("options.json"))
    state = BiLanguageModel(config).state_dict()
    exact, rounded = torch.linspace(0.5, 3, 10), torch.linspace(-0.4999, 0.4999, 10)
    for biases, limit in ((exact, 0.0), (rounded, 6.1e-8)):
        state["forward_layers.0.bias"][10:20] = biases
        back = to_state(from_state(state, config), config)
        assert float((back["forward_layers.0.bias"][10:20] - biases).abs().max()) <= limit


def test_a_model_without_output_layer_cannot_be_scored(tmp_path: Path) -> None:
    encoder, _ = made(OPTIONS)
    with pytest.raises(UsageError, match="no output layer"):
        lines_perplexity(encoder.model, encoder.coder, ["a line"])


def test_the_same_import_again_is_safe_and_another_is_refused(tmp_path: Path) -> None:
    from carryover.interop.elmo.published import import_elmo

    files = write_files(tmp_path / "one")
    first = import_elmo(*files, tmp_path / "elmo")
    second = import_elmo(*files, tmp_path / "elmo")
    assert first.record["imported"] == second.record["imported"]
    assert first.to_json()["parameters"] == sum(p.numel() for p in load(tmp_path / "elmo").model.parameters())
    card = (tmp_path / "elmo" / "README.md").read_text()
    assert "imported" in card and first.record["imported"]["files"]["weights"]["sha256"] in card
    with pytest.raises(UsageError, match="holds another model; choose another folder"):
        import_elmo(*write_files(tmp_path / "two", seed=1), tmp_path / "elmo")
    with pytest.raises(UsageError, match="tokenizer 'penn' is unknown; use words or whitespace"):
        import_elmo(*files, tmp_path / "new", tokenizer="penn")
