"""ELMo as a component of a spaCy pipeline: a contextual vector for every token of a Doc.

    import carryover.interop.spacy  # where carryover is not installed as a package; else spaCy finds the component itself
    nlp.add_pipe("carryover_elmo", config={"model": "runs/elmo"})
    doc = nlp("They play in the bank.")
    doc._.elmo        # float32 [tokens, size], also in doc.tensor
    doc[1]._.elmo     # [size]
    doc[0:2]._.elmo   # [2, size]

spaCy's tokens are the words. Each sentence is read separately where sentences are marked (put the component behind `senter`,
`parser` or `sentencizer`), else the whole Doc as one. Tokens of white space, which no language model here has seen, are
not read and have zeros, so rows and tokens always agree. Needs `pip install carryover[spacy]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from carryover.errors import ExtraMissing, UsageError

try:
    from spacy.language import Language
    from spacy.tokens import Doc, Span, Token
    from spacy.util import minibatch
except ImportError as error:
    raise ExtraMissing("the pipeline component needs spaCy", repair="pip install carryover[spacy]") from error

from carryover.interop.sklearn.embedder import ElmoEmbedder

NAME = "carryover_elmo"


class ElmoComponent:
    """Sets `doc._.elmo` and `doc.tensor`; see the top of this file.

    `embedder` gives one vector a word: its `pool` must be None.
    """

    def __init__(self, embedder: ElmoEmbedder, *, batch_size: int = 64) -> None:
        if embedder.pool is not None:
            raise UsageError(f"pool is {embedder.pool!r}", repair="leave it out: every token has a vector")
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}", repair="give at least 1")
        self.embedder, self.batch_size = embedder, batch_size

    def __call__(self, doc: Doc) -> Doc:
        self._set([doc])
        return doc

    def pipe(self, stream: Iterable[Doc], *, batch_size: int | None = None) -> Iterator[Doc]:
        """The docs in their order, `batch_size` of them read together. Vectors do not depend on it."""
        for docs in minibatch(stream, size=batch_size or self.batch_size):
            self._set(docs)
            yield from docs

    def _set(self, docs: list[Doc]) -> None:
        sentences = [[token for token in sentence if not token.is_space] for doc in docs for sentence in _sentences(doc)]
        shape: tuple[int, ...] = (self.embedder.size,)
        if self.embedder.layers == "all":
            shape = (self.embedder.encoder.layer_count, *shape)
        found = [np.zeros((len(doc), *shape), np.float32) for doc in docs]
        place = {id(doc): rows for doc, rows in zip(docs, found, strict=True)}
        vectors = self.embedder([[token.text for token in sentence] for sentence in sentences])
        for sentence, rows in zip(sentences, vectors, strict=True):
            if sentence:
                place[id(sentence[0].doc)][[token.i for token in sentence]] = rows
        for doc, rows in zip(docs, found, strict=True):
            doc._.elmo = rows
            doc.tensor = rows


def _sentences(doc: Doc) -> Iterable[Any]:
    return doc.sents if len(doc) and doc.has_annotation("SENT_START") else [doc]


@Language.factory(
    NAME,
    default_config={"model": None, "layers": "mix", "batch_size": 64, "device": "auto"},
    assigns=["doc._.elmo", "doc.tensor"],
)
def make_component(
    nlp: Language, name: str, model: str | None, layers: str | int, batch_size: int, device: str
) -> ElmoComponent:
    """`model` is the folder of a pretrained language model, `layers` as in `carryover embed`: mix, top, a number or all.

    Raises UsageError without a model, InputMissing, BadData as loading one does.
    """
    if model is None:
        raise UsageError(f"{name} has no model", repair=f'nlp.add_pipe("{NAME}", config={{"model": FOLDER}})')
    return ElmoComponent(ElmoEmbedder(model, layers=layers, device=device), batch_size=batch_size)


def _of_token(token: Token) -> np.ndarray | None:
    return None if token.doc._.elmo is None else token.doc._.elmo[token.i]


def _of_span(span: Span) -> np.ndarray | None:
    return None if span.doc._.elmo is None else span.doc._.elmo[span.start : span.end]


Doc.set_extension("elmo", default=None, force=True)
Token.set_extension("elmo", getter=_of_token, force=True)
Span.set_extension("elmo", getter=_of_span, force=True)
