"""Fork children while other threads predict; each predicts too. Prints how many of them did not come back, or came back wrong.

python fork_while_predicting.py FOLDER_OF_ARTEFACTS CHILDREN THREADS
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

import carryover
from carryover.data.coding import TokenCoder
from carryover.encoders.bilm import BidirectionalEncoder
from carryover.models.bilm import BiLanguageModel

SECONDS = 60


def ask(models: list[Any], salt: int) -> list[np.ndarray]:
    """What the models answer to sentences of words that nobody has asked for yet, and of one that is always the same."""
    strange = [[f"w{salt}-{number}" for number in range(20)], ["the", "boat"]]
    found = []
    for model in models:
        if hasattr(model, "embed"):
            found.append(model.embed(strange)[1].numpy())
        else:
            found.append(model.predict_proba(strange)[1])
    return found


def main() -> None:
    folder, children, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore")  # Python 3.12 warns of what is tried here
    torch.set_num_threads(threads)
    names = ("bilm-characters", "bilm-words", "task-classify-frozen", "task-tag-scratch")
    models = [carryover.load(folder / name) for name in names]
    torch.manual_seed(0)  # one that is large enough for compiled kernels, and has what they keep
    config = BiLanguageModel.Config.of_size("small", vocabulary_size=4)
    models.append(BidirectionalEncoder(BiLanguageModel(config), TokenCoder("characters"), {}))
    golden = ask(models, 0)
    ending = threading.Event()

    def keep_asking(first: int) -> None:
        number = first
        while not ending.is_set():
            ask(models, number)
            number += 3

    asking = [threading.Thread(target=keep_asking, args=(number,), daemon=True) for number in (1, 2, 3)]
    for thread in asking:
        thread.start()
    lost = wrong = 0
    for number in range(children):
        time.sleep(0.003 * (number % 7))
        child = os.fork()
        if not child:
            signal.alarm(SECONDS)
            same = all(
                np.allclose(one, other, atol=1e-5) for one, other in zip(ask(models, -1 - number), golden, strict=True)
            )
            os._exit(0 if same else 3)
        _, status = os.waitpid(child, 0)
        lost += os.WIFSIGNALED(status)
        wrong += os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0
    ending.set()
    for thread in asking:
        thread.join()
    print(f"{lost} lost, {wrong} wrong of {children}")


if __name__ == "__main__":
    main()
