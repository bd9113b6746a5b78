"""Peak memory of pretraining over a corpus and over one ten times as large.

The text is made up and like language in what matters here: word frequencies follow a power law without a largest word, so
ten times the text has several times the distinct words. Each size is read and pretrained on by a process of its own, the
command line itself; its own memory (`RssAnon`: what the system cannot drop) and all it had resident are looked at ten
times a second. Mapped files count as resident and not as own.

    python benchmarks/pretraining_memory.py [--tokens 3000000] [--times 10] [--seconds 40] [--out benchmarks/results]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measuring.results import command_line, heading, write

LINES = 2000
TARGET = 1.1


def spelled(number: int) -> str:
    """A pronounceable word for a rank: short for frequent ranks."""
    syllables = []
    while True:
        number, rest = divmod(number, 60)
        syllables.append("bcdfghklmnrst"[rest // 5 % 13] + "aeiou"[rest % 5])
        if number == 0:
            return "".join(syllables)
        number -= 1


def lines(tokens: int, seed: int) -> Iterator[str]:
    """About `tokens` words in lines of log-normal length."""
    draw = np.random.default_rng(seed)
    made = 0
    while made < tokens:
        lengths = np.clip(np.rint(draw.lognormal(2.9, 0.5, LINES)), 1, 150).astype(int)
        ranks = draw.zipf(1.25, lengths.sum()) % 10_000_000
        place = 0
        for length in lengths:
            yield " ".join(spelled(int(rank)) for rank in ranks[place : place + length])
            place += length
        made += int(lengths.sum())


def peak_memory(command: list[str]) -> tuple[int, int, float]:
    """Own memory and everything resident at their highest, in bytes, and seconds, of a command that must succeed."""
    started = time.perf_counter()
    own = resident = 0
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            fields = {}
            try:
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                    name, _, value = line.partition(":")
                    fields[name] = value
            except OSError:  # it has just ended
                break
            if "RssAnon" in fields:
                own = max(own, 1024 * int(fields["RssAnon"].split()[0]))
                resident = max(resident, 1024 * int(fields["VmHWM"].split()[0]))
            time.sleep(0.1)
        if process.wait() != 0:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {log.read().decode()}")
    return own, resident, time.perf_counter() - started


def run(tokens: int, times: int, seconds: float, size: str) -> dict[str, object]:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in (tokens, tokens * times):
            text = folder / f"{count}.txt"
            with text.open("w", encoding="utf-8") as file:
                for line in lines(count, seed=0):
                    file.write(line + "\n")
            out = folder / f"lm-{count}"
            own, resident, elapsed = peak_memory(
                [sys.executable, "-c", "from carryover.cli.main import run; run()", "pretrain", "--raw", str(text),
                 "--size", size, "--softmax", "adaptive", "--time-limit", f"{seconds:g}", "--out", str(out)]
            )  # fmt: skip
            corpus = json.loads((out / "record.json").read_text())["corpus"]
            rows.append(
                {
                    "tokens": corpus["tokens"],
                    "distinct_words": corpus["distinct_words"],
                    "megabytes_of_text": round(text.stat().st_size / 1e6, 1),
                    "own_mebibytes": round(own / 2**20, 1),
                    "resident_mebibytes": round(resident / 2**20, 1),
                    "seconds": round(elapsed, 1),
                }
            )
            text.unlink()
    ratio = rows[1]["own_mebibytes"] / rows[0]["own_mebibytes"]
    return {
        **heading("pretraining_memory"),
        "size": size,
        "rows": rows,
        "ratio_own": round(ratio, 3),
        "target": TARGET,
        "met": ratio <= TARGET,
    }


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--tokens", type=int, default=3_000_000)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=40, help="of training, after the text is read")
    parser.add_argument("--size", default="small")
    options = parser.parse_args()
    result = run(options.tokens, options.times, options.seconds, options.size)
    print(json.dumps(result, indent=1))
    write(options.out, f"pretraining_memory-{result['date']}", result)


if __name__ == "__main__":
    main()
