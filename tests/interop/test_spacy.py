"""The component of a spaCy pipeline: a row for every token whatever the text, the vectors of `carryover embed`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carryover.errors import ExtraMissing, InputMissing, UsageError
from carryover.interop.sklearn.embedder import ElmoEmbedder
from command_line import Material


def test_without_spacy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "spacy" or name.startswith("spacy.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "spacy", None)
    monkeypatch.delitem(sys.modules, "carryover.interop.spacy", raising=False)
    with pytest.raises(ExtraMissing, match=r"the pipeline component needs spaCy; pip install carryover\[spacy\]"):
        __import__("carryover.interop.spacy")


class TestWithSpacy:
    """Run where spaCy is installed; the extra is too large for the development environment."""

    TEXTS = (
        "They see the house. The old house!",
        "",
        "  two  blanks\n\nand a line \t",
        "שלום עולם 👩‍👩‍👧 👍🏽",
        "x" * 60 + " e\u0301\u200b",
    )

    @pytest.fixture(autouse=True)
    def library(self) -> Any:
        self.spacy = pytest.importorskip("spacy", reason="the component needs spaCy: pip install carryover[spacy]")
        __import__("carryover.interop.spacy")

    def pipeline(self, model: Any, *, sentences: bool = True, **config: Any) -> Any:
        nlp = self.spacy.blank("en")
        if sentences:
            nlp.add_pipe("sentencizer")
        nlp.add_pipe("carryover_elmo", config={"model": str(model), "device": "cpu", **config})
        return nlp

    @pytest.mark.parametrize("layers", ["mix", "top", "0", "all"])
    def test_every_token_has_its_row(self, material: Material, layers: str) -> None:
        nlp = self.pipeline(material.encoder, layers=layers)
        embedder = ElmoEmbedder(material.encoder, layers=layers, device="cpu")
        shape = (embedder.encoder.model.mixed_layers, embedder.size) if layers == "all" else (embedder.size,)
        for text in self.TEXTS:
            doc = nlp(text)
            assert doc.text == text and doc._.elmo.shape == (len(doc), *shape) and doc._.elmo.dtype == np.float32
            assert np.array_equal(doc.tensor, doc._.elmo)
            for sentence in doc.sents if len(doc) else []:
                words = [token.text for token in sentence if not token.is_space]
                wanted = iter(embedder([words])[0])
                for token in sentence:
                    row = np.zeros(shape, np.float32) if token.is_space else next(wanted)
                    assert np.abs(token._.elmo - row).max() < 1e-6, (text, token.text)
                assert np.array_equal(sentence._.elmo, doc._.elmo[sentence.start : sentence.end])

    def test_sentences_are_read_by_themselves(self, material: Material) -> None:
        both, alone = (self.pipeline(material.encoder)(text) for text in (self.TEXTS[0], "The old house!"))
        assert np.abs(both._.elmo[5:] - alone._.elmo).max() < 1e-6
        whole = self.pipeline(material.encoder, sentences=False)(self.TEXTS[0])
        assert np.abs(both._.elmo - whole._.elmo).max() > 1e-4, "without marks the whole text is one sentence"

    @pytest.mark.parametrize("batch_size", [1, 2, 64])
    def test_a_stream_keeps_its_order_and_vectors(self, material: Material, batch_size: int) -> None:
        nlp = self.pipeline(material.encoder)
        texts = [*self.TEXTS, *reversed(self.TEXTS)]
        found = list(nlp.pipe(texts, batch_size=batch_size))
        assert [doc.text for doc in found] == texts
        for doc in found:
            assert np.abs(doc._.elmo - nlp(doc.text)._.elmo).max(initial=0) < 1e-6

    def test_a_pipeline_is_stored_and_loaded(self, material: Material, tmp_path: Path) -> None:
        nlp = self.pipeline(material.encoder, layers="top")
        nlp.to_disk(tmp_path / "pipeline")
        again = self.spacy.load(tmp_path / "pipeline")
        assert np.array_equal(again(self.TEXTS[0])._.elmo, nlp(self.TEXTS[0])._.elmo)

    def test_similarity_knows_the_context(self, material: Material) -> None:
        """spaCy's own similarity takes the tensor where a pipeline has no static vectors."""
        nlp = self.pipeline(material.encoder)
        one, two = nlp("they see the house"), nlp("they see the house")
        assert one.similarity(two) == pytest.approx(1, abs=1e-5)

    def test_refusals(self, material: Material, tmp_path: Path) -> None:
        nlp = self.spacy.blank("en")
        with pytest.raises(UsageError, match="carryover_elmo has no model"):
            nlp.add_pipe("carryover_elmo")
        with pytest.raises(InputMissing):
            nlp.add_pipe("carryover_elmo", config={"model": str(tmp_path / "nothing")})
        with pytest.raises(UsageError, match="there is no layer 9"):
            nlp.add_pipe("carryover_elmo", config={"model": str(material.encoder), "layers": "9"})
        with pytest.raises(UsageError, match="batch_size is 0"):
            nlp.add_pipe("carryover_elmo", config={"model": str(material.encoder), "batch_size": 0})
        with pytest.raises(ValueError, match="layer"):
            nlp.add_pipe("carryover_elmo", config={"model": str(material.encoder), "layer": "top"})
