"""The table of Bai, Kolter, Koltun 2018, "An empirical evaluation of generic convolutional and recurrent networks for
sequence modeling" (arXiv 1803.01271), and how its models were made.

Numbers: table 1. Sizes, dropout, clipping, forget bias, optimisers: tables 2 and 3 and section 5. Batch sizes, epochs, how
the learning rate falls, and of text the windows, the TCNs' rates and the dropout of embeddings: defaults of the command
lines of the authors' implementation (github.com/locuslab/TCN). The authors published neither the settings of their GRUs
and Elman networks nor every setting of their LSTMs; `Recipe.ours` names what is our choice, not tuned but for JSB's Elman
network (one layer or two) and GRU (that, and a rate of 0.001 or 0.002) and the rates of Nottingham's GRU (0.001 or 0.004) and
Elman network (0.001, 0.0003 or 0.0001), by the loss on the validation part, and that of the adding problem's Elman network
(0.001 or 0.0003), by the loss on other rows. The size of an unpublished model is the one that comes closest to the model
size of table 1 (`carryover.bench.model.matching_size`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from carryover.errors import UsageError
from carryover.training.schedules import Annealing

MODELS = ("lstm", "gru", "elman", "tcn")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a task is scored by: `unit` of the number, which direction is better, how many decimals are worth printing."""

    name: str
    lower_is_better: bool = True
    digits: str = ".3g"


LOSS = Metric(name="loss")
NLL = Metric(name="nats a step", digits=".2f")
ACCURACY = Metric(name="accuracy", lower_is_better=False, digits=".2f")
PERPLEXITY = Metric(name="perplexity", digits=".2f")
BITS = Metric(name="bits per character", digits=".3f")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one model is made and trained for one task.

    model : one of `MODELS`. layers : of a TCN its levels. size : features of a layer, None for the one that comes closest
        to the published model size. kernel : of a TCN. embedding : of ids, None for `size`.
    dropout : between and above recurrent layers, in the blocks of a TCN. input_dropout : of embeddings.
    tied : output weights are the embedding's. forget_bias : of an LSTM at the start, None for the layer's own.
    optimiser, rate, clip : how to step; `clip` is a joint norm. batch : rows a step; of text, lanes.
    epochs, staircase (divide the rate by 10 after each half), annealing : how long and how it slows down.
    steps, history : of text: scored tokens of a window, and of the tokens before them that a TCN may see.
    ours : the names of the settings above that are not published.
    """

    model: str
    layers: int
    size: int | None = None
    kernel: int = 0
    embedding: int | None = None
    dropout: float = 0.0
    input_dropout: float = 0.0
    tied: bool = False
    forget_bias: float | None = None
    optimiser: str = "adam"
    rate: float = 0.002
    clip: float | None = None
    batch: int = 32
    epochs: int = 10
    staircase: bool = False
    annealing: Annealing | None = None
    steps: int = 0
    history: int = 0
    ours: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of the table: a task at one length (None where it has none), its recipes, and the published results.

    parameters : the approximate model size of table 1, for T = 200 and T = 500 that of the legends of figures 2 and 4.
    published : by model; empty where the paper gives a figure only.
    """

    task: str
    title: str
    length: int | None
    metric: Metric
    parameters: int
    published: dict[str, float]
    recipes: dict[str, Recipe]

    @property
    def name(self) -> str:
        return self.task if self.length is None else f"{self.task}-{self.length}"


def _published(lstm: float, gru: float, elman: float, tcn: float) -> dict[str, float]:
    return {"lstm": lstm, "gru": gru, "elman": elman, "tcn": tcn}


def _recipes(shared: dict[str, Any], **models: dict[str, Any]) -> dict[str, Recipe]:
    return {name: Recipe(model=name, **{**shared, **settings}) for name, settings in models.items()}


def _unpublished(**settings: Any) -> dict[str, Any]:
    """A GRU's or Elman network's settings, of which none is published but that they were as large as the others."""
    return {**settings, "ours": ("layers", *(name for name in settings if name != "layers"))}


def _adding(length: int, parameters: int, published: dict[str, float], tcn: dict[str, Any], lstm: dict[str, Any]) -> Entry:
    return Entry(
        task="adding",
        title=f"adding problem, T = {length}",
        length=length,
        metric=LOSS,
        parameters=parameters,
        published=published,
        recipes=_recipes(
            {"batch": 32, "epochs": 10},
            lstm=lstm,
            gru=_unpublished(layers=1, rate=0.002, clip=5.0),
            elman=_unpublished(layers=1, rate=3e-4, clip=1.0),
            tcn=tcn,
        ),
    )


def _copy(blank: int, published: dict[str, float], tcn: dict[str, Any], clip: float) -> Entry:
    return Entry(
        task="copy-memory",
        title=f"copy memory, T = {blank}",
        length=blank,
        metric=LOSS,
        parameters=16_000,
        published=published,
        recipes=_recipes(
            {"batch": 32, "epochs": 50, "dropout": 0.05, "optimiser": "rmsprop", "rate": 5e-4},
            lstm={"layers": 1, "size": 50, "clip": clip, "ours": ("rate",)},
            gru=_unpublished(layers=1, clip=clip, dropout=0.05, rate=5e-4, optimiser="rmsprop"),
            elman=_unpublished(layers=1, clip=clip, dropout=0.05, rate=5e-4, optimiser="rmsprop"),
            tcn={**tcn, "clip": 1.0},
        ),
    )


def _mnist(task: str, title: str, published: dict[str, float], forget_bias: float) -> Entry:
    return Entry(
        task=task,
        title=title,
        length=None,
        metric=ACCURACY,
        parameters=70_000,
        published=published,
        recipes=_recipes(
            {"batch": 64, "epochs": 20, "staircase": True},
            lstm={
                "layers": 1, "size": 130, "clip": 1.0, "forget_bias": forget_bias, "optimiser": "rmsprop", "rate": 1e-3,
            },
            gru=_unpublished(layers=1, clip=1.0, optimiser="rmsprop", rate=1e-3),
            elman=_unpublished(layers=1, clip=1.0, optimiser="rmsprop", rate=1e-4),
            tcn={"layers": 8, "size": 25, "kernel": 7},
        ),
    )  # fmt: skip


_MUSIC_ANNEALING = Annealing(divisor=10.0, window=3, after=10)


ENTRIES: tuple[Entry, ...] = (
    _adding(
        200,
        70_000,
        {},
        {"layers": 7, "size": 27, "kernel": 6},
        {"layers": 2, "size": 77, "clip": 50.0, "forget_bias": 5.0, "optimiser": "sgd", "rate": 1e-3},
    ),
    _adding(
        600,
        70_000,
        _published(0.164, 5.3e-5, 0.177, 5.8e-5),
        {"layers": 8, "size": 24, "kernel": 8},
        {"layers": 1, "size": 130, "clip": 5.0, "forget_bias": 1.0, "rate": 0.002, "ours": ("optimiser", "rate")},
    ),
    _copy(500, {}, {"layers": 9, "size": 10, "kernel": 6}, 0.25),
    _copy(1000, _published(0.0204, 0.0197, 0.0202, 3.5e-5), {"layers": 8, "size": 10, "kernel": 8}, 1.0),
    _mnist("sequential-mnist", "sequential MNIST", _published(87.2, 96.2, 21.5, 99.0), 1.0),
    _mnist("permuted-mnist", "permuted MNIST", _published(85.7, 87.3, 25.3, 97.2), 10.0),
    Entry(
        task="jsb-chorales",
        title="JSB chorales",
        length=None,
        metric=NLL,
        parameters=300_000,
        published=_published(8.45, 8.43, 8.91, 8.10),
        recipes=_recipes(
            {"batch": 1, "epochs": 100, "annealing": _MUSIC_ANNEALING},
            lstm={"layers": 2, "size": 200, "dropout": 0.2, "clip": 1.0, "forget_bias": 10.0, "ours": ("rate",)},
            gru=_unpublished(layers=1, dropout=0.2, clip=1.0, rate=0.001),
            elman=_unpublished(layers=1, dropout=0.2, clip=1.0, rate=0.001),
            tcn={"layers": 2, "size": 150, "kernel": 3, "dropout": 0.5, "clip": 0.4},
        ),
    ),
    Entry(
        task="nottingham",
        title="Nottingham",
        length=None,
        metric=NLL,
        parameters=1_000_000,
        published=_published(3.29, 3.46, 4.05, 3.07),
        recipes=_recipes(
            {"batch": 1, "epochs": 100, "annealing": _MUSIC_ANNEALING},
            lstm={"layers": 1, "size": 500, "dropout": 0.1, "clip": 1.0, "rate": 0.004},
            gru=_unpublished(layers=1, dropout=0.1, clip=1.0, rate=0.001),
            elman=_unpublished(layers=1, dropout=0.1, clip=1.0, rate=3e-4),
            tcn={"layers": 4, "size": 150, "kernel": 6, "dropout": 0.2, "clip": 0.4},
        ),
    ),
    Entry(
        task="ptb-words",
        title="Penn Treebank, words",
        length=None,
        metric=PERPLEXITY,
        parameters=13_000_000,
        published=_published(78.93, 92.48, 114.50, 88.68),
        recipes=_recipes(
            {"batch": 16, "epochs": 100, "tied": True, "annealing": Annealing(divisor=2.0, window=5, after=6)},
            lstm={
                "layers": 3, "size": 700, "dropout": 0.4, "input_dropout": 0.4, "clip": 0.3, "forget_bias": 1.0,
                "optimiser": "sgd", "rate": 30.0, "batch": 20, "steps": 35, "ours": ("input_dropout", "batch", "steps"),
            },
            gru=_unpublished(
                layers=3, dropout=0.4, input_dropout=0.4, clip=0.3, optimiser="sgd", rate=10.0, batch=20, steps=35
            ),
            elman=_unpublished(
                layers=3, dropout=0.4, input_dropout=0.4, clip=0.3, optimiser="sgd", rate=5.0, batch=20, steps=35
            ),
            tcn={
                "layers": 4, "size": 600, "kernel": 3, "embedding": 600, "dropout": 0.5, "input_dropout": 0.25, "clip": 0.4,
                "optimiser": "sgd", "rate": 4.0, "steps": 40, "history": 40,
            },
        ),
    ),
    Entry(
        task="ptb-characters",
        title="Penn Treebank, characters",
        length=None,
        metric=BITS,
        parameters=3_000_000,
        published=_published(1.36, 1.37, 1.48, 1.31),
        recipes=_recipes(
            {"batch": 32, "epochs": 100, "annealing": Annealing(divisor=10.0, window=3, after=6)},
            lstm={
                "layers": 2, "size": 600, "embedding": 120, "dropout": 0.1, "input_dropout": 0.1, "clip": 0.5, "steps": 200,
                "ours": ("optimiser", "rate", "input_dropout", "steps"),
            },
            gru=_unpublished(layers=2, embedding=120, dropout=0.1, input_dropout=0.1, clip=0.5, rate=0.002, steps=200),
            elman=_unpublished(layers=2, embedding=120, dropout=0.1, input_dropout=0.1, clip=0.5, rate=0.001, steps=200),
            tcn={
                "layers": 3, "size": 450, "kernel": 3, "embedding": 100, "dropout": 0.1, "input_dropout": 0.1, "tied": True,
                "clip": 0.15, "optimiser": "sgd", "rate": 4.0, "steps": 320, "history": 80,
            },
        ),
    ),
)  # fmt: skip

TASKS = tuple(dict.fromkeys(entry.task for entry in ENTRIES))


def find_entry(task: str, length: int | None) -> Entry:
    """The row of a task at a length. Raises UsageError naming what there is."""
    rows = [entry for entry in ENTRIES if entry.task == task]
    for entry in rows:
        if entry.length == length:
            return entry
    if not rows:
        raise UsageError(f"there is no task {task!r}", repair=f"choose from {', '.join(TASKS)}")
    lengths = [str(entry.length) for entry in rows if entry.length is not None]
    repair = f"published are {', '.join(lengths)}" if lengths else "leave --length out"
    raise UsageError(f"{task} has no length {length}", repair=repair)
