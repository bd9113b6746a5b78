"""From raw text to text that is written: pretraining with the objective lm, its artefact, and what it writes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import carryover
from carryover import Sequence
from carryover.data.stream import LanguageModelBatch, LanguageModelStream
from carryover.data.vocabulary import Vocabulary
from carryover.encoders.text_generator import TextGenerator
from carryover.encoders.text_of_ids import IncrementalDecoder, TextUntilStop
from carryover.errors import BadData, UsageError
from carryover.generation import Sampling
from carryover.objectives.next_token import NextTokenObjective, lines_next_token
from carryover.pretraining.evaluation import evaluate_pretrained
from carryover.pretraining.pretrain import pretrain
from carryover.pretraining.recipes import build_objective
from carryover.pretraining.settings import PretrainSettings
from carryover.training.loop import TrainingLoop
from carryover.training.stopping import Interrupted
from pretraining.tiny_text import write_text

INPUTS = ("characters", "words", "subwords")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


def tiny(raw: Path, **changes: Any) -> PretrainSettings:
    settings: dict[str, Any] = {
        "raw": raw,
        "objective": "lm",
        "size": "tiny",
        "model": {"size": 8, "cells": 12, "heads": 2, "horizon": 12},
        "vocabulary_size": 300,
        "batch_size": 4,
        "steps": 15,
        "block_tokens": 200,
        "epochs": 2,
        "log_steps": 5,
        "learning_rate": 0.02,
        "seed": 11,
        "device": "cpu",
    }
    return PretrainSettings(**{**settings, **changes})


@pytest.fixture(scope="module")
def writers(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextGenerator]:
    found = {}
    for name in INPUTS:
        out = tmp_path_factory.mktemp("lm") / name
        pretrain(tiny(text, input=name), out, quiet=True)
        found[name] = carryover.load(out)
    return found


@pytest.mark.parametrize("name", INPUTS)
def test_it_is_trained_stored_and_measured_again(writers: dict[str, TextGenerator], name: str) -> None:
    writer = writers[name]
    assert isinstance(writer, TextGenerator) and writer.folder is not None
    held_out, check = writer.record["held_out"], writer.record["heldout_check"]
    assert 1 < held_out["perplexity"] < len(writer.coder.vocabulary)
    lines = writer.heldout
    assert lines_next_token(writer.model, writer.coder, lines) == pytest.approx(check)
    characters = sum(len(line) + 1 for line in lines)
    nats = math.log(check["perplexity"]) * check["tokens"]
    assert check["bits_per_character"] == pytest.approx(nats / math.log(2) / characters)
    card = (writer.folder / "README.md").read_text()
    assert "carryover generate" in card and f"{held_out['bits_per_character']:.4f}" in card


def test_held_out_characters_are_those_of_the_text(text: Path, tmp_path: Path) -> None:
    valid = tmp_path / "valid.txt"
    valid.write_text("the boat\n\n   \n  Zoë runs . \n")
    result = pretrain(tiny(text, valid=valid, epochs=1), tmp_path / "lm", quiet=True)
    held_out = result.record["held_out"]
    assert held_out["tokens"] == len(valid.read_text()) and held_out["lines"] == 4
    assert held_out["bits_per_character"] == pytest.approx(math.log2(held_out["perplexity"]))
    (again,) = evaluate_pretrained(carryover.load(tmp_path / "lm"), tmp_path / "lm", [valid])["files"]
    assert again["bits_per_character"] == pytest.approx(held_out["bits_per_character"])


def test_code_is_learned_with_its_indentation_and_blank_lines(tmp_path: Path) -> None:
    """A folder of two-line functions: what is written has their shape, though every line stands in it fifty times."""
    (tmp_path / "code" / "below").mkdir(parents=True)
    for number in range(25):
        code = "def f(x):\n    return x\n\n\ndef g(x):\n    return x\n"
        (tmp_path / "code" / "below" / f"{number}.py").write_text(code)
    wanted = tiny(tmp_path / "code", epochs=40, batch_size=2, steps=40, model={"size": 24, "cells": 32})
    result = pretrain(wanted, tmp_path / "lm", quiet=True)
    assert result.held_out < 1.5 and result.record["held_out"]["text"] == "passages of the same text"
    writer = carryover.load(tmp_path / "lm")
    written = writer.generate("def f(x):", max_tokens=30, across_lines=True).text
    assert written.startswith("\n    return x\n\n"), written


@pytest.mark.parametrize("stack", ["lstm", "gru", "tcn", "transformer"])
def test_resumed_equals_uninterrupted(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: str) -> None:
    model = {"stack": stack, "size": 8, "cells": 12, "heads": 2, "horizon": 12, "dropout": 0.2}
    wanted = tiny(text, model=model, epochs=1)
    pretrain(wanted, tmp_path / "whole", quiet=True)
    step = TrainingLoop._one_step

    def stop_early(loop: TrainingLoop, number: int) -> dict[str, float]:
        if number == 6:
            loop.stop.pending = Interrupted
        return step(loop, number)

    monkeypatch.setattr(TrainingLoop, "_one_step", stop_early)
    with pytest.raises(Interrupted):
        pretrain(wanted, tmp_path / "cut", quiet=True)
    monkeypatch.undo()
    assert pretrain(wanted, tmp_path / "cut", quiet=True).resumed_from == 7
    bits = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert bits[0] == bits[1]


def test_no_backward_direction_is_made_and_nothing_is_changed_by_that(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []
    batch = LanguageModelStream.batch

    def watched(stream: LanguageModelStream, seed: int, epoch: int, step: int) -> LanguageModelBatch:
        found = batch(stream, seed, epoch, step)
        made.append(found.backward is not None)
        return found

    monkeypatch.setattr(LanguageModelStream, "batch", watched)
    weights, records = [], []
    for name, both_ways in (("alone", False), ("both", True)):
        monkeypatch.setattr(NextTokenObjective, "both_ways", both_ways)
        records.append(pretrain(tiny(text, epochs=1), tmp_path / name, quiet=True).record["held_out"])
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
        evaluate_pretrained(carryover.load(tmp_path / name), tmp_path / name, [text])
        assert made and set(made) == {both_ways}
        made.clear()
    assert weights[0] == weights[1] and records[0] == records[1]


def test_the_usual_run_reads_forward_only() -> None:
    assert not build_objective("lm").both_ways and build_objective("bilm").both_ways


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("prompt", ["", "the", "the old ", "one line\nthe", "the\n"])
def test_what_streams_is_what_is_generated(writers: dict[str, TextGenerator], name: str, prompt: str) -> None:
    writer = writers[name]
    options: dict[str, Any] = {"max_tokens": 30, "sampling": Sampling(top_k=10), "seed": 4, "across_lines": True}
    pieces = list(writer.stream(prompt, **options))
    whole = writer.generate(prompt, **options)
    assert "".join(pieces) == whole.text and len(pieces) > 5
    assert whole.ended == "length" and whole.tokens == 30
    assert not any(sign in whole.text for sign in ("<s>", "</s>", "<unk>", "<pad>"))
    assert writer.generate(prompt, **{**options, "seed": 5}) != whole


@pytest.mark.parametrize("name", ["characters", "subwords"])
def test_text_comes_back_exactly(writers: dict[str, TextGenerator], name: str) -> None:
    writer = writers[name]
    for line in [*writer.heldout, "Zoë runs", "1917 , the river", "e", "😀 naïve", "don't stop, e.g. (Zoë's)!"]:
        prompt = writer.encode(line)
        if not prompt.unknown:
            pieces = IncrementalDecoder(writer.coder, "")
            assert "".join(pieces.add(number) for number in prompt.ids[1:]) + pieces.rest() == line
    assert writer.encode("the river").unknown == 0


@pytest.mark.parametrize("name", ["words", "subwords"])
def test_spaces_are_kept_where_asked_for(tmp_path: Path, name: str) -> None:
    code = ["def f(x):", "    if  x:\t# why?", "        return x", "", "", "\tend ", "\\item  $a_{1}$ </s>"]
    (tmp_path / "code.py").write_text("".join(f"{line}\n" for line in code * 40))
    plain = tiny(tmp_path / "code.py", input=name, epochs=20, model={"size": 24, "cells": 32}, vocabulary_size=330)
    kept = replace(plain, keep_spaces=True)
    assert "keep_spaces" not in plain.to_json() and kept.to_json()["keep_spaces"] is True
    pretrain(kept, tmp_path / "kept", quiet=True)
    writer = carryover.load(tmp_path / "kept")
    for text in ["\n".join(code), "    if  x:\t#", "", "return x", "\n\n        "]:
        prompt = writer.encode(text)
        assert prompt.unknown == 0 and writer.decode(prompt.ids) == text
    how: dict[str, Any] = {"max_tokens": 25, "across_lines": True}
    written = writer.generate("def f(x):", **how).text
    assert written.startswith("\n    if  x:\t# why?\n        return x\n\n\n"), written
    assert "".join(writer.stream("def f(x):", **how)) == written
    assert writer.generate("def f(x):\n", max_tokens=3).text.startswith("    if  ")
    stored = json.loads((tmp_path / "kept" / "tokenizer.json").read_text())
    assert stored["tokenizer"]["kind"] == "spaced"
    with pytest.raises(UsageError, match="keep_spaces"):
        pretrain(plain, tmp_path / "kept", quiet=True)


@pytest.mark.parametrize("changes", [{"objective": "bilm", "model": {}}, {"input": "characters"}])
def test_spaces_are_kept_only_where_they_would_be_lost(text: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="keep_spaces is for words or subwords of the objective lm"):
        tiny(text, **{"input": "words", "keep_spaces": True, **changes})


def test_a_character_model_takes_any_text_and_counts_what_it_does_not_know(writers: dict[str, TextGenerator]) -> None:
    writer = writers["characters"]
    assert writer.encode("the 日本").unknown == 2
    assert len(writer.generate("日本 ", max_tokens=5, min_tokens=5, sampling=Sampling()).text) == 5
    assert writers["words"].encode("the unheard-of boat").unknown == 1


def test_a_line_ends_the_text_unless_it_goes_on(writers: dict[str, TextGenerator]) -> None:
    writer = writers["words"]
    found = writer.generate("the", max_tokens=200, sampling=Sampling(), seed=1)
    assert found.ended == "line" and "\n" not in found.text
    longer = writer.generate("the", max_tokens=200, sampling=Sampling(), seed=1, across_lines=True)
    assert longer.text.startswith(found.text + "\n") and longer.text.count("\n") > 2 and longer.tokens == 200
    assert writer.generate("the", max_tokens=40, min_tokens=35, sampling=Sampling()).tokens >= 35


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("prompt", ["the", "a boat\nthe", "a" * 254 + "\nthe", "a" * 255 + "\nthe", "a\n"])
def test_after_the_end_of_a_line_the_begin_of_the_next_is_read(
    writers: dict[str, TextGenerator], name: str, prompt: str
) -> None:
    writer = writers[name]
    found = writer.generate(prompt, max_tokens=150, sampling=Sampling(), seed=2, across_lines=True)
    assert found.text.count("\n") >= 1
    ids = writer.encode(prompt + found.text).ids
    made = [place for place in range(len(writer.encode(prompt).ids), len(ids)) if ids[place] != Vocabulary.BEGIN_ID]
    if name == "characters":  # the other kinds may cut the same text in another way
        assert len(made) == found.tokens
        with torch.inference_mode():
            logs = torch.log_softmax(writer.model(Sequence.of(torch.tensor([ids]))).values[0].double(), -1)
        nats = sum(float(logs[place - 1, ids[place]]) for place in made)
        assert found.log_probability == pytest.approx(nats, rel=1e-4)


def test_beams_find_what_is_at_least_as_likely_as_the_greedy(writers: dict[str, TextGenerator]) -> None:
    writer = writers["words"]
    greedy = writer.generate("the", max_tokens=30)
    found = writer.beam_search("the", beams=6, best=3, max_tokens=30)
    assert len({one.text for one in found}) == 3 and found[0].log_probability >= greedy.log_probability - 1e-6
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_wrong_limits_are_told_before_anything_is_written(writers: dict[str, TextGenerator]) -> None:
    with pytest.raises(UsageError, match="max_tokens is 0"):
        writers["words"].stream("the", max_tokens=0)


def test_what_does_not_go_with_this_objective(text: Path, tmp_path: Path) -> None:
    for changes, says in (
        ({"softmax": "adaptive", "model": {"tied": True}}, "make tied false"),
        ({"size": "original"}, "use one of tiny, small"),
        ({"model": {"stack": "transformer", "horizon": None}}, "grows with the text"),
        ({"model": {"projection": 4}}, "unknown field 'projection'"),
    ):
        with pytest.raises(UsageError, match=says):
            pretrain(tiny(text, **changes), tmp_path / "lm", quiet=True)
        assert not (tmp_path / "lm").exists()


def test_parts_that_disagree_are_refused(writers: dict[str, TextGenerator]) -> None:
    from dataclasses import replace

    from carryover.storage.artefact import load_artefact

    assert writers["words"].folder and writers["characters"].folder
    words, characters = (load_artefact(folder) for folder in (writers["words"].folder, writers["characters"].folder))
    with pytest.raises(BadData, match=r"tokenizer\.json has characters"):
        TextGenerator.from_artefact(replace(words, tokenizer=characters.tokenizer))
    with pytest.raises(BadData, match="asks for"):
        TextGenerator.from_artefact(replace(words, config={**words.config, "layers": 10**9}))
    with pytest.raises(BadData, match="asks for"):
        TextGenerator.from_artefact(replace(words, config={**words.config, "cells": 10**7}))


@pytest.mark.parametrize("name", INPUTS)
def test_prompts_side_by_side_are_what_they_are_alone(writers: dict[str, TextGenerator], name: str) -> None:
    writer, prompts = writers[name], ["the", "", "a boat sinks slowly under\nold"]
    how: dict[str, Any] = {"max_tokens": 12, "sampling": Sampling(top_k=5), "across_lines": True}
    together = writer.generate_all(prompts, seeds=[4, 5, 6], **how)
    assert [one.text for one in together] == [writer.generate(p, seed=4 + n, **how).text for n, p in enumerate(prompts)]
    beams = writer.beam_search_all(prompts, beams=3, best=2, max_tokens=12)
    assert [[one.text for one in row] for row in beams] == [
        [one.text for one in writer.beam_search(prompt, beams=3, best=2, max_tokens=12)] for prompt in prompts
    ]
    assert writer.generate_all([], max_tokens=3) == [] == writer.beam_search_all([], beams=1, max_tokens=3)


@pytest.mark.parametrize(("name", "stop"), [("characters", "b"), ("words", "boat"), ("subwords", ".")])
def test_a_text_ends_before_a_stop_token(writers: dict[str, TextGenerator], name: str, stop: str) -> None:
    writer = writers[name]
    how: dict[str, Any] = {"max_tokens": 200, "sampling": Sampling(), "across_lines": True, "seed": 2}
    whole, cut = writer.generate("the", **how), writer.generate("the", stop=[stop], **how)
    assert stop in whole.text and stop not in cut.text and cut.ended == "stop"
    assert whole.text.startswith(cut.text) and whole.text[len(cut.text) :].lstrip().startswith(stop)
    assert "".join(writer.stream("the", stop=[stop], **how)) == cut.text
    line_ends = writer.generate("the", stop=["\n"], **how)
    assert line_ends == writer.generate("the", **{**how, "across_lines": False}) and line_ends.ended == "line"
    if name == "subwords":  # of bytes, if need be: nothing is beyond them
        assert writer.stop_texts(["日 本"]) == ["日 本"]
        return
    with pytest.raises(UsageError, match=f"this model writes {name} and cannot write '日 本'"):
        writer.stream("the", stop=["日 本"], **how)


@pytest.mark.parametrize("name", ["characters", "words", "subwords"])
def test_a_text_ends_before_a_text_of_several_tokens(writers: dict[str, TextGenerator], name: str) -> None:
    writer = writers[name]
    how: dict[str, Any] = {"max_tokens": 150, "sampling": Sampling(), "across_lines": True}
    wholes = [writer.generate("the", seed=seed, **how).text for seed in (1, 2)]
    stop = wholes[0][40:52]  # from the midst of a word on, over a space
    assert len(stop) == 12 and not writer.stop_ids([stop])
    try:
        assert writer.stop_texts([stop]) == [stop]
    except UsageError:  # a part of a word is none that a model of words knows
        stop = next(" ".join(words[1:3]) for line in wholes[0][20:].split("\n") if len(words := line.split()) > 3)
    cut = writer.generate_all(["the", "the"], seeds=[1, 2], stop=[stop, "\n\n\n"], **how)
    for seed, whole, one in zip((1, 2), wholes, cut, strict=True):
        assert one.text == whole.partition(stop)[0]
        assert one.ended == ("stop" if stop in whole else "length")
        assert "".join(writer.stream("the", seed=seed, stop=[stop], **how)) == one.text
    assert cut[0].ended == "stop" and cut[0].tokens < 150
    at_least = writer.generate("the", seed=1, stop=[stop], min_tokens=149, **how)
    assert at_least.text.startswith(cut[0].text + stop[:1])


def test_a_beam_ends_before_a_text_of_several_tokens(writers: dict[str, TextGenerator]) -> None:
    writer = writers["characters"]
    how: dict[str, Any] = {"beams": 4, "best": 4, "max_tokens": 40}
    whole = writer.beam_search("the", min_tokens=12, **how)[0].text
    stop = whole[4:7]
    assert writer.stop_texts([stop]) == [stop]
    cut = writer.beam_search("the", min_tokens=3, stop=[stop], **how)
    assert not any(stop in one.text for one in cut) and {one.ended for one in cut} >= {"stop"}
    start = len(writer.encode("the").ids)
    for one in cut:
        ids = writer.encode("the" + one.text + (stop if one.ended == "stop" else "")).ids
        ids += [Vocabulary.END_ID] * (one.ended == "line")
        with torch.inference_mode():
            logs = torch.log_softmax(writer.model(Sequence.of(torch.tensor([ids]))).values[0].double(), -1)
        nats = sum(float(logs[place - 1, ids[place]]) for place in range(start, len(ids)))
        assert one.log_probability == pytest.approx(nats, rel=1e-4)
        assert one.tokens == len(ids) - start - (one.ended == "line") >= 3
    late = writer.beam_search("the", min_tokens=12, stop=[stop], **how)
    assert all(one.tokens >= 12 for one in late)


def test_what_may_become_a_stop_is_held_back(writers: dict[str, TextGenerator]) -> None:
    writer = writers["characters"]
    ids = {letter: writer.stop_ids([letter])[0] for letter in "the"}
    written = TextUntilStop(writer.coder, "", ["tet", "hh"])
    seen = []
    for letter in "hteth":
        written.add(ids[letter])
        seen.append(written.text)
        if written.stopped:
            break
    assert seen == ["", "h", "h", "h"] and written.stopped
    written.end()
    assert written.text == "h"
    open_end = TextUntilStop(writer.coder, "", ["tet"])
    for letter in "hte":
        open_end.add(ids[letter])
    assert open_end.text == "h"
    open_end.end()
    assert open_end.text == "hte" and not open_end.stopped
