"""Speed of ELMo's vectors beside AllenNLP 2.10.1's modules, with the same weights.

Sentences are runs of words of the built-in text, of log-normal length with a mean of 20 words, some at a time or one by one.
Ours goes from sentences to all layers' vectors; the peer is given its character ids ready-made and starts from there.
Everything is interleaved in one process, batch by batch; a ratio is the median over rounds of (peer's seconds / our
seconds), with the smallest and the largest. The outputs are compared first, on the very sentences that are timed, and
nothing is reported when they disagree.

    export CARRYOVER_ALLENNLP=FOLDER      # made by pip install --no-deps --target FOLDER allennlp==2.10.1
    python benchmarks/elmo_speed.py [--rounds 5] [--threads 2] [--sizes original,small] [--rows 32,1] [--out benchmarks/results]
    python benchmarks/elmo_speed.py --rounds 2 --batches 1 --sizes small       # a quick look

Contestants
-----------
float32, bfloat16   : ours, as if no word had been seen before: each distinct word of a batch goes through the character CNN
                      once. `paths` of the result says what ran. CARRYOVER_KERNELS=off measures it without compiled kernels.
float32 seen, …     : the same where all words were seen in batches before, so that their token vectors are known. A long text
                      is between the two.
allennlp            : `_ElmoBiLm` in float32, its weights read from the files that ours exports. It has no lower precision;
                      every ratio is against this.
allennlp bfloat16   : the same module cast to bfloat16, with --peer-bfloat16; for information.

A step of one row multiplies each recurrent weight once, so its speed is that at which weights come: from memory, and from what
the last step left of them in the processor's shared cache. That is the machine's, of the day and of whoever else uses it, and
the peer, slower by other things, does not feel it. So each case tells how many gigabytes of recurrent weights a second ours
multiplied (`weights_gigabytes_per_second`), what a plain reading of memory reached between the rounds, and how much processor
time went to others meanwhile (`machine`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import h5py
import torch
from measuring.machine import MemoryReading, Watch
from peers.allennlp_modules import find_allennlp
from torch import Tensor

from carryover.data.builtin import raw_lines
from carryover.data.coding import TokenCoder
from carryover.interop.elmo.layout import from_state, options_of
from carryover.layers import CharacterCNN
from carryover.models.bilm import BiLanguageModel

TARGETS = {"original, 32 rows": (8, 15), "original, 1 row": (6, 11)}
SEEN = " seen"
OURS = ("float32", "bfloat16", "float32" + SEEN, "bfloat16" + SEEN)
TOLERANCE, LOW_COSINE = 1e-4, 0.999
READ_BYTES = 300 << 20  # many times what a cache holds
MEAN_WORDS, SPREAD = 20, 0.6
Run = Callable[[list[list[str]], Tensor], Tensor]


def sentences_of(count: int, rows: int, seed: int) -> list[list[list[str]]]:
    """Batches of sentences: runs of words from the built-in text, their lengths log-normal with a mean of 20."""
    coder, draw = TokenCoder("characters"), random.Random(seed)
    words: list[str] = []
    for line in raw_lines("builtin:pydocs/test"):
        words += coder.tokenize(line)
        if len(words) > 200_000:
            break
    location = torch.tensor(float(MEAN_WORDS)).log().item() - SPREAD**2 / 2

    def sentence() -> list[str]:
        length = min(120, max(1, round(draw.lognormvariate(location, SPREAD))))
        start = draw.randrange(len(words) - length)
        return words[start : start + length]

    return [[sentence() for _ in range(rows)] for _ in range(count)]


def peer_of(model: BiLanguageModel, find: Callable[[str], Any]) -> Any:
    """AllenNLP's module, from files with the weights of `model`."""
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("output.")}
    with tempfile.TemporaryDirectory() as folder:
        options, weights = Path(folder) / "options.json", Path(folder) / "weights.hdf5"
        options.write_text(json.dumps(options_of(model.config)))
        with h5py.File(weights, "w") as file:
            for name, array in from_state(state, model.config).items():
                file.create_dataset(name, data=array)
        return find("modules.elmo._ElmoBiLm")(str(options), str(weights)).eval()


def contestants_of(size: str, find: Callable[[str], Any], peer_bfloat16: bool) -> tuple[dict[str, Run], BiLanguageModel]:
    """The contestants by name and our model."""
    config = BiLanguageModel.Config.of_size(size, vocabulary_size=3, softmax="none")
    model = BiLanguageModel(config).eval()
    with torch.no_grad():  # gates and vectors of the size that training gives them, not of a start
        for layer in (*model.forward_layers, *model.backward_layers):
            for parameter in layer.parameters():
                parameter.mul_(2)
    coder, peer = TokenCoder("characters"), peer_of(model, find)

    def ours(low: bool) -> Run:
        def run(sentences: list[list[str]], _: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16) if low else nullcontext():
                return model.representations(coder.batch(sentences, borders=True)).values

        return run

    def allennlp(module: Any) -> Run:
        def run(_: list[list[str]], characters: Tensor) -> Tensor:
            module._elmo_lstm.reset_states()
            found = module(characters)["activations"]
            return torch.stack(found, 2)  # borders included, [B, W + 2, L + 1, 2P]

        return run

    found = {"allennlp": allennlp(peer)}
    found |= {name: ours(name.startswith("bfloat16")) for name in OURS}
    if peer_bfloat16:
        low = peer_of(model, find).bfloat16()
        found["allennlp bfloat16"] = allennlp(low)
    return found, model


def paths_of(run: Run, model: BiLanguageModel, sentences: list[list[str]], characters: Tensor) -> list[str]:
    """What the token encoder and the LSTMs ran."""
    run(sentences, characters)
    layers = (model.token_encoder, *model.forward_layers, *model.backward_layers)
    return sorted({str(getattr(layer, "last_path", None)) for layer in layers})


def characters_of(sentences: list[list[str]]) -> Tensor:
    """[B, W, 50] character ids, zeros in the padding: what the peer reads."""
    batch = TokenCoder("characters").batch(sentences, borders=False)
    assert batch.characters is not None
    return batch.characters[batch.index.values]


def differences(contestants: dict[str, Run], batches: list[list[list[str]]], ids: list[Tensor]) -> dict[str, Any]:
    """Largest differences from the peer and smallest cosine of a word's vectors; SystemExit when they are too far apart."""
    found: dict[str, Any] = {name: {"largest": 0.0, "smallest_cosine": 1.0} for name in contestants if name != "allennlp"}
    largest = 0.0
    for sentences, characters in zip(batches, ids, strict=True):
        wanted = contestants["allennlp"](sentences, characters)
        for name, told in found.items():
            got = contestants[name](sentences, characters).float()
            for row, sentence in enumerate(sentences):
                want = wanted[row, 1 : len(sentence) + 1]
                have = got[row, 1 : len(sentence) + 1] if name.startswith("allennlp") else got[row, : len(sentence)]
                largest = max(largest, float(want.abs().max()))
                cosine = float(torch.cosine_similarity(want, have, dim=-1).min())
                told["largest"] = max(told["largest"], float((want - have).abs().max()))
                told["smallest_cosine"] = min(told["smallest_cosine"], cosine)
    for name, told in found.items():
        low = "bfloat16" in name
        if not (told["smallest_cosine"] >= LOW_COSINE if low else told["largest"] <= TOLERANCE * max(1, largest)):
            raise SystemExit(f"{name} and allennlp disagree: {told}; nothing is reported")
    return {"largest_value": largest, **found}


def measure(
    contestants: dict[str, Run],
    batches: list[list[list[str]]],
    ids: list[Tensor],
    rounds: int,
    clock: Callable[[], float],
    forget: Callable[[], None],
    between: Callable[[], None],
) -> dict[str, list[float]]:
    """Seconds of each round for each contestant; within a round every batch goes through all of them in turn.

    `between` is called before each round.
    """
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        spent = dict.fromkeys(names, 0.0)
        between()
        for place, (sentences, characters) in enumerate(zip(batches, ids, strict=True)):
            shift = (number + place) % len(names)
            for name in names[shift:] + names[:shift]:
                if not name.endswith(SEEN):
                    forget()
                elif name in OURS:
                    contestants[name](sentences, characters)  # now they are seen
                started = clock()
                contestants[name](sentences, characters)
                spent[name] += clock() - started
        if number:  # the first round warms up
            for name in names:
                seconds[name].append(spent[name])
    return seconds


def weight_bytes(model: BiLanguageModel, name: str) -> int:
    """Bytes of recurrent weights and projections that a step of both directions multiplies."""
    layers = [layer.weights() for layer in (*model.forward_layers, *model.backward_layers)]  # type: ignore[operator]
    numbers = sum(layer.hidden.numel() + layer.projection.numel() for layer in layers)
    return (2 if name.startswith("bfloat16") else 4) * numbers


def rates(model: BiLanguageModel, seconds: dict[str, list[float]], words: int) -> dict[str, dict[str, float]]:
    """Gigabytes of recurrent weights that ours multiplied a second, one row at a time."""
    return {name: spread([weight_bytes(model, name) * words / took / 1e9 for took in seconds[name]]) for name in OURS}


def spread(values: list[float]) -> dict[str, float]:
    return {name: round(of(values), 2) for name, of in (("median", statistics.median), ("lowest", min), ("highest", max))}


def ratio(seconds: dict[str, list[float]], ours: str) -> dict[str, float]:
    return spread([peer / own for peer, own in zip(seconds["allennlp"], seconds[ours], strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=None, help="batches a round; by default 2 of many rows, 12 of one")
    parser.add_argument("--sizes", default="original,small")
    parser.add_argument("--rows", default="32,1", help="sentences in a batch")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer-bfloat16", action="store_true", help="also AllenNLP's module cast to bfloat16")
    parser.add_argument("--cpu-time", action="store_true", help="processor time: with one thread, on a machine others use")
    parser.add_argument("--out", type=Path, default=None, help="folder for the dated result file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    find = find_allennlp()
    if find is None:
        print("allennlp is absent and there is nothing to compare with: set CARRYOVER_ALLENNLP", file=sys.stderr)
        return
    clock = time.process_time if options.cpu_time else time.perf_counter
    load_before, cases, memory = os.getloadavg()[0], {}, MemoryReading(READ_BYTES)
    with torch.inference_mode():
        for size in options.sizes.split(","):
            torch.manual_seed(options.seed)
            with torch.inference_mode(False):  # as loaded: for inference tensors nothing is prepared once
                contestants, model = contestants_of(size, find, options.peer_bfloat16)
            encoder = cast(CharacterCNN, model.token_encoder)
            for rows in map(int, options.rows.split(",")):
                batches = sentences_of(options.batches or (2 if rows > 1 else 12), rows, options.seed + rows)
                ids = [characters_of(sentences) for sentences in batches]
                told = differences(contestants, batches, ids)
                read: list[float] = []
                between = partial(lambda read: read.append(memory()), read)
                with Watch() as watch:
                    seconds = measure(contestants, batches, ids, options.rounds, clock, encoder.forget_words, between)
                words = sum(len(sentence) for sentences in batches for sentence in sentences)
                distinct = sum(len({word for sentence in sentences for word in sentence}) for sentences in batches)
                name = f"{size}, {rows} row{'s' if rows > 1 else ''}"
                cases[name] = {
                    "words": words,
                    "distinct_in_their_batch": distinct,
                    "paths": {ours: paths_of(contestants[ours], model, batches[0], ids[0]) for ours in OURS},
                    "differences": told,
                    "words_per_second": {name: round(words / statistics.median(times)) for name, times in seconds.items()},
                    **({"weights_gigabytes_per_second": rates(model, seconds, words)} if rows == 1 else {}),
                    "machine": {"memory_gigabytes_per_second": spread(read), **watch.found},
                    "ratios": {ours: ratio(seconds, ours) for ours in contestants if ours != "allennlp"},
                }
                print(f"{name}: {json.dumps(cases[name])}", flush=True)
    result = {
        "schema": "carryover.benchmark.elmo_speed/1",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "clock": "processor time" if options.cpu_time else "elapsed time",
        "load_before": round(load_before, 2),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "allennlp": "2.10.1"},
        "threads": torch.get_num_threads(),
        "settings": {"rounds": options.rounds, "seed": options.seed, "mean_words": MEAN_WORDS, "spread": SPREAD},
        "cases": cases,
        "targets": {name: {"float32": low, "bfloat16": high} for name, (low, high) in TARGETS.items()},
    }
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / f"elmo_speed-{datetime.now(UTC):%Y-%m-%d}-threads{torch.get_num_threads()}.json"
        path.write_text(json.dumps(result, indent=2) + "\n")
        print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
