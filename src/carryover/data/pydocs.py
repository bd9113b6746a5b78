"""English that is on every machine that runs this package: the documentation inside installed Python code.

The text comes from the standard library's topics (`pydoc_data.topics`) and from the docstrings of the standard library and
of everything this package depends on. Sources are found through `importlib.metadata` and parsed with `ast`; nothing is
imported or run. One environment always gives the same text; another version of a library gives a little other text.

Made from it, without overlap between them:

* raw text: paragraphs of prose, code and tables and markup left out, a blank line between docstrings;
* a classification task: from the first paragraph of a docstring, tell the library. The names of all libraries, with their
  usual abbreviations and dotted paths, are replaced by the word "package"; each class has equally many examples, and a text
  found in more than one library is in none. Docstrings used here are left out of the raw text whole.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import re
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from inspect import cleandoc
from pathlib import Path

from carryover.errors import BadData

CLASSES: dict[str, str] = {
    "fonttools": r"font-?tools|ttlib",
    "huggingface-hub": r"hugging[ _-]?face(?:[_-]hub)?(?:\.co)?|hf[_-]hub|hf|the hub|hub",
    "jinja2": r"jinja2?",
    "matplotlib": r"matplotlib|mpl|pyplot|plt|pylab",
    "networkx": r"networkx|nx",
    "numpy": r"numpy|np",
    "pillow": r"pillow|pil",
    "pydantic": r"pydantic(?:[_-]core)?",
    "pygments": r"pygments",
    "python": r"cpython|python",
    "scikit-learn": r"scikit[- ]learn|scikits?|sklearn",
    "scipy": r"scipy|sp",
    "sympy": r"sympy",
    "torch": r"py-?torch|torch|aten|caffe2",
}
"""Libraries of the classification task, each with what its name looks like in text."""

EXAMPLES_PER_CLASS = 360
MASK = "package"
_FEWEST_PER_CLASS = 60
_ENOUGH_WORDS, _MOST_WORDS = 30, 60
_MOST_BYTES = 8_000_000
"""Source read of one library. A few are far larger than all others together; files are picked all over them."""
_LARGEST_FILE = 400_000
_LEFT_OUT = {"tests", "test", "idle_test", "idlelib", "lib2to3", "site-packages", "dist-packages", "_vendor", "pydoc_data"}
_OWN_NAME = "carryover"
_FALLBACK = ("torch", "numpy", "scikit-learn", "scipy", "joblib", "pydantic", "rich", "jinja2", "matplotlib", "tokenizers")
_NAMES = re.compile(rf"(?<![\w.])(?:{'|'.join(CLASSES.values())})(?:\.\w+)*(?![\w])", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A file of Python code: which library, its path inside that library, where it lies."""

    library: str
    name: str
    path: Path


@dataclass(frozen=True)
class Passage:
    """The prose of one docstring."""

    library: str
    paragraphs: tuple[str, ...]


def environment() -> list[str]:
    """What the text depends on: names and versions of the libraries and of Python, sorted."""
    versions = [f"{name} {found.version}" for name, found in installed().items()]
    return [f"python {sysconfig.get_python_version()} {_python_build()}", *versions]


def installed() -> dict[str, metadata.Distribution]:
    """The installed distributions this package needs, directly or through others, without itself and without extras."""
    found: dict[str, metadata.Distribution] = {}
    waiting, met = [_OWN_NAME, *_FALLBACK], set()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in met:
            continue
        met.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if name != _OWN_NAME:
            found[name] = distribution
        for requirement in distribution.requires or ():
            if "extra ==" not in requirement and (match := re.match(r"[\w.-]+", requirement)):
                waiting.append(match.group())
    return dict(sorted(found.items()))


def sources() -> Iterator[Source]:
    """All files to read, library by library, each library's in the order of their names."""
    root = Path(sysconfig.get_paths()["stdlib"])
    yield from _within_limit("python", ((path.relative_to(root).as_posix(), path) for path in root.rglob("*.py")))
    for library, distribution in installed().items():
        files = ((file.as_posix(), Path(str(distribution.locate_file(file)))) for file in distribution.files or ())
        yield from _within_limit(library, files)


def parsed(source: Source) -> tuple[str, ast.Module] | None:
    """Text and tree of a file; None when it is no readable Python."""
    try:
        text = source.path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's code
            return text, ast.parse(text)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None


@contextmanager
def without_collection() -> Iterator[None]:
    """Parse without the cyclic garbage collector: it looks at millions of nodes again and again and finds nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Docstrings of a module and of all classes and functions in it, in the order of the text."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                yield cleandoc(first.value.value)
        for name in ("finalbody", "orelse", "handlers", "body"):
            waiting.extend(reversed(getattr(node, name, ())))


def topics() -> Iterator[Passage]:
    """The standard library's help topics, read as data."""
    path = Path(sysconfig.get_paths()["stdlib"]) / "pydoc_data" / "topics.py"
    read = parsed(Source("python", "pydoc_data/topics.py", path))
    for statement in read[1].body if read else ():
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            for text in statement.value.values:
                if isinstance(text, ast.Constant) and isinstance(text.value, str) and (found := prose(text.value)):
                    yield Passage("python", tuple(found))


def prose(docstring: str) -> list[str]:
    """The paragraphs of a docstring that are English sentences, each on one line, without markup."""
    paragraphs = []
    for block in re.split(r"\n[ \t]*\n", docstring):
        lines = block.splitlines()
        if not lines or any(line.lstrip().startswith((">>>", "$ ", "...  ", "|", "+--")) for line in lines):
            continue
        kept: list[str] = []
        for line, after in zip(lines, [*lines[1:], ""], strict=True):
            if _UNDERLINE.fullmatch(line.strip()):
                kept = kept[:-1]  # and the title above it
            elif not (_PARAMETER.match(line) and _indent(after) > _indent(line)):
                kept.append(_FIELD.sub("", line.strip()))
        text = _without_markup(" ".join(kept))
        if _is_english(text):
            paragraphs.append(text)
    return paragraphs


def mask_names(text: str) -> str:
    """The text with every library's name, abbreviation or dotted path replaced by the word "package"."""
    return _NAMES.sub(MASK, text)


def classification(passages: Iterable[Passage]) -> tuple[list[tuple[str, str]], set[tuple[str, ...]]]:
    """Balanced (masked first paragraph, library) pairs, and the paragraphs of the docstrings they were taken from.

    Which examples are taken depends on a hash of their text, not on the order of files. Raises BadData when fewer than
    two libraries have enough documentation.
    """
    libraries: dict[str, set[str]] = {}
    origins: dict[str, list[tuple[str, ...]]] = {}
    for passage in passages:
        text = mask_names(_beginning(passage.paragraphs))
        if len(text) - len(MASK) * text.count(MASK) >= 40:
            libraries.setdefault(text, set()).add(passage.library)
            origins.setdefault(text, []).append(passage.paragraphs)
    by_class: dict[str, list[str]] = {name: [] for name in CLASSES}
    for text, found in libraries.items():
        if len(found) == 1 and (name := next(iter(found))) in by_class:
            by_class[name].append(text)
    by_class = {name: texts for name, texts in by_class.items() if len(texts) >= _FEWEST_PER_CLASS}
    if len(by_class) < 2:
        raise BadData(
            f"only {len(by_class)} installed libraries have docstrings to read",
            repair="install carryover with its dependencies from wheels, with their sources in place",
        )
    count = min(EXAMPLES_PER_CLASS, *(len(texts) for texts in by_class.values()))
    examples = [(text, name) for name, texts in by_class.items() for text in sorted(texts, key=hash_of)[:count]]
    examples.sort(key=lambda example: hash_of(example[0]))
    return examples, {paragraphs for text, _ in examples for paragraphs in origins[text]}


def _beginning(paragraphs: tuple[str, ...]) -> str:
    """The first paragraphs up to some 30 words; one long paragraph is cut."""
    words: list[str] = []
    for paragraph in paragraphs:
        if len(words) >= _ENOUGH_WORDS:
            break
        words += paragraph.split()
    return " ".join(words[:_MOST_WORDS])


def raw_passages(passages: Iterable[Passage], labelled: set[tuple[str, ...]]) -> Iterator[list[str]]:
    """Paragraphs of every docstring that is not labelled; a paragraph met before, or labelled, is left out."""
    met = {mask_names(paragraph) for paragraphs in labelled for paragraph in paragraphs}
    for passage in passages:
        new = []
        for paragraph in passage.paragraphs:
            if (masked := mask_names(paragraph)) not in met:
                met.add(masked)
                new.append(paragraph)
        if new and passage.paragraphs not in labelled:
            yield new


def hash_of(text: str) -> bytes:
    """A fixed pseudo-random key of a text, to draw by content."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def read_passages(visit: Callable[[Source, str, ast.Module], None]) -> list[Passage]:
    """The prose of everything installed; `visit` is called with every file on the way, so that all is parsed once."""
    found = list(topics())
    with without_collection():
        for source in sources():
            read = parsed(source)
            if read is not None:
                found += [Passage(source.library, tuple(kept)) for text in docstrings(read[1]) if (kept := prose(text))]
                visit(source, *read)
    return found


_UNDERLINE = re.compile(r"([=\-~^*\"'#`+])\1{2,}")
_PARAMETER = re.compile(r"\s*\*{0,2}\w+(?:, ?\*{0,2}\w+)*(?: ?: .*)?$")
_FIELD = re.compile(r"^(?::\w+[^:]*:|[-*•]|\d+[.)]|\.\. \w+::|@\w+)\s+|^\w+ \([^)]*\):\s+")
_MARKUP: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r":[\w:]+:`~?([^`<]*?)(?:\s*<[^`]*>)?`"), r"\1"),
    (re.compile(r"`+([^`<]*?)\s*(?:<[^`]*>)?`+_{0,2}"), r"\1"),
    (re.compile(r"\*\*?([^*\s][^*]*)\*\*?"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\([^)]*\)|\[\d+\]_|\|"), r"\1"),
    (re.compile(r"https?://\S+"), ""),
    (re.compile(r"\s*::\s*$"), ":"),
    (re.compile(r"\s+"), " "),
]


def _without_markup(text: str) -> str:
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text.strip()


def _is_english(text: str) -> bool:
    words = text.split()
    plain = sum(word.strip(".,;:!?()'\"").isalpha() for word in words)
    return len(words) >= 5 and plain >= 0.7 * len(words) and text[0].isalnum() and any(word.islower() for word in words)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _within_limit(library: str, files: Iterable[tuple[str, Path]]) -> list[Source]:
    """The Python files of a library that are not tests, drawn by a hash of their names up to the limit of bytes."""
    chosen, size = [], 0
    for name, path in sorted(files, key=lambda file: hash_of(file[0])):
        if not name.endswith(".py") or _LEFT_OUT.intersection(name.split("/")) or size > _MOST_BYTES:
            continue
        length = path.stat().st_size if path.is_file() else 0
        if 0 < length <= _LARGEST_FILE:
            size += length
            chosen.append(Source(library, name, path))
    return sorted(chosen, key=lambda source: source.name)


def _python_build() -> str:
    import platform

    return platform.python_version()
