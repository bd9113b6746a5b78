"""No entry point changes what a caller has set for all of PyTorch, and nothing of that changes an answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import carryover
from carryover.ambient import each_with_default_torch_state
from carryover.embeddings.vectors import WordVectors
from carryover.encoders.embed_lines import embed_lines
from carryover.layers import LSTM, check
from carryover.pretraining.pretrain import pretrain
from carryover.storage.artefact import load_artefact
from carryover.transfer.fit import CarryPlan, FitSettings, fit_task
from golden.test_artefacts import RELEASES
from pretraining.tiny_text import tiny, write_text
from task_material import examples, tagged

GOLDEN = RELEASES[-1]
SENTENCES = [["the", "boat", "sees", "Ann"], ["Zoë"], []]


@contextmanager
def default_type(wanted: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(wanted)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


AMBIENT: dict[str, Callable[[], Any]] = {
    "float64": lambda: default_type(torch.float64),
    "bfloat16": lambda: default_type(torch.bfloat16),
    "another device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "other random numbers": nullcontext,
}


def loaded(name: str) -> Any:
    return carryover.load(GOLDEN / name)


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


def fitted(mode: str) -> Any:
    settings = FitSettings(least_updates=3, epochs=1, hidden=4, word_size=4, filters=((2, 4),), evaluations=2)
    plan = CarryPlan(mode=mode)
    found = fit_task(
        "tag", examples("tag", 8), examples("tag", 4), plan=plan, encoder=loaded("bilm-characters"), settings=settings
    )
    return weights(found.predictor.model)


def pretrained(folder: Path) -> Any:
    text = write_text(folder / "text.txt", lines=30)
    out = folder / f"lm{len(list(folder.iterdir()))}"
    pretrain(
        tiny(text, epochs=1, model={"character_size": 4, "filters": ((1, 4),), "cells": 6, "projection": 4}), out, quiet=True
    )
    return weights(carryover.load(out).model)


ENTRIES: dict[str, Callable[[Path], Any]] = {
    "load bilm": lambda _: weights(loaded("bilm-words").model),
    "load lm": lambda _: weights(loaded("lm-transformer-words").model),
    "load task": lambda _: weights(loaded("task-tag-full").model),
    "load_artefact": lambda _: list(load_artefact(GOLDEN / "bilm-words").tensors.values()),
    "vectors": lambda _: WordVectors.load(GOLDEN / "vectors").array,
    "embed": lambda _: loaded("bilm-characters").embed(SENTENCES),
    "embed_lines": lambda _: [line.vectors for line in embed_lines(loaded("bilm-characters"), ["the boat", ""])],
    "ElmoEmbedder": lambda _: carryover.ElmoEmbedder(GOLDEN / "bilm-characters", pool="max")(["the boat", "Zoë"]),
    "predict": lambda _: loaded("task-classify-frozen").predict_proba(SENTENCES),
    "predictions": lambda _: [one.probabilities for one in loaded("task-tag-scratch").predictions(SENTENCES)],
    "score": lambda _: [np.array(loaded("task-tag-full").score(tagged(5))["main"])],
    "generate": lambda _: [np.array(loaded("lm-lstm-characters").generate("th", max_tokens=5).log_probability)],
    "stream": lambda _: list(loaded("lm-transformer-words").stream("the", max_tokens=5)),
    "beam_search": lambda _: [np.array(loaded("lm-lstm-characters").beam_search("a", beams=2, max_tokens=3)[0].score)],
    "fit_task scratch": lambda _: fitted("scratch"),
    "fit_task frozen": lambda _: fitted("frozen"),
    "pretrain": pretrained,
}  # fmt: skip


def surroundings() -> tuple[Any, ...]:
    return (
        torch.get_rng_state().tolist(),
        [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],  # noqa: NPY002  # the global one is meant
        random.getstate(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_autocast_enabled("cpu"),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_num_threads(),
    )


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)
    return bool(np.array_equal(one, other)) and getattr(one, "dtype", None) == getattr(other, "dtype", None)


@pytest.mark.parametrize("entry", ENTRIES)
def test_nothing_around_it_matters_and_nothing_around_it_changes(entry: str, tmp_path: Path) -> None:
    expected = ENTRIES[entry](tmp_path)
    for name, ambient in AMBIENT.items():
        torch.manual_seed(len(name))
        np.random.seed(len(name))  # noqa: NPY002
        random.seed(len(name))
        with ambient():
            before = surroundings()
            found = ENTRIES[entry](tmp_path)
            assert surroundings() == before, f"{entry} changed something under {name}"
        assert same(found, expected), f"{entry} is another under {name}"


def test_layers_are_judged_alike() -> None:
    expected = check(LSTM(3, 4))
    for ambient in (AMBIENT[name] for name in ("float64", "autocast", "inference mode", "no gradients")):
        layer = LSTM(3, 4)
        with ambient():
            before = surroundings()
            assert check(layer) == expected
            assert surroundings() == before


def test_what_was_loaded_without_gradients_can_be_trained() -> None:
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            found = loaded("bilm-words")
        assert all(parameter.requires_grad for parameter in found.model.parameters())
        torch.stack([parameter.square().sum() for parameter in found.model.parameters()]).sum().backward()


def test_vectors_can_be_trained_on() -> None:
    encoder = loaded("bilm-characters")
    head = torch.nn.Linear(encoder.model.out_size, 2)
    for vectors in (
        encoder.embed([["the", "boat"]])[0],
        encoder.embed([["the", "boat"] * 20], batch_tokens=8)[0],
        next(iter(embed_lines(encoder, ["the boat"]))).vectors,
        next(iter(embed_lines(encoder, ["the boat"], carry_rows=1))).vectors,
    ):
        assert not vectors.requires_grad
        head(vectors).sum().backward()


def test_a_caller_between_two_values_has_its_own_settings() -> None:
    seen = []
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for number in each_with_default_torch_state(torch.is_autocast_enabled("cpu") for _ in range(2)):
            seen.append((number, torch.is_autocast_enabled("cpu")))
    assert seen == [(False, True)] * 2


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predictions"])
def test_one_string_is_not_taken_letter_by_letter(method: str) -> None:
    with pytest.raises(TypeError, match="items is the string 'the boat': give a list"):
        getattr(loaded("task-classify-frozen"), method)("the boat")


def test_nor_by_the_others() -> None:
    for call in (
        lambda: loaded("lm-lstm-characters").generate_all("the", max_tokens=2),
        lambda: loaded("lm-lstm-characters").beam_search_all("the", beams=1, max_tokens=2),
        lambda: list(embed_lines(loaded("bilm-words"), "the boat")),
        lambda: loaded("bilm-words").embed("the boat"),
    ):
        with pytest.raises(TypeError, match=r"is the string 'the.*give a list"):
            call()
