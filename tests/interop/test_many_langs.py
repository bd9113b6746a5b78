"""Models of ELMoForManyLangs against a plain reading of their weights, one character, word and step at a time."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import carryover
from carryover.data.coding import TokenCoder
from carryover.data.lexicon import Lexicon
from carryover.encoders.embed_lines import cut_words, embed_carrying
from carryover.errors import BadData, InputMissing, UsageError
from carryover.interop.elmo.many_langs import import_many_langs
from carryover.interop.elmo.published import export_elmo
from carryover.pretraining.initial_model import read_initial_model
from carryover.storage import read_json
from command_line import Shell

Array = NDArray[np.float64]
SENTENCES = [
    ["ein", "Haus", "am", "Fluß"], ["日本", "x" * 30, "?"], ["unseen"], ["Haus", "Haus", "\U0001f600"],
]  # fmt: skip
STRUCTURE: dict[str, Any] = {
    "encoder": {"name": "elmo", "projection_dim": 5, "cell_clip": 3, "proj_clip": 3, "dim": 7, "n_layers": 2},
    "token_embedder": {
        "name": "cnn", "activation": "relu", "filters": [[1, 3], [2, 4], [4, 5]], "n_highway": 2, "word_dim": 6,
        "char_dim": 4, "max_characters_per_token": 12,
    },
    "classifier": {"name": "sampled_softmax", "n_samples": 8192},
    "dropout": 0.1,
}  # fmt: skip
CHARACTERS = ["<bos>", "<eos>", "<oov>", "<pad>", "<bow>", "<eow>", *"aeinHusmFlß日?x", "\u3000"]
FORMS = ["<oov>", "<bos>", "<eos>", "<pad>", "Haus", "am", "?", "xxxxxxxxxx"]


def changed(**changes: Any) -> dict[str, Any]:
    """`STRUCTURE` with other values: `encoder__dim=3`; the value `...` leaves the key out."""
    found = json.loads(json.dumps(STRUCTURE))
    for name, value in changes.items():
        part, key = name.split("__")
        found[part][key] = value
        if value is ...:
            del found[part][key]
    return dict(found)


def tensors_of(structure: dict[str, Any], seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Random weights, named and shaped as they are published: token embedder and encoder."""
    random = torch.Generator().manual_seed(seed)
    tokens, encoder = structure["token_embedder"], structure["encoder"]
    total, size, cells = sum(n for _, n in tokens["filters"]), encoder["projection_dim"], encoder["dim"]

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random) * 0.6

    first = OrderedDict({"char_emb_layer.embedding.weight": draw(len(CHARACTERS), tokens["char_dim"])})
    if tokens["word_dim"]:
        first["word_emb_layer.embedding.weight"] = draw(len(FORMS), tokens["word_dim"])
    for number, (width, count) in enumerate(tokens["filters"]):
        first[f"convolutions.{number}.weight"] = draw(count, tokens["char_dim"], width)
        first[f"convolutions.{number}.bias"] = draw(count)
    for number in range(tokens["n_highway"]):
        first[f"highways._layers.{number}.weight"] = draw(2 * total, total)
        first[f"highways._layers.{number}.bias"] = draw(2 * total)
    first["projection.weight"], first["projection.bias"] = draw(size, tokens["word_dim"] + total), draw(size)
    second = OrderedDict()
    for side in ("forward", "backward"):
        for layer in range(encoder["n_layers"]):
            second[f"{side}_layer_{layer}.input_linearity.weight"] = draw(4 * cells, size)
            second[f"{side}_layer_{layer}.state_linearity.weight"] = draw(4 * cells, size)
            second[f"{side}_layer_{layer}.state_linearity.bias"] = draw(4 * cells)
            second[f"{side}_layer_{layer}.state_projection.weight"] = draw(size, cells)
    return first, second


def write_model(folder: Path, structure: dict[str, Any] = STRUCTURE, *, legacy: bool = False, seed: int = 0) -> Path:
    """A folder as it is published, the structure beside it under the name that `config_path` ends in."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"seed": 1, "config_path": "/far/away/cnn_sample.json"}))
    (folder / "cnn_sample.json").write_text(json.dumps(structure))
    (folder / "char.dic").write_text("".join(f"{sign}\t{row}\n" for row, sign in enumerate(CHARACTERS)), encoding="utf-8")
    if structure["token_embedder"].get("word_dim"):
        (folder / "word.dic").write_text("".join(f"{word}\t{row}\n" for row, word in enumerate(FORMS)), encoding="utf-8")
    for name, tensors in zip(("token_embedder.pkl", "encoder.pkl"), tensors_of(structure, seed), strict=True):
        torch.save(tensors, folder / name, _use_new_zipfile_serialization=not legacy)
    return folder


# The reference --------------------------------------------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def word_vector(word: str, structure: dict[str, Any], weights: dict[str, Array]) -> Array:
    """A word read as in the paper; `<bos>` and `<eos>` stand for the borders."""
    tokens, rows = structure["token_embedder"], {sign: row for row, sign in enumerate(CHARACTERS)}
    places = tokens["max_characters_per_token"]
    border = word in ("<bos>", "<eos>")
    signs = [word] if border else list(word[: places - 2])
    read = ["<eow>", *signs, "<bow>"]  # exchanged, as in their code
    read += ["<pad>"] * (places - len(read))
    spelled = np.stack([weights["char_emb_layer.embedding.weight"][rows.get(sign, rows["<oov>"])] for sign in read])
    found = []
    for number, (width, _) in enumerate(tokens["filters"]):
        kernel, bias = weights[f"convolutions.{number}.weight"], weights[f"convolutions.{number}.bias"]
        windows = [np.einsum("ocw,wc->o", kernel, spelled[p : p + width]) + bias for p in range(places - width + 1)]
        found.append(np.maximum(np.max(windows, axis=0), 0))
    features = np.concatenate(found)
    for number in range(tokens["n_highway"]):
        both = weights[f"highways._layers.{number}.weight"] @ features + weights[f"highways._layers.{number}.bias"]
        hidden, carry = np.split(both, 2)
        features = sigmoid(carry) * features + (1 - sigmoid(carry)) * np.maximum(hidden, 0)
    if tokens["word_dim"]:
        whole = word if border else word[: places - 2]
        row = FORMS.index(whole) if whole in FORMS else FORMS.index("<oov>")
        features = np.concatenate([weights["word_emb_layer.embedding.weight"][row], features])
    return np.asarray(weights["projection.weight"] @ features + weights["projection.bias"])


def run_lstm(inputs: list[Array], at: str, structure: dict[str, Any], weights: dict[str, Array]) -> list[Array]:
    encoder = structure["encoder"]
    hidden, cell, outputs = np.zeros(encoder["projection_dim"]), np.zeros(encoder["dim"]), []
    for x in inputs:
        gates = weights[f"{at}.input_linearity.weight"] @ x + weights[f"{at}.state_linearity.weight"] @ hidden
        i, f, g, o = np.split(gates + weights[f"{at}.state_linearity.bias"], 4)
        cell = sigmoid(i) * np.tanh(g) + sigmoid(f) * cell
        if encoder["cell_clip"]:
            cell = np.clip(cell, -encoder["cell_clip"], encoder["cell_clip"])
        hidden = weights[f"{at}.state_projection.weight"] @ (sigmoid(o) * np.tanh(cell))
        if encoder["proj_clip"]:
            hidden = np.clip(hidden, -encoder["proj_clip"], encoder["proj_clip"])
        outputs.append(hidden)
    return outputs


def read_sentence(words: list[str], structure: dict[str, Any], seed: int = 0) -> Array:
    """All layers of every word, [words, L+1, 2P]."""
    weights = {name: tensor.double().numpy() for part in tensors_of(structure, seed) for name, tensor in part.items()}
    tokens = [word_vector(word, structure, weights) for word in ["<bos>", *words, "<eos>"]]
    layers, below = [[np.concatenate([x, x]) for x in tokens]], {"forward": tokens, "backward": tokens[::-1]}
    for layer in range(structure["encoder"]["n_layers"]):
        for side, inputs in below.items():
            outputs = run_lstm(inputs, f"{side}_layer_{layer}", structure, weights)
            below[side] = [y + x for x, y in zip(inputs, outputs, strict=True)] if layer else outputs
        pairs = zip(below["forward"], below["backward"][::-1], strict=True)
        layers.append([np.concatenate(pair) for pair in pairs])
    return np.stack([np.stack(rows) for rows in layers], axis=1)[1:-1]


# What is read ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "structure",
    [STRUCTURE, changed(token_embedder__word_dim=0), changed(encoder__cell_clip=None, encoder__proj_clip=0.2),
     changed(encoder__n_layers=1, token_embedder__n_highway=0)],
)  # fmt: skip
def test_the_vectors_are_those_of_the_weights(tmp_path: Path, structure: dict[str, Any]) -> None:
    result = import_many_langs(write_model(tmp_path / "144", structure), tmp_path / "elmo")
    encoder = carryover.load(tmp_path / "elmo")
    for words, vectors in zip(SENTENCES, encoder.embed(SENTENCES), strict=True):
        assert np.abs(vectors.numpy() - read_sentence(words, structure)).max() < 1e-5
    wanted = sum(tensor.numel() for part in tensors_of(structure) for tensor in part.values())
    assert result.record["parameters"] == wanted + structure["token_embedder"]["char_dim"], "and a row for no character"
    assert result.record["imported"]["format"] == "elmo-many-langs" and result.ignored == []


def test_pickles_of_old_versions_of_pytorch_and_of_both_sides_of_a_batch(tmp_path: Path) -> None:
    """At sizes that fill the registers of a processor, as published ones do: else products round by their shape."""
    structure = changed(encoder__projection_dim=16, encoder__dim=32)
    import_many_langs(write_model(tmp_path / "144", structure, legacy=True), tmp_path / "elmo")
    encoder = carryover.load(tmp_path / "elmo")
    together = encoder.embed(SENTENCES)
    for words, vectors in zip(SENTENCES, together, strict=True):
        assert torch.equal(encoder.embed([words])[0], vectors), "a sentence alone and among others"
    again = carryover.load(tmp_path / "elmo")
    assert torch.equal(again.embed(SENTENCES)[1], together[1])
    first, second = embed_carrying(encoder, [[SENTENCES[0]], [SENTENCES[0]]])
    assert torch.allclose(first[0], together[0], atol=1e-5) and not torch.allclose(second[0], together[0], atol=1e-3)
    assert cut_words(encoder, ["x" * 10, "x" * 11, "日" * 10, "日" * 11]) == 2, "characters are counted, not bytes"


def test_the_structure_is_found_or_given(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "144")
    (folder / "configs").mkdir()
    (folder / "cnn_sample.json").rename(folder / "configs" / "cnn_sample.json")
    one = import_many_langs(folder, tmp_path / "one")
    (folder / "configs" / "cnn_sample.json").rename(tmp_path / "given.json")
    with pytest.raises(BadData, match=r"'/far/away/cnn_sample.json', which is not in its folder; .*--options"):
        import_many_langs(folder, tmp_path / "two")
    two = import_many_langs(folder, tmp_path / "two", options=tmp_path / "given.json")
    (folder / "config.json").write_text(json.dumps(STRUCTURE))
    (folder / "notes.txt").write_text("what is this")
    three = import_many_langs(folder, tmp_path / "three")
    assert three.ignored == ["configs", "notes.txt"], "parts that are not known are named"
    weights = {(out / "model.safetensors").read_bytes() for out in (one.folder, two.folder, three.folder)}
    assert len(weights) == 1


def test_signs_that_are_white_space_are_lost_as_to_their_reader(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "144")
    table = (folder / "char.dic").read_text(encoding="utf-8")
    assert table.endswith("\u3000\t20\n")
    import_many_langs(folder, tmp_path / "elmo")
    encoder = carryover.load(tmp_path / "elmo")
    assert encoder.coder.lexicon.characters["\u3000"] == 20
    assert len({tuple(row) for row in encoder.coder.lexicon.rows(["\u3000", "a", "ö"])}) == 3


def test_the_coder_comes_back_from_its_json() -> None:
    lexicon = Lexicon({sign: row for row, sign in enumerate(CHARACTERS)}, {"<oov>": 0, "a": 1}, 8)
    coder = TokenCoder("characters", lexicon=lexicon)
    again = TokenCoder.from_json(json.loads(json.dumps(coder.to_json())))
    words = [["a", "Haus", "<s>"], []]
    first, second = coder.batch(words, borders=True), again.batch(words, borders=True)
    assert first.characters is not None and second.characters is not None
    assert torch.equal(first.characters, second.characters) and first.characters.shape[1] == 9
    reread = pickle.loads(pickle.dumps(coder)).batch(words, borders=True)
    assert torch.equal(first.characters, reread.characters)
    with pytest.raises(UsageError, match="input kind 'words' takes no lexicon"):
        TokenCoder("words", lexicon=lexicon)
    for broken in ({**lexicon.to_json(), "places": None}, {**lexicon.to_json(), "characters": {"a": 1}}, None):
        with pytest.raises(BadData):
            TokenCoder.from_json({**coder.to_json(), "lexicon": broken})


def test_an_artefact_whose_tables_do_not_fit_is_refused(tmp_path: Path) -> None:
    from carryover.storage.artefact import load_artefact, save_artefact

    import_many_langs(write_model(tmp_path / "144"), tmp_path / "elmo")
    stored = load_artefact(tmp_path / "elmo")
    tokenizer = json.loads(json.dumps(stored.tokenizer))
    tokenizer["lexicon"]["characters"]["q"] = 500
    save_artefact(
        tmp_path / "broken", kind="bilm", config=stored.config, tensors=stored.tensors, tokenizer=tokenizer, labels=None,
        record=stored.record, card="",
    )  # fmt: skip
    with pytest.raises(BadData, match=r"numbers 502 characters and 8 word forms, config\.json has 22 and 8"):
        carryover.load(tmp_path / "broken")


def test_it_is_no_model_to_export_or_to_pretrain_further(tmp_path: Path) -> None:
    from carryover.pretraining.initial_model import continued
    from carryover.pretraining.pretrain import pretrain

    import_many_langs(write_model(tmp_path / "144"), tmp_path / "elmo")
    with pytest.raises(UsageError, match="reads words through word tables, but the published layout"):
        export_elmo(tmp_path / "elmo", tmp_path / "files")
    (tmp_path / "text.txt").write_text("a line\nanother line\n" * 3)
    assert read_initial_model(tmp_path / "elmo").predicts is False
    with pytest.raises(UsageError, match="reads words through word tables"):
        pretrain(continued(tmp_path / "elmo", tmp_path / "text.txt"), tmp_path / "new", quiet=True)


# What is refused ------------------------------------------------------------------------------------------------------


class Runs:
    """A pickle that runs a command when it is opened."""

    def __reduce__(self) -> Any:
        return os.system, ("touch executed",)


def rewritten(folder: Path, name: str, **changes: Any) -> None:
    found = torch.load(folder / name, weights_only=True)
    for key, value in changes.items():
        found[key.replace("__", ".")] = value
    torch.save({key: value for key, value in found.items() if value is not None}, folder / name)


def test_what_is_not_plain_tensors_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, content in enumerate((pickle.dumps(Runs()), b"", b"PK\x03\x04", pickle.dumps({"a": Runs()}))):
        folder = write_model(tmp_path / f"m{number}")
        (folder / "encoder.pkl").write_bytes(content)
        with pytest.raises(BadData, match=r"encoder\.pkl"):
            import_many_langs(folder, tmp_path / "elmo")
    buffer = io.BytesIO()
    torch.save({"a": Runs()}, buffer)
    (folder / "encoder.pkl").write_bytes(buffer.getvalue())
    with pytest.raises(BadData, match="does not load as weights and nothing else"):
        import_many_langs(folder, tmp_path / "elmo")
    assert not (tmp_path / "executed").exists() and not (tmp_path / "elmo").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projection__weight": None}, r"'projection.weight' has shape nothing, .* asks for \[5, 18\]"),
        ({"projection__weight": torch.zeros(5, 17)}, r"'projection.weight' has shape \[5, 17\], .* asks for \[5, 18\]"),
        ({"gamma": torch.zeros(1)}, r"has a tensor 'gamma' that .* does not ask for"),
        ({"projection__bias": torch.full((5,), torch.nan)}, r"'projection.bias' holds a value that is not finite"),
        ({"char_emb_layer__embedding__weight": None}, r"has no tensor 'char_emb_layer.embedding.weight'; .*characters"),
        ({"char_emb_layer__embedding__weight": torch.zeros(9, 4)}, r"char.dic:10: number 9 for 'n', and the weights have 9"),
        ({"word_emb_layer__embedding__weight": None}, r"word_dim is 6 and token_embedder.pkl has no table of words"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = write_model(tmp_path / "144")
    rewritten(folder, "token_embedder.pkl", **change)
    with pytest.raises(BadData, match=message) as caught:
        import_many_langs(folder, tmp_path / "elmo")
    assert "\n" not in str(caught.value) and not (tmp_path / "elmo").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder__name": "lstm"}, "encoder.name is 'lstm', and only 'elmo' is read"),
        ({"token_embedder__name": "lstm"}, "token_embedder.name is 'lstm', and only 'cnn' is read"),
        ({"token_embedder__activation": "tanh"}, "activation is 'tanh', and only 'relu' is read"),
        ({"encoder__cell_clip": ...}, "encoder.cell_clip is 'missing', expected a positive number or null"),
        ({"encoder__dim": True}, "encoder.dim is 'True'"), ({"token_embedder__filters": [[1, 2, 3]]}, "expected pairs"),
        ({"token_embedder__max_characters_per_token": 2}, "a word has 2 places"),
        ({"token_embedder__filters": [[1, 3], [2, 4], [4, 50]]}, r"'convolutions.2.bias' has shape \[5\], .* \[50\]"),
        ({"encoder__n_layers": 3}, "'backward_layer_2.input_linearity.weight' has shape nothing"),
        ({"encoder__n_layers": 1}, "has a tensor 'backward_layer_1.input_linearity.weight' that .* does not ask for"),
    ],
)  # fmt: skip
def test_a_structure_that_does_not_fit_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = write_model(tmp_path / "144")
    (folder / "cnn_sample.json").write_text(json.dumps(changed(**change)))
    with pytest.raises(BadData, match=message):
        import_many_langs(folder, tmp_path / "elmo")


def test_tables_that_are_damaged_or_missing(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "144")
    good = (folder / "char.dic").read_bytes()
    cases = [
        (good + b"a\tb\tc\n", r"char\.dic:22: expected a character or word and its number"), (good + b"q\tx\n", r"char\.dic:22: "),
        (good.replace(b"<bow>", b"<b>"), "the table of characters has no <bow>"), (b"\xff\t1\n", "is not UTF-8"),
    ]  # fmt: skip
    for content, message in cases:
        (folder / "char.dic").write_bytes(content)
        with pytest.raises(BadData, match=message):
            import_many_langs(folder, tmp_path / "elmo")
    (folder / "char.dic").write_bytes(good)
    for name in ("word.dic", "encoder.pkl", "config.json"):
        (folder / name).rename(tmp_path / name)
        with pytest.raises(InputMissing, match=name):
            import_many_langs(folder, tmp_path / "elmo")
        (tmp_path / name).rename(folder / name)
    with pytest.raises(InputMissing, match="is not a folder"):
        import_many_langs(tmp_path / "nowhere", tmp_path / "elmo")
    import_many_langs(folder, tmp_path / "elmo")


def test_the_command(shell: Shell) -> None:
    write_model(Path("144"))
    Path("144/avg.txt").write_text("?")
    done = shell("import", "elmo", "--folder", "144", "--tokenizer", "whitespace", "--out", "runs/elmo")
    assert done.code == 0 and "all of them placed" in done.out, done.err
    assert "ignored, not part of ELMo: avg.txt" in done.err
    assert read_json(Path("runs/elmo/record.json"))["imported"]["tokenizer"] == "whitespace"
    document = shell(
        "import", "elmo", "--folder", "144", "--tokenizer", "whitespace", "--out", "runs/elmo", "--json"
    ).document
    assert set(document["files"]) == {"char.dic", "word.dic", "token_embedder.pkl", "encoder.pkl", "options"}
    embedded = shell("embed", "runs/elmo", "--layers", "top", stdin="ein Haus\n")
    vectors = np.array(json.loads(embedded.out)["vectors"])
    assert np.abs(vectors - read_sentence(["ein", "Haus"], STRUCTURE)[:, -1]).max() < 1e-5
    for line, message in (
        (["--folder", "144", "--weights", "w.hdf5"], "reads no --weights; give --folder"),
        (["--options", "o.json"], "needs --weights"),
    ):
        wrong = shell("import", "elmo", *line, "--out", "runs/new")
        assert wrong.code == 2 and message in wrong.err
