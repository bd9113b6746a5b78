"""Built-in data: names, what is in each set, no overlap where none may be, the same bytes every time."""

from __future__ import annotations

import ast
import json
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from carryover.data import builtin, grammar, pydocs, pydocs_roles
from carryover.data.builtin import BuiltinName, classified, parse_name, pydocs_folder, raw_lines, tagged
from carryover.data.examples import Example, Source
from carryover.data.formats.reading import read_raw, read_tagged, read_texts
from carryover.data.grammar import GrammarSize
from carryover.errors import UsageError

SMALL = "grammar?raw=800&labelled=300&words=200"


@pytest.fixture(scope="module")
def small_pydocs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the pydocs of a small part of each library."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARRYOVER_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(pydocs, "_MOST_BYTES", 250_000)
        return pydocs_folder(quiet=True)


@pytest.fixture
def cached(small_pydocs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer from the small cache; whoever reads the environment again fails."""
    monkeypatch.setenv("CARRYOVER_CACHE", str(small_pydocs.parent))
    monkeypatch.setattr(pydocs, "read_passages", None)


# ---- Names --------------------------------------------------------------------------------------------------------------


def test_names_are_taken_apart() -> None:
    assert parse_name("builtin:pydocs") == parse_name("pydocs") == BuiltinName("pydocs")
    assert parse_name("builtin:pydocs/dev") == parse_name("pydocs/valid") == BuiltinName("pydocs", "valid")
    wanted = BuiltinName("grammar", "train", GrammarSize(raw=50, seed=3))
    assert parse_name("builtin:grammar/train?raw=50&seed=3") == wanted


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("builtin:pydoc", "did you mean builtin:pydocs"),
        ("builtin:gramar/train", "did you mean builtin:grammar"),
        ("builtin:wikipedia", "there is builtin:pydocs, builtin:grammar"),
        ("builtin:grammar/tran", "did you mean 'train'"),
        ("builtin:grammar/code", "no part of grammar is called 'code'"),
        ("builtin:grammar?labeled=5", "did you mean 'labelled'"),
        ("builtin:grammar?raw=many", "raw is 'many'"),
        ("builtin:grammar?raw=0", "raw is '0'"),
        ("builtin:pydocs?raw=5", "no option of pydocs is called 'raw'"),
    ],
)
def test_an_unknown_name_gets_the_nearest_spelling(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        next(raw_lines(name))
    with pytest.raises(UsageError):
        classified(name)
    with pytest.raises(UsageError):
        tagged(name)


def test_readers_take_names_with_parts_and_sizes() -> None:
    assert [line for _, line in read_raw(f"builtin:{SMALL}")] == list(raw_lines(SMALL))
    assert read_tagged("builtin:grammar/test?labelled=300&words=200").rows == 60
    with pytest.raises(UsageError, match="did you mean 'train'"):
        read_texts("builtin:grammar/trian")


# ---- pydocs: text -------------------------------------------------------------------------------------------------------


def test_prose_is_kept_and_the_rest_is_not() -> None:
    docstring = pydocs.cleandoc(
        """Return the :class:`~a.b.Thing` for ``name``, or *nothing* at all.

        Parameters
        ----------
        name : str
            The name of the thing that is looked up in the table.

        >>> find("x")
        <Thing x>

        x = 1; y = 2; z = x + y * 3; w = f(x)

        The table is read only once, see `the guide <https://example.org/guide>`_ for details."""
    )
    assert pydocs.prose(docstring) == [
        "Return the a.b.Thing for name, or nothing at all.",
        "The name of the thing that is looked up in the table.",
        "The table is read only once, see the guide for details.",
    ]


def test_names_of_libraries_are_masked() -> None:
    text = (
        "Like np.sum and torch.nn.functional.relu in PyTorch, sklearn or Scikit-Learn; see plt and hugging face. Enrich it."
    )
    assert pydocs.mask_names(text) == (
        "Like package and package in package, package or package; see package and package. Enrich it."
    )


def test_docstrings_are_found_wherever_they_stand() -> None:
    tree = ast.parse('"""One."""\nclass A:\n  """Two."""\n  if x:\n    async def f():\n      """Three."""\ny = """No."""\n')
    assert list(pydocs.docstrings(tree)) == ["One.", "Two.", "Three."]


def test_other_peoples_code_makes_no_noise(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text('x = "\\d"\nassert (1, "always")\n')  # two SyntaxWarnings, which are errors in this suite
    assert pydocs.parsed(pydocs.Source("x", "odd.py", path)) is not None
    for broken in (b"def (", b"\xff\xfe", b"x = 1\0"):
        path.write_bytes(broken)
        assert pydocs.parsed(pydocs.Source("x", "odd.py", path)) is None
    assert pydocs.parsed(pydocs.Source("x", "gone.py", tmp_path / "gone.py")) is None


@pytest.mark.usefixtures("cached")
def test_raw_text_is_prose_in_passages() -> None:
    lines = list(raw_lines("builtin:pydocs"))
    paragraphs = [line for line in lines if line]
    assert len(paragraphs) > 3000
    assert lines.count("") > 1500
    assert len(set(paragraphs)) == len(paragraphs), "no paragraph twice"
    assert all(pydocs._is_english(line) for line in random.Random(0).sample(paragraphs, 300))
    parts = [list(raw_lines(f"pydocs/{part}")) for part in builtin.PARTS]
    assert list(chain(*parts)) == lines
    assert 0.02 < len(parts[1]) / len(lines) < 0.07


@pytest.mark.usefixtures("cached")
def test_classes_are_balanced_masked_and_apart_from_the_raw_text() -> None:
    examples = classified("builtin:pydocs")
    counts = Counter(label for example in examples for label in example.gold)
    assert len(counts) >= 8 and set(counts) <= set(pydocs.CLASSES)
    assert len(set(counts.values())) == 1
    texts = {example.input.text for example in examples}
    assert len(texts) == len(examples)
    assert not any(pydocs._NAMES.search(text) for text in texts)
    raw = {pydocs.mask_names(line) for line in raw_lines("builtin:pydocs")}
    assert not texts & raw
    beginnings = {text[:60] for text in texts}
    shared = sum(line[:60] in beginnings for line in raw)
    assert shared < 0.02 * len(texts), "what a labelled docstring begins with is not in the raw text either"
    parts = [{example.input.text for example in classified(f"builtin:pydocs/{part}")} for part in builtin.PARTS]
    assert parts[0] | parts[1] | parts[2] == texts and sum(map(len, parts)) == len(texts)
    assert len(parts[0]) == pytest.approx(0.7 * len(texts), abs=1)


@pytest.mark.usefixtures("cached")
def test_tagged_lines_are_apart_from_each_other_and_from_raw_code() -> None:
    parts = {part: {sentence.input.tokens for sentence in tagged(f"builtin:pydocs/{part}")} for part in builtin.PARTS}
    assert not parts["train"] & parts["test"] and not parts["train"] & parts["valid"] and not parts["valid"] & parts["test"]
    everything = tagged("builtin:pydocs")
    assert len(everything) == sum(map(len, parts.values())) > 300
    assert {tag for sentence in everything for tag in sentence.gold} == set(pydocs_roles.ROLES)
    assert all(len(sentence.input.tokens) == len(sentence.gold) for sentence in everything)
    assert not any(" " in token or not token for sentence in everything for token in sentence.input.tokens)
    code = set(raw_lines("builtin:pydocs/code"))
    assert len(code) > 2000
    assert not code & {" ".join(tokens) for tokens in parts["test"] | parts["valid"]}
    with pytest.raises(UsageError, match="without labels"):
        tagged("builtin:pydocs/code")


def test_the_same_environment_gives_the_same_bytes(
    small_pydocs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARRYOVER_CACHE", str(tmp_path))
    monkeypatch.setattr(pydocs, "_MOST_BYTES", 250_000)
    again = pydocs_folder(quiet=True)
    assert again.name == small_pydocs.name
    assert (again / "manifest.json").read_bytes() == (small_pydocs / "manifest.json").read_bytes()


def test_nothing_that_is_read_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from carryover.data import builtin, pydocs; pydocs._MOST_BYTES = 60_000; pydocs._FEWEST_PER_CLASS = 5;"
        "builtin.pydocs_folder(quiet=True); print([name for name in ('torch', 'sympy', 'networkx', 'matplotlib', 'turtle',"
        "'antigravity', 'pydoc_data.topics') if name in sys.modules])"
    )
    environment = {**os.environ, "CARRYOVER_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert (done.stdout, done.stderr, done.returncode) == ("[]\n", "", 0)


# ---- pydocs: roles ------------------------------------------------------------------------------------------------------


def test_roles_come_from_the_syntax_tree() -> None:
    source = """
import os.path as path
from json import dumps as write
class Box(Base):
    @cached
    def open(self, size: int = 3, *rest) -> Lid:
        self.lid = path.join(size, "x", mode=other)
        return Box(open("a long text with spaces"), [write(k) for k in rest])
    def f(self): return f"{self}" + self.name
"""
    lines = list(pydocs_roles.code_lines(source, ast.parse(source)))
    shown = [" ".join(f"{token}/{role[:4]}" for token, role in line if role != "PUNCTUATION") for line in lines]
    assert shown == [
        "import/KEYW os/MODU path/MODU as/KEYW path/MODU",
        "from/KEYW json/MODU import/KEYW dumps/IMPO as/KEYW write/IMPO",
        "class/KEYW Box/CLAS Base/VARI",
        "def/KEYW open/FUNC self/PARA size/PARA int/TYPE =/OPER 3/NUMB */OPER rest/PARA ->/OPER Lid/TYPE",
        'self/PARA lid/ATTR =/OPER path/MODU join/METH size/PARA "x"/STRI mode/ARGU =/OPER other/VARI',
        'return/KEYW Box/CLAS open/FUNC "…"/STRI write/FUNC k/VARI for/KEYW k/VARI in/KEYW rest/PARA',
    ], "the line with a formatted string is left out, the decorator is too short"


# ---- grammar ------------------------------------------------------------------------------------------------------------


def test_the_language_is_a_function_of_its_sizes_and_seed() -> None:
    raw = list(raw_lines(SMALL))
    assert len(raw) == 800 and len(tagged(SMALL)) == len(classified(SMALL)) == 300
    assert raw == list(raw_lines(SMALL)) and tagged(SMALL) == tagged(SMALL)
    assert raw != list(raw_lines(SMALL + "&seed=1"))
    assert tagged("grammar?labelled=50&words=200") == tagged(SMALL)[:50], "asking for more changes nothing before it"
    assert builtin.builtin_fingerprint(SMALL) != builtin.builtin_fingerprint(SMALL + "&seed=1")
    labelled = {" ".join(sentence.input.tokens) for sentence in tagged(SMALL)}
    assert len(labelled) == 300 and not labelled & set(raw)
    assert [example.input.text for example in classified(SMALL)] == [
        " ".join(sentence.input.tokens) for sentence in tagged(SMALL)
    ]
    assert len({label for example in classified(SMALL) for label in example.gold}) == 4


def test_plain_lines_are_the_tagged_lines_without_roles() -> None:
    source = Path(pydocs_roles.__file__).read_text()
    lines = [" ".join(token for token, _ in line) for line in pydocs_roles.code_lines(source, ast.parse(source))]
    assert list(pydocs_roles.plain_lines(source)) == lines and len(lines) > 50


def without_path(one: object) -> str:
    """A line, or an example whatever the name of the built-in data it was asked for by."""
    return str(replace(one, source=Source(line=one.source.line)) if isinstance(one, Example) else one)


def test_parts_of_the_language_make_up_the_whole() -> None:
    name, options = SMALL.split("?")
    sizes = []
    for read in (raw_lines, tagged, classified):
        parts = [list(read(f"{name}/{part}?{options}")) for part in builtin.PARTS]  # type: ignore[operator]
        assert sorted(map(without_path, chain(*parts))) == sorted(map(without_path, read(SMALL)))  # type: ignore[operator]
        sizes.append([len(part) for part in parts])
    assert sizes == [[736, 32, 32], [210, 30, 60], [210, 30, 60]]


def test_homographs_are_told_apart_by_their_neighbours_only() -> None:
    tags: dict[str, Counter[str]] = defaultdict(Counter)
    for sentence in tagged("grammar?labelled=2000&words=200"):
        for token, tag in zip(sentence.input.tokens, sentence.gold, strict=True):
            tags[token][tag] += 1
    homographs = grammar.Lexicon.make(200, 0).homographs
    assert {word for word, found in tags.items() if len(found) > 1} <= homographs
    both = [found for word, found in tags.items() if word in homographs and len(found) == 2]
    assert len(both) > 0.8 * len(homographs) > 25
    uncertain = sum(min(found.values()) for found in both)
    assert uncertain > 0.2 * sum(map(Counter.total, both)), "the commoner reading is often the wrong one"


@pytest.mark.slow
def test_contextual_pretraining_pays_on_the_language() -> None:
    """A plain LSTM language model, a few seconds on raw sentences, then a linear model on 50 labelled ones."""
    import numpy as np
    import torch
    from sklearn.linear_model import LogisticRegression
    from torch import nn

    from carryover.data.vocabulary import Vocabulary

    torch.manual_seed(0)
    name = "grammar?raw=5000&labelled=600&words=300"
    text = [line.split() for line in raw_lines(name)]
    vocabulary = Vocabulary.count(word for words in text for word in words)
    ids = [torch.from_numpy(vocabulary.ids(["<s>", *words, "</s>"])) for words in text]
    embedding, directions = nn.Embedding(len(vocabulary), 48), [nn.LSTM(48, 96, batch_first=True) for _ in range(2)]
    outputs = [nn.Linear(96, len(vocabulary)) for _ in range(2)]
    modules = nn.ModuleList([embedding, *directions, *outputs])
    optimiser = torch.optim.Adam(modules.parameters(), lr=5e-3)
    order = random.Random(0)
    for _ in range(4):
        order.shuffle(ids)
        for i in range(0, len(ids), 32):
            loss = torch.zeros(())
            for way in range(2):
                batch = [row.flip(0) if way else row for row in ids[i : i + 32]]
                padded = nn.utils.rnn.pad_sequence(batch, batch_first=True)
                scores = outputs[way](directions[way](embedding(padded[:, :-1]))[0])
                loss = loss + nn.functional.cross_entropy(scores.transpose(1, 2), padded[:, 1:], ignore_index=0)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def features(tokens: tuple[str, ...], contextual: bool) -> np.ndarray:
        row = torch.from_numpy(vocabulary.ids(["<s>", *tokens, "</s>"]))[None]
        with torch.no_grad():
            static = embedding(row)
            back = directions[1](static.flip(1))[0].flip(1)
            values = torch.cat([directions[0](static)[0], back], 2) if contextual else static
        return values[0, 1:-1].numpy()

    sentences = tagged(name)
    scores = {}
    for contextual in (False, True):
        values = [features(sentence.input.tokens, contextual) for sentence in sentences]
        model = LogisticRegression(max_iter=500)
        model.fit(np.concatenate(values[:50]), [tag for sentence in sentences[:50] for tag in sentence.gold])
        gold = np.array([tag for sentence in sentences[100:] for tag in sentence.gold])
        scores[contextual] = float((model.predict(np.concatenate(values[100:])) == gold).mean())
    assert scores[True] > 0.97 > 0.96 > scores[False], scores


@pytest.mark.slow
def test_pydocs_of_the_whole_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRYOVER_CACHE", str(tmp_path))
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    from carryover.data.splits import nested_budgets

    assert list(raw_lines("pydocs")).count("") > 20_000
    assert len({example.gold for example in classified("pydocs")}) == len(pydocs.CLASSES) == 14
    train, test = classified("pydocs/train"), classified("pydocs/test")
    scores = {}
    for budget, positions in nested_budgets(train, [50, 2000], 0).items():
        words = TfidfVectorizer(sublinear_tf=True)
        model = LogisticRegression(C=10, max_iter=500)
        model.fit(words.fit_transform([train[i].input.text for i in positions]), [train[i].gold[0] for i in positions])
        scores[budget] = model.score(words.transform([example.input.text for example in test]), [e.gold[0] for e in test])
    assert 0.15 < scores[50] < 0.35 and 0.55 < scores[2000] < 0.8, json.dumps(scores)


def test_a_fingerprint_is_of_the_lines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = builtin.builtin_fingerprint(SMALL)
    monkeypatch.setattr(builtin, "_own_code", lambda module: "# another version")
    assert builtin.builtin_fingerprint(SMALL) == before
    sentences = list(grammar.raw_sentences(parse_name(SMALL).size))
    monkeypatch.setattr(grammar, "raw_sentences", lambda size: [*sentences[:-1], "other words"])
    assert builtin.builtin_fingerprint(SMALL) != before
