"""What is to be compared: the data, the rungs, the budgets, the seeds, and how two plans for one folder may differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from carryover.compare.encoders import (
    Encoders,
    check_named,
    encoders_by_name,
    entry,
    folder_of,
    over_each,
    parse_encoders,
)
from carryover.compare.ladder import RUNGS, Rung, parse_rungs, rung_of
from carryover.data.columns import Columns
from carryover.data.formats.spooling import is_stream
from carryover.data.metric_names import metric_name
from carryover.data.schemes import PLAIN, scheme_name
from carryover.errors import UsageError, check_choice
from carryover.pretraining.settings import PretrainSettings
from carryover.setting import COMPARISON, DATA, MODEL, RUN, SEED, option, same_as, same_option
from carryover.transfer.plan import PLACEMENTS, CarryPlan
from carryover.transfer.settings import CLASS_WEIGHTS, FitSettings, TaskRun

PLAN_SCHEMA = "carryover.compare-plan/1"
SMALLEST_BUDGET = 4
USUAL = {"placement": CarryPlan.placement, "class weights": FitSettings.class_weights}
"""Of the question: what it is where a plan, being older, does not say."""
_USUAL_BUDGETS = (50, 100, 200, 400)
_UNUSUAL = " and ".join(name for name, rung in RUNGS.items() if not rung.usual)


def parse_budgets(text: str | Iterable[int | str]) -> tuple[int | str, ...]:
    """`50,100,all` as rising numbers with "all" last. Raises UsageError for anything else."""
    parts = text.split(",") if isinstance(text, str) else list(text)
    numbers: set[int] = set()
    whole = False
    for part in parts:
        word = str(part).strip()
        if word == "all":
            whole = True
            continue
        if not word.isdigit():
            raise UsageError(f"budget {word!r} is not a number of examples", repair="give numbers or all, as in 50,100,all")
        if int(word) < SMALLEST_BUDGET:
            raise UsageError(
                f"budget {word} is too small: part of its labels is held out", repair=f"give at least {SMALLEST_BUDGET}"
            )
        numbers.add(int(word))
    return (*sorted(numbers), *(("all",) if whole else ()))


@dataclass(frozen=True, kw_only=True)
class ComparePlan:
    """One comparison. Raises UsageError naming the option, its value and the nearest valid one.

    Data: `task` "classify" or "tag"; `train` labelled examples; `test` (without it a fifth of `train` is set aside);
    `raw` text to pretrain on; `valid` raw text held out in pretraining, both with their text in `raw_column` where
    `raw_format` or their names say that they are no plain text; `encoder` a folder with a pretrained language
    model, or several by name (see `carryover.compare.encoders`), used instead of pretraining one. A path may be `builtin:NAME`. Columns and formats as in `carryover.data.formats.reading`,
    `scheme` (of span tags) as in `carryover.data.schemes`.
    Trials: `rungs` (empty: all that raw text or encoder allow), `budgets` (numbers of labelled examples or "all"; empty:
    the usual ones that fit), `seeds` many seeds from `seed` on.
    Work: `time_limit` in seconds after which no new cell starts, `jobs` cells at once (None: one a core) on the joblib
    backend `backend`. `metric` is a name of `carryover.data.metric_names.METRICS` or "auto"; `class_weights` "balanced" makes
    rare classes weigh as much as frequent ones in every rung. `pretraining`, `vectors` and `fitting` override single settings of pretraining, of the static
    vectors and of fitting. `placement` is the place of the mixture in the rung frozen (`CarryPlan.placement`).
    """

    task: str = field(metadata=same_option(TaskRun, "task"))
    train: str | PathLike[str] = field(metadata=same_option(TaskRun, "train"))
    test: str | PathLike[str] | None = field(
        default=None,
        metadata=option("Labelled test examples. Default: a fifth of --train is set aside.", DATA, metavar="FILE"),
    )
    raw: str | PathLike[str] | None = field(
        default=None, metadata=option("Unlabelled text to learn from: a file, or builtin:NAME.", DATA, metavar="TEXT")
    )
    valid: str | PathLike[str] | None = field(
        default=None,
        metadata=option("Held-out text for pretraining. Default: 2 % of the lines of --raw.", DATA, metavar="TEXT"),
    )
    raw_column: str | int = same_as(PretrainSettings, "raw_column")
    raw_format: str | None = same_as(PretrainSettings, "raw_format")
    encoder: str | PathLike[str] | Encoders | None = field(
        default=None,
        metadata=option(
            "Pretrained model to use, or several to compare: NAME=FOLDER,NAME=FOLDER. Default: pretrain one on --raw.",
            MODEL,
            read=parse_encoders,
            metavar="FOLDER",
        ),
    )
    rungs: tuple[str, ...] = field(
        default=(),
        metadata=option(
            f"Some of {','.join(RUNGS)}. Default: all but {_UNUSUAL} that the data allow.",
            COMPARISON,
            read=parse_rungs,
            metavar="NAMES",
        ),
    )
    budgets: tuple[int | str, ...] = field(
        default=(),
        metadata=option(
            "Numbers of labelled examples, and all. Default: those of 50,100,200,400 that are smaller than --train, and all.",
            COMPARISON,
            read=parse_budgets,
            metavar="NUMBERS",
        ),
    )
    seeds: int = field(default=5, metadata=option("Number of seeds to repeat each cell with.", COMPARISON))
    seed: int = field(default=0, metadata=option(SEED, RUN))
    text_column: str | int = same_as(Columns, "text_column")
    label_column: str | int | None = same_as(Columns, "label_column")
    format: str | None = same_as(Columns, "format")
    multi_label: str | None = same_as(Columns, "multi_label")
    coarse: str | None = same_as(Columns, "coarse")
    scheme: str = same_as(Columns, "scheme")
    series_column: str = same_as(Columns, "series_column")
    time_column: str | None = same_as(Columns, "time_column")
    missing: str = same_as(Columns, "missing")
    on_error: str = same_as(Columns, "on_error")
    metric: str = same_as(FitSettings, "metric")
    class_weights: str = same_as(FitSettings, "class_weights")
    time_limit: float | None = same_as(FitSettings, "time_limit")
    jobs: int | None = field(
        default=None, metadata=option("Number of cells to run at once. Default: one for each core.", RUN)
    )
    backend: str = "loky"
    replicates: int = 2000
    confidence: float = 0.95
    device: str = same_as(PretrainSettings, "device")
    pretraining: Mapping[str, Any] = field(default_factory=dict)
    vectors: Mapping[str, Any] = field(default_factory=dict)
    fitting: Mapping[str, Any] = field(default_factory=dict)
    placement: str = same_as(CarryPlan, "placement")

    def __post_init__(self) -> None:
        from carryover.devices import choose_device  # PyTorch: not for who only asks for a default
        from carryover.tasks import TASKS  # NumPy: not for who only asks for help

        check_choice("task", self.task, TASKS)
        object.__setattr__(self, "metric", metric_name(self.metric, also=("auto",)))
        check_choice("class weights", self.class_weights, CLASS_WEIGHTS)
        if self.class_weights != USUAL["class weights"] and not TASKS[self.task].weighs_classes:
            raise UsageError(
                f"class weights are for classification, not for the task {self.task}", repair="leave --class-weights out"
            )
        check_choice("on-error", self.on_error, ("stop", "skip"))
        check_choice("placement", self.placement, PLACEMENTS)
        if scheme_name(self.scheme) == PLAIN:  # also where tags look like spans
            object.__setattr__(self, "metric", "accuracy" if self.metric == "auto" else self.metric)
            object.__setattr__(self, "fitting", {**self.fitting, "scheme": PLAIN})
        object.__setattr__(self, "rungs", over_each(parse_rungs(self.rungs), self.encoders))
        object.__setattr__(self, "budgets", parse_budgets(self.budgets))
        least_values = (("seeds", self.seeds, 1), ("seed", self.seed, 0), ("jobs", self.jobs, 1))
        for name, value, least in (*least_values, ("replicates", self.replicates, 100)):
            if value is not None and value < least:
                raise UsageError(f"{name} is {value}", repair=f"give at least {least}")
        if self.time_limit is not None and not self.time_limit > 0:
            raise UsageError(f"the time limit is {self.time_limit:g} seconds", repair="give a time above 0")
        if not 0.5 <= self.confidence < 1:
            raise UsageError(f"confidence is {self.confidence:g}", repair="give a value from 0.5 to below 1, usually 0.95")
        object.__setattr__(self, "device", choose_device(self.device))
        self._check_material()

    def _check_material(self) -> None:
        rungs = [rung_of(name) for name in self.rungs]
        if self.placement != USUAL["placement"] and rungs and not any(rung.has_placement for rung in rungs):
            placed = " or ".join(name for name, rung in RUNGS.items() if rung.has_placement)
            raise UsageError(
                f"placement {self.placement!r} is for the rung {placed}, which was not requested",
                repair="add that rung, or leave the placement out",
            )
        for name, path in (("train", self.train), ("test", self.test)):
            if path is not None and is_stream(path):
                raise UsageError(
                    f"--{name} is a stream, but every process that runs cells must read it again",
                    path=path,
                    repair="write it to a file and give the file",
                )
        for rung in rungs:
            self._check_rung(rung)

    def _check_rung(self, rung: Rung) -> None:
        if not rung.fits(self.kind):
            raise UsageError(f"rung {rung.name} cannot answer the task {self.task}", repair="leave it out")
        lacking = rung.lacks(raw=self.raw is not None, encoder=bool(self.encoders))
        if lacking is not None:
            raise lacking
        check_named(rung, self.encoders)

    @property
    def columns(self) -> Columns:
        """Where text and labels are in the files of examples."""
        return Columns(
            text_column=_column(self.text_column),
            label_column=_column(self.label_column),
            format=self.format,
            multi_label=self.multi_label,
            coarse=self.coarse,
            scheme=self.scheme,
            series_column=self.series_column,
            time_column=self.time_column,
            missing=self.missing,
            on_error=self.on_error,
        )

    @property
    def kind(self) -> str:
        """The task that the columns make of the one that was asked for."""
        from carryover.tasks import TASKS  # NumPy: not for who only asks for help

        return TASKS[self.task].for_columns(self.columns).name

    @property
    def encoders(self) -> dict[str, Path]:
        """The folders of the pretrained models that were given, by name; the one without a name is ""."""
        return encoders_by_name(self.encoder)

    @property
    def rung_encoders(self) -> dict[str, Path | None]:
        """What the rungs carry over: their `encoder` → its folder, None where it is pretrained on the raw text."""
        rungs = (rung_of(name) for name in self.rungs)
        names = sorted({rung.encoder for rung in rungs if rung.needs.encoder})
        return {name: folder_of(name, self.encoders) for name in names}

    @property
    def all_seeds(self) -> tuple[int, ...]:
        return tuple(range(self.seed, self.seed + self.seeds))

    def resolve(self, examples: int, *, words: bool = True) -> ComparePlan:
        """The plan with rungs and budgets filled in for a training set of `examples`, which hold `words` or not.

        A budget that equals the whole set is written "all". Raises UsageError for a budget that is larger, and for a rung
        that needs words where there are none.
        """
        raw, encoder = self.raw is not None, bool(self.encoders)
        for rung in map(rung_of, self.rungs):
            if (lacking := rung.lacks(raw=raw, encoder=encoder, words=words)) is not None:
                raise lacking
        rungs = self.rungs or tuple(
            name
            for name, rung in RUNGS.items()
            if rung.usual and rung.fits(self.kind) and rung.lacks(raw=raw, encoder=encoder, words=words) is None
        )
        budgets: Iterable[int | str] = self.budgets or (*(b for b in _USUAL_BUDGETS if b < examples), "all")
        numbers: set[int] = set()
        for budget in budgets:
            number = examples if budget == "all" else int(budget)
            if number > examples:
                raise UsageError(
                    f"budget {number:,} is larger than the {examples:,} training examples",
                    repair="give a smaller budget, or all",
                )
            numbers.add(number)
        if examples < SMALLEST_BUDGET:
            raise UsageError(f"only {examples} training examples", repair=f"give at least {SMALLEST_BUDGET}")
        whole = examples in numbers
        found = (*sorted(numbers - {examples}), *(("all",) if whole else ()))
        return dataclasses.replace(self, rungs=rungs, budgets=found)

    def label_counts(self, examples: int) -> dict[int | str, int]:
        """Number of labelled examples of every budget."""
        return {budget: examples if budget == "all" else int(budget) for budget in self.budgets}


def _column(value: str | int | None) -> Any:
    """`--text-column 0` on the command line means the first column, not one named 0."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


def check_same_question(stored: Mapping[str, Any], asked: Mapping[str, Any], folder: Path) -> None:
    """Whether a folder that holds the plan `stored` may continue with `asked`. Raises UsageError naming the difference.

    Rungs, budgets and seeds may be extended; everything under "question" must be the same (names of files may change
    as long as their content does not). Only a language model may be named later, while no rung used it.
    """
    repair = "give the same value, or choose another --out"
    if stored.get("schema") != asked["schema"]:
        raise UsageError(
            f"its plan is {stored.get('schema')}, this version writes {asked['schema']}", path=folder, repair=repair
        )
    before, now = stored["question"], asked["question"]
    rungs = [rung_of(rung) for rung in stored["rungs"]]
    used = {entry(rung.encoder) for rung in rungs if rung.needs.encoder}
    for name in sorted({*before, *now}):
        named = name.startswith(entry("") + " ")
        if name not in used and (named or (name == entry("") and before.get(name) is None)):
            continue
        old, new = (found.get(name, USUAL.get(name)) for found in (before, now))
        if old != new:
            old, new = _shown(old), _shown(new)
            raise UsageError(f"it holds a comparison with {name} {old}, now {new} was requested", path=folder, repair=repair)
    for name in ("rungs", "budgets", "seeds"):
        gone = [value for value in stored[name] if value not in asked[name]]
        if gone:
            listed = ", ".join(str(value) for value in gone)
            raise UsageError(
                f"it holds cells of {name} {listed}, which were not requested now",
                path=folder,
                repair=f"{name} can be added but not removed; request them too, or choose another --out",
            )


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "…"
