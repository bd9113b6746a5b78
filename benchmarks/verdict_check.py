"""Does a recommendation hold? Every comparison is made twice, the second time with fresh seeds, labels and test examples.

Training and test examples of each set are halved. One half is compared as a user would compare it, the other half with other
seeds; then each verdict is judged by the other comparison, in both directions. A recommended rung holds when it is within noise
of the best rung there, and its regret is how far below that its mean lies. A recommendation of nothing (the majority) holds when
no rung is recommended there either. Beside it stands what the cheapest rung within noise of the best by accuracy would be, without
a look at the majority: how often that is no better than the majority on the fresh cells.

Sets that are made here need nothing; with `--data`, a folder with one folder a data set as their makers ship them (`trec-qc`,
`sst2`, `ud-english-ewt`, `wnut17-ner`, `conll2000-chunking`), real ones are added. What is finished under `--work` is not done again.

With `--encoder`, a language model pretrained on running text, the rungs are `features` and `frozen` over it, with the usual settings of
fitting: sets on which the two are close, or change places with the budget, show how well the verdict chooses.

    python benchmarks/verdict_check.py [--data FOLDER] [--work runs/verdict] [--sets spam,noise,trec] [--seeds 5] [--encoder runs/lm]
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring.ending import leave
from measuring.results import command_line, heading, write

from carryover.compare import ComparePlan, CompareResult, compare, parse_budgets, parse_rungs
from carryover.compare.ladder import REFERENCE
from carryover.data.examples import Example, Labels, Source, Text, Words
from carryover.data.formats.reading import read_tagged, read_texts
from carryover.data.splits import stratified_order, stratified_split
from carryover.errors import UsageError

Examples = Sequence[Any]
FITTING = {"epochs": 4, "least_updates": 80, "evaluations": 8, "hidden": 16, "word_size": 24, "filters": ((3, 12),)}
PRETRAINING = {"size": "tiny", "epochs": 2, "time_limit": 20.0}
VECTORS = {"size": 24, "epochs": 3}
ENCODER_RUNGS = "features,frozen"
LARGEST_TRAIN, LARGEST_TEST = 900, 400
"""Examples of a half: more would only take longer."""


@dataclass(frozen=True)
class Set:
    """Training and test examples of a task, and what is compared on them."""

    task: str
    train: Examples
    test: Examples
    rungs: str = "features,static,scratch"
    budgets: str = "50,200"


# ------------------------------------------------------------------------------------------------ sets made here


def texts(count: int, seed: int, shares: dict[str, float], hint: float, words: int = 150) -> list[Example[Text, Labels]]:
    """Texts of eight random words, one of which gives the label away with the chance `hint`."""
    random = np.random.default_rng([seed, count])
    found = []
    for number in range(count):
        label = str(random.choice(list(shares), p=list(shares.values())))
        row = [f"w{n}" for n in random.integers(0, words, 8)]
        if random.random() < hint:
            row[int(random.integers(8))] = f"{label}{random.integers(6)}"
        found.append(Example(Text(" ".join(row)), (label,), Source(line=number + 1)))
    return found


def of_texts(shares: dict[str, float], hint: float, **more: Any) -> Callable[[Path | None], Set]:
    return lambda data: Set("classify", texts(1400, 1, shares, hint), texts(800, 2, shares, hint), **more)


def noise_tags(data: Path | None) -> Set:
    """Tags that have nothing to do with the words: nothing can be learned but the most frequent tag."""
    random = np.random.default_rng(5)

    def sentences(count: int) -> list[Example[Words, Labels]]:
        found = []
        for number in range(count):
            words = tuple(f"w{n}" for n in random.integers(0, 400, 8))
            tags = tuple(random.choice(["X", "Y", "Z"], 8, p=[0.5, 0.3, 0.2]))
            found.append(Example(Words(words), tags, Source(line=number + 1)))
        return found

    return Set("tag", sentences(600), sentences(300), budgets="40,150")


def grammar(kind: str) -> Callable[[Path | None], Set]:
    """The generated language of this repository: topics of sentences, or classes of words with homographs."""

    def load(data: Path | None) -> Set:
        sizes = "raw=2000&labelled=1200"
        train, test = (f"builtin:grammar/{part}?{sizes}" for part in ("train", "test"))
        if kind == "classify":
            return Set("classify", read_texts(train).examples, read_texts(test).examples, "features,static,scratch,frozen")
        return Set(
            "tag", read_tagged(train).examples, read_tagged(test).examples, "features,static,scratch,frozen", "20,100"
        )

    return load


# ------------------------------------------------------------------------------------------------ real sets


def of_files(task: str, train: str, test: str, **columns: Any) -> Callable[[Path | None], Set]:
    def load(data: Path | None) -> Set:
        assert data is not None  # sets with files are left out without --data
        read: Any = read_texts if task == "classify" else read_tagged
        rungs = "features,static,scratch" if task == "classify" else "features,scratch"
        first, second = (read(data / name, **columns).examples for name in (train, test))
        return Set(task, first, second, rungs, "50,200")

    return load


MADE: dict[str, Callable[[Path | None], Set]] = {
    "spam": of_texts({"ham": 0.88, "spam": 0.12}, 0.8),
    "topics": of_texts({"sea": 0.34, "farm": 0.33, "town": 0.33}, 0.7),
    "rare": of_texts({"yes": 0.48, "no": 0.48, "maybe": 0.04}, 0.9),
    "noise": of_texts({"yes": 0.5, "no": 0.5}, 0.0),
    "noise-skewed": of_texts({"ham": 0.88, "spam": 0.12}, 0.0),
    "noise-tags": noise_tags,
    "grammar-topics": grammar("classify"),
    "grammar-tags": grammar("tag"),
}
REAL: dict[str, Callable[[Path | None], Set]] = {
    "trec": of_files("classify", "trec-qc/train.txt", "trec-qc/test.txt", format="label-first", coarse=":"),
    "sst2": of_files("classify", "sst2/train.tsv", "sst2/test.tsv", text_column=0, label_column=1),
    "ewt": of_files(
        "tag",
        "ud-english-ewt/en_ewt-ud-train.conllu.gz",
        "ud-english-ewt/en_ewt-ud-test.conllu.gz",
        label_column="upos",
    ),
    "wnut": of_files("tag", "wnut17-ner/train.conll", "wnut17-ner/test.conll"),
    "conll": of_files("tag", "conll2000-chunking/train.txt.gz", "conll2000-chunking/test.txt.gz", label_column=2),
}


# ------------------------------------------------------------------------------------------------ comparing


def write_examples(path: Path, examples: Examples) -> Path:
    """A file that `compare` reads: a table of texts, or a word and its tag a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for example in examples:
        if isinstance(example.input, Text):
            lines.append(f"{' '.join(example.input.text.split())}\t{example.gold[0]}")
        else:
            lines += [f"{token} {tag}" for token, tag in zip(example.input.tokens, example.gold, strict=True)] + [""]
    head = ["text\tlabel"] if path.suffix == ".tsv" else []
    path.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return path


def halves(examples: Examples, most: int) -> list[list[Any]]:
    """Two stratified halves of at most `most` examples each."""
    kept = [examples[i] for i in stratified_order(examples, 3)[: 2 * most]]
    return [[kept[i] for i in part] for part in stratified_split(kept, [0.5, 0.5], 4)]


def compare_halves(name: str, what: Set, work: Path, seeds: int, encoder: Path | None) -> list[CompareResult]:
    """The two comparisons of a set: other labels, other test examples, other seeds."""
    suffix = "tsv" if what.task == "classify" else "conll"
    results = []
    trains, tests = halves(what.train, LARGEST_TRAIN), halves(what.test, LARGEST_TEST)
    for number, (train, test) in enumerate(zip(trains, tests, strict=True)):
        folder = work / name
        raw = folder / f"raw-{number}.txt"
        files = [
            write_examples(folder / f"{part}-{number}.{suffix}", examples)
            for part, examples in (("train", train), ("test", test))
        ]
        lines = [" ".join(example.input.shown.split()) for example in train]
        raw.write_text("\n".join(lines) + "\n", encoding="utf-8")
        plan = ComparePlan(
            task=what.task,
            train=files[0],
            test=files[1],
            raw=raw,
            encoder=encoder,
            rungs=parse_rungs(what.rungs if encoder is None else ENCODER_RUNGS),
            budgets=parse_budgets(what.budgets),
            seeds=seeds,
            seed=1000 * number,
            on_error="skip",
            jobs=1,
            fitting=FITTING if encoder is None else {},
            pretraining=PRETRAINING,
            vectors=VECTORS,
        )
        results.append(compare(plan, folder / f"comparison-{number}", quiet=True))
    return results


# ------------------------------------------------------------------------------------------------ judging


def judge(one: CompareResult, other: CompareResult) -> list[dict[str, Any]]:
    """Every verdict of `one`, a row a budget, beside what the fresh cells of `other` say by the same metric."""
    rows = []
    metric = one.analysis.metric.name
    fresh = next(each for each in (other.analysis, *other.others) if each.metric.name == metric)
    for budget in one.analysis.budgets:
        chosen, there, best = one.analysis.recommended(budget), fresh.recommended(budget), fresh.best(budget)
        assert best is not None  # both are complete
        row: dict[str, Any] = {
            "budget": budget,
            "metric": metric,
            "recommended": None if chosen is None else chosen.rung,
            "recommended_there": None if there is None else there.rung,
            "best_there": best.rung,
            "best_score_there": best.score,
            "majority_there": fresh.points[REFERENCE, budget].score,
        }
        if chosen is None:
            row["holds"], row["missed"] = there is None, best.score - row["majority_there"]
        else:
            score = fresh.points[chosen.rung, budget].score
            row["holds"] = chosen.rung in {point.rung for point in fresh.within_noise(budget)}
            row["beats_majority_there"] = score > row["majority_there"]
            row["regret"] = best.score - score
        row["unguarded_is_no_better"] = _unguarded_is_no_better(one, other, budget)
        rows.append(row)
    return rows


def _unguarded_is_no_better(one: CompareResult, other: CompareResult, budget: int | str) -> bool:
    """Whether the cheapest rung within noise of the best, by accuracy where that is known, fails to beat the majority."""
    accuracies = [
        [each for each in (side.analysis, *side.others) if each.metric.name == "accuracy"] for side in (one, other)
    ]
    first, second = (found[0] if found else side.analysis for found, side in zip(accuracies, (one, other), strict=True))
    rung = first.within_noise(budget)[0].rung
    difference = second.difference(budget, rung, REFERENCE)
    return difference is None or not (difference.separable and difference.difference > 0)


def summary(sets: dict[str, Any]) -> dict[str, Any]:
    """How often verdicts held, over all sets, budgets and both directions."""
    rows = [row for found in sets.values() for row in found["verdicts"]]
    named = [row for row in rows if row["recommended"] is not None]
    nothing = [row for row in rows if row["recommended"] is None]
    regrets = sorted(row["regret"] for row in named)
    return {
        "verdicts": len(rows),
        "recommendations": len(named),
        "recommendations_within_noise_of_the_best": sum(row["holds"] for row in named),
        "recommendations_above_the_majority": sum(row["beats_majority_there"] for row in named),
        "median_regret": float(np.median(regrets)) if regrets else None,
        "largest_regret": regrets[-1] if regrets else None,
        "nothing_recommended": len(nothing),
        "nothing_recommended_there_either": sum(row["holds"] for row in nothing),
        "unguarded_recommendations_no_better_than_the_majority": sum(row["unguarded_is_no_better"] for row in rows),
    }


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("CARRYOVER_TEST_DATA"))
    parser.add_argument("--work", type=Path, default=Path("runs/verdict"))
    parser.add_argument("--sets", default="")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--encoder", type=Path)
    options = parser.parse_args()
    known = MADE | (REAL if options.data is not None else {})
    names = [name.strip() for name in options.sets.split(",")] if options.sets else list(known)
    for name in names:
        if name not in known:
            repair = "give --data, the folder of the real sets" if name in REAL else f"use some of {','.join(known)}"
            raise UsageError(f"set {name!r} cannot be checked", repair=repair)
    began, sets = time.monotonic(), {}
    for name in names:
        one, other = compare_halves(name, known[name](options.data), options.work, options.seeds, options.encoder)
        failures = [f"{failure.cell}: {failure.message}" for failure in (*one.failures, *other.failures)]
        verdicts = judge(one, other) + judge(other, one)
        sets[name] = {"task": one.plan.task, "rungs": list(one.plan.rungs), "failures": failures, "verdicts": verdicts}
        for row in verdicts:
            print(f"{name} {row}")
        print(f"{name}: {time.monotonic() - began:.0f} s so far", file=sys.stderr)
    found = summary(sets)
    for key, value in found.items():
        print(f"{key}: {value}")
    first = heading("verdict_check")
    settings: dict[str, Any] = {"seeds": options.seeds, "encoder": options.encoder is not None}
    if options.encoder is None:
        settings |= {"fitting": FITTING, "pretraining": PRETRAINING, "vectors": VECTORS}
    stem = "verdict_check" if options.encoder is None else "verdict_check_encoder"
    write(options.out, f"{stem}-{first['date']}", {**first, "settings": settings, "summary": found, "sets": sets})


if __name__ == "__main__":
    leave(main)
