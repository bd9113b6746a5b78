"""A language model with a state that it never leaves: where it is not entered, how it is measured, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from carryover import storage
from carryover.data.batch_size import held_out_stream
from carryover.data.coding import TokenCoder
from carryover.data.shards import Shards, build_shards
from carryover.data.vocabulary import Vocabulary
from carryover.models.bilm import BiLanguageModel
from carryover.objectives.bilm import BiLanguageModelObjective, evaluate, lines_perplexity
from carryover.pretraining.pretrain import pretrain
from carryover.pretraining.soundness import clip_notes, doubts_of_figures, doubts_of_record, warnings_and_notes
from pretraining.tiny_text import tiny, write_text

LINES = ["a b c d e f g h i j k l m n"] * 60


def text(folder: Path) -> tuple[Shards, TokenCoder]:
    coder = TokenCoder("words")
    shards = build_shards(enumerate(LINES, 1), "words", folder, tokenize=coder.tokenize)
    return shards, TokenCoder("words", shards.vocabulary)


def latched(vocabulary: Vocabulary, **changes: Any) -> BiLanguageModel:
    """A model whose forward state, which no word can turn round, is what the first token makes of it: `<s>` leads to a small
    negative one, in which every word is likely, a word to the positive clip, where none is."""
    model = BiLanguageModel(
        BiLanguageModel.Config(
            vocabulary_size=len(vocabulary),
            input="words",
            projection=1,
            cells=1,
            layers=1,
            dropout=0.0,
            **changes,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.token_encoder.weight.fill_(0.3)
        model.token_encoder.weight[Vocabulary.BEGIN_ID] = -1.0
        (layer,) = model.forward_layers
        layer.bias.copy_(torch.tensor([9.0, -1.0, 0.0, 0.0]))  # i, f, g, o
        layer.input_weight[2] = 2.0
        layer.hidden_weight.copy_(torch.tensor([[0.0], [4.0], [4.0], [1.0]]))
        layer.projection_weight.fill_(6.0)
        model.output.weight.fill_(-4.0)
        model.output.weight[Vocabulary.UNKNOWN_ID] = 0.0
    return model


def test_lanes_of_held_out_text_are_as_good_as_its_lines(tmp_path: Path) -> None:
    """Lanes that began inside a line read from zeros what training only reads after `<s>`, and some of them got stuck."""
    shards, coder = text(tmp_path / "shards")
    model = latched(coder.vocabulary)
    alone = lines_perplexity(model, coder, LINES)
    found = evaluate(model, held_out_stream(shards, lanes=7, steps=2, block_tokens=200, both_ways=True))
    assert found["forward_perplexity"] == pytest.approx(alone["forward_perplexity"], rel=0.05)
    assert found["forward_clipped_share"] == found["backward_clipped_share"] == 0


def test_states_at_the_clip_are_counted(tmp_path: Path) -> None:
    shards, coder = text(tmp_path / "shards")
    stream = held_out_stream(shards, lanes=7, steps=1, block_tokens=200, both_ways=True)
    stuck = latched(coder.vocabulary)
    with torch.no_grad():
        stuck.token_encoder.weight.fill_(0.3)  # now `<s>` leads to the clip too, with the fourth token of a block
    found = evaluate(stuck, stream)
    assert 0.9 < found["forward_clipped_share"] < 1 and found["backward_clipped_share"] == 0
    state, seen = stuck.initial_state(7), [0.0, 0.0]
    for step in range(stream.steps_per_epoch()):
        _, state, figures = BiLanguageModelObjective()(stuck, stream.batch(0, 0, step), state, step_seed=0)
        seen = [seen[0] + figures["clipped_states"], seen[1] + figures["states"]]
    assert seen[0] / seen[1] == pytest.approx(found["forward_clipped_share"] / 2), "of both directions"
    free = latched(coder.vocabulary, cell_clip=None)
    assert evaluate(free, stream)["forward_clipped_share"] == 0
    (note,) = clip_notes(found)
    assert note.startswith("9") and "% of the states of the forward model are at their clip" in note


def figures(forward: float, backward: float, tokens: int = 5000) -> dict[str, Any]:
    both = (forward * backward) ** 0.5
    return {"forward_perplexity": forward, "backward_perplexity": backward, "perplexity": both, "tokens": tokens}


def test_figures_that_fit_together_raise_no_doubt() -> None:
    record = {"held_out": figures(190.0, 170.0), "heldout_check": figures(180.0, 220.0)}
    assert doubts_of_record(record) == []
    clipped = {**figures(190.0, 170.0), "forward_clipped_share": 0.2}
    assert doubts_of_figures(clipped) == [], "a small model may have clipped states and predict well"
    assert len(clip_notes(clipped)) == 1 and clip_notes({**clipped, "forward_clipped_share": 0.009}) == []
    assert [line[:5] for line in warnings_and_notes({"held_out": clipped}, False)] == ["note:"]
    assert any("clip" in doubt for doubt in doubts_of_figures({**clipped, "forward_perplexity": 2900.0}))
    assert doubts_of_figures(figures(200.0, 100.0, tokens=300)) == [], "a text of few words"


def test_figures_that_differ_by_more_than_a_third_are_told() -> None:
    first, second = doubts_of_record({"held_out": figures(2932.3, 204.88), "heldout_check": figures(192.15, 192.0)})
    assert "2932.30 forward and 204.88 backward: the forward model" in first
    assert "775.09 for the whole text and 192.07 for a sample of its lines" in second
    (only,) = doubts_of_record({"held_out": figures(100.0, 100.0), "heldout_check": figures(140.0, 140.0)})
    assert "100.00 for the whole text and 140.00" in only


def test_a_model_that_reads_on_may_be_worse_at_single_lines_only() -> None:
    running, alone = ({"perplexity": value, "bits_per_character": 2.0, "tokens": 5000} for value in (100.0, 200.0))
    assert doubts_of_record({"held_out": running, "heldout_check": alone}) == []
    (doubt,) = doubts_of_record({"held_out": alone, "heldout_check": running})
    assert "200.00 for the whole text and 100.00" in doubt


def test_a_run_stores_and_says_what_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = write_text(tmp_path / "text.txt")
    monkeypatch.setattr("carryover.pretraining.pretrain.doubts_of_record", lambda record: ["the figures differ"])
    pretrain(tiny(raw, epochs=1), tmp_path / "lm", quiet=True)
    assert capsys.readouterr().err.splitlines() == ["carryover: warning: the figures differ"]
    record = storage.read_json(tmp_path / "lm" / "record.json")
    assert record["doubts"] == ["the figures differ"]
    assert record["held_out"]["forward_clipped_share"] == record["held_out"]["backward_clipped_share"] == 0
    card = (tmp_path / "lm" / "README.md").read_text()
    assert "**Warning:** the figures differ." in card
    assert "| states at the clip, forward and backward | 0.00% and 0.00% |" in card
    log = [json.loads(line) for line in (tmp_path / "lm" / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["clipped_share"] for line in log if "loss" in line] == [0.0] * sum("loss" in line for line in log)
