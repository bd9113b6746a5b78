"""Training a task from labelled examples, by any plan of carrying over, continued exactly where it was killed.

How long: `epochs` over large data, but never fewer than `least_updates` updates, so that fifty sentences train long enough;
the score on the held-out examples decides which weights are kept and, with `patience`, when nothing more is to be expected. Examples held out
come out of the caller's budget: nothing else is looked at.

The updates are those of the one training loop (`carryover.training.loop`): a run that is killed continues to the bit.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence as ListOf
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import carryover
from carryover.ambient import default_torch_state
from carryover.data.coding import TokenCoder
from carryover.data.order import random_bits
from carryover.encoders.encoder import Encoder
from carryover.encoders.proof import CarryProof
from carryover.encoders.vector_cache import RepresentationCache
from carryover.errors import BadData, check_choice
from carryover.progress import say
from carryover.tasks import TASKS
from carryover.tasks.heads import build_head
from carryover.training.loop import LoopResult, TrainingLoop
from carryover.training.run_folder import RunFolder
from carryover.training.stopping import StopRequest
from carryover.transfer.fitting import Fitting, Part
from carryover.transfer.initial_encoder import InitialModel, Vectors, build_initial_model, check_material, with_new_tensors
from carryover.transfer.learners import check_input, usual_settings
from carryover.transfer.plan import CarryPlan
from carryover.transfer.predictor import TaskModel, TaskPredictor, state_size
from carryover.transfer.settings import FitSettings

__all__ = ["CarryPlan", "CarryProof", "FitResult", "FitSettings", "fit_task"]


@dataclass(frozen=True)
class FitResult:
    """What training gave. `parameters` counts the whole model, `trainable` what was trained at any time.

    `dev_score` is the score of the kept weights on the held-out examples, None without any. `stopped_by` is "updates",
    "patience" or "time limit".
    """

    predictor: TaskPredictor
    dev_score: dict[str, Any] | None
    epochs_run: float
    seconds: float
    parameters: int
    trainable: int
    proof: CarryProof
    updates: int
    stopped_by: str


@default_torch_state(gradients=True)
def fit_task(
    kind: str,
    train: ListOf[Any],
    dev: ListOf[Any],
    *,
    plan: CarryPlan,
    encoder: Encoder | None = None,
    vectors: Vectors | None = None,
    settings: FitSettings | None = None,
    device: str = "cpu",
    folder: RunFolder | None = None,
    quiet: bool = True,
    labels: ListOf[str] | None = None,
    stop: StopRequest | None = None,
    cache_folder: Path | None = None,
) -> FitResult:
    """Train a task on `train`; `dev` (may be empty) chooses when to stop and which weights to keep.

    `kind` is "classify" (the inputs of the examples are `Text`) or "tag" (`Words`). `encoder` is that of the
    modes that carry one over and stays as it is; `vectors` are a vocabulary and one row a word for the mode static.
    `labels` are all labels there are, where `train` and `dev` may lack some. With `folder` the same call
    continues after an interruption; `stop` is looked at after every update then. The caller's random state is left alone.

    Raises UsageError when plan and material do not fit, BadData when the examples cannot be learned from or the proof of
    the carrying over fails, TrainingFailed on a loss that is not finite.
    """
    check_choice("task", kind, TASKS)
    if not train:
        raise BadData("there is no labelled example to train on", repair="give at least a few for each label")
    if encoder is not None and plan.uses_encoder:
        check_input(encoder, [*train, *dev])
    settings = (settings or FitSettings()).resolve(plan, usual_settings(kind, plan, encoder, train))
    check_material(plan, encoder, vectors)
    began = time.monotonic()
    with torch.random.fork_rng(devices=[device] if torch.device(device).type == "cuda" else []):
        beginning, model, sentences = _first_model(kind, train, dev, plan, settings, encoder, vectors, labels, device)
        own, head = beginning.encoder, model.head
        ready = None
        if (fixed := own.to_cache()) is not None:
            fixed.model.eval()
            ready = RepresentationCache(fixed, folder=cache_folder).get(sentences, quiet=quiet)
        split = len(train) * head.task.sentences_of_one
        fitting = Fitting(
            model,
            plan,
            settings,
            train=Part.of(head, train, sentences[:split], None if ready is None else ready.part(0, split)),
            dev=Part.of(head, dev, sentences[split:], None if ready is None else ready.part(split, len(sentences))),
            identity={"language model": own.fingerprint()[:16]},
            quiet=quiet,
        )
        proof = with_new_tensors(beginning.proof, len(model.state_dict()))
        if not quiet:
            for line in proof.lines():
                say(line)
        loop = TrainingLoop(fitting.job(), fitting.loop_settings(), folder, stop=stop, quiet=quiet)
        ended = loop.run()
        fitting.keeper.put_back()
    return _result(fitting, ended, beginning, proof, encoder, time.monotonic() - began)


def _first_model(
    kind: str,
    train: ListOf[Any],
    dev: ListOf[Any],
    plan: CarryPlan,
    settings: FitSettings,
    encoder: Encoder | None,
    vectors: Vectors | None,
    labels: ListOf[str] | None,
    device: str,
) -> tuple[InitialModel, TaskModel, list[Any]]:
    """The model before the first update, and all sentences of all examples in their order."""
    torch.manual_seed(int(random_bits(1, settings.seed, 0)[0] >> np.uint64(1)))
    task_class = TASKS[kind]
    known = tuple(labels) if labels is not None else task_class.labels_of([*train, *dev])
    tokenize = encoder.tokenize if encoder is not None and plan.uses_encoder else TokenCoder("words").tokenize
    sentences = [one for example in (*train, *dev) for one in task_class.sentences(example, tokenize)]
    split = len(train) * task_class.sentences_of_one
    beginning = build_initial_model(plan, settings, sentences[:split], encoder=encoder, vectors=vectors, device=device)
    own = beginning.encoder
    context = settings.hidden if plan.has_context else 0
    gold = [task_class.gold(example) for example in (*train, *dev)]
    automatic = settings.metric == "auto"
    metric = task_class.metric_of(gold, multi_label=settings.multi_label) if automatic else settings.metric
    options = {**settings.task_options(), "metric": metric}
    head = build_head(task_class.of(known, options), state_size(own, context), options)
    head.begin(gold[: len(train)])
    if settings.class_weights == "balanced":
        head.balance(gold[: len(train)])
    return beginning, TaskModel(own, head, context_size=context).to(device), sentences


def count_parameters(
    kind: str,
    train: ListOf[Any],
    dev: ListOf[Any],
    *,
    plan: CarryPlan,
    settings: FitSettings,
    encoder: Encoder | None = None,
    vectors: Vectors | None = None,
    device: str = "cpu",
) -> tuple[int, int]:
    """Parameters of the model that `fit_task` trains with these arguments, and how many of them it trains."""
    settings = settings.resolve(plan, usual_settings(kind, plan, encoder, train))
    with torch.random.fork_rng(devices=[device] if torch.device(device).type == "cuda" else []):
        _, model, sentences = _first_model(kind, train, dev, plan, settings, encoder, vectors, None, device)
        split = len(train) * model.head.task.sentences_of_one
        parts = {"train": (train, sentences[:split]), "dev": (dev, sentences[split:])}
        given = {name: Part.of(model.head, examples, own, None) for name, (examples, own) in parts.items()}
        fitting = Fitting(model, plan, settings, **given, identity={}, quiet=True)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return parameters, sum(parameter.numel() for parameter in fitting.trained.values())


def _result(
    fitting: Fitting,
    ended: LoopResult,
    beginning: InitialModel,
    proof: CarryProof,
    encoder: Encoder | None,
    seconds: float,
) -> FitResult:
    proof = replace(proof, moved=beginning.moved())
    if not fitting.quiet and proof.moved:
        say(proof.lines()[-1])
    state, kept, model = ended.state, fitting.keeper, fitting.model
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trainable = sum(parameter.numel() for parameter in fitting.trained.values())
    epochs = fitting.epochs_after(state.step)
    record: dict[str, Any] = {
        "schema": "carryover.task-record/1",
        "task": model.head.task.name,
        "seed": fitting.settings.seed,
        "plan": fitting.plan.to_json(),
        "settings": fitting.settings.to_json(),
        "train_examples": len(fitting.train),
        "dev_examples": len(fitting.dev),
        "identity": fitting.identity,
        "proof": proof.to_json(),
        "proof_lines": proof.lines(),
        "mix": {
            place: {"scale": float(mix.scale.detach()), "shares": mix.shares().detach().tolist()}
            for place, mix in model.mixtures().items()
        },
        "dev_score": kept.score,
        "updates": state.step,
        "kept_update": kept.update,
        "epochs": epochs,
        "stopped_by": ended.stopped_by,
        "seconds": state.seconds,
        "parameters": parameters,
        "trainable": trainable,
        "history": kept.history,
        "versions": {
            "carryover": carryover.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    if encoder is not None and fitting.plan.uses_encoder:
        names = ("corpus", "held_out", "heldout_check", "seed", "size")
        record["language_model"] = {name: encoder.record[name] for name in names if name in encoder.record}
    predictor = TaskPredictor(model, record)
    return FitResult(predictor, kept.score, epochs, seconds, parameters, trainable, proof, state.step, ended.stopped_by)
