"""Carrying over: what is loaded, frozen, let go, and how it is proved."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from carryover.encoders.encoder import LayerGroup
from carryover.encoders.proof import CarryProof, carry_weights, distances_moved, measure_again
from carryover.errors import BadData, UsageError
from carryover.transfer.plan import MODES, CarryPlan, Thaw, parameter_groups, tuned_groups
from carryover.transfer.trainable_encoders import MixedEncoder
from task_material import language_model


def test_wrong_plans_are_named() -> None:
    with pytest.raises(UsageError, match="mode 'frozn' is unknown; did you mean 'frozen'"):
        CarryPlan(mode="frozn")
    for options in ({"top": 0}, {"layer_rate_decay": 0.0}, {"layer_rate_decay": 1.5}, {"unfreezing_share": 0.9}):
        with pytest.raises(UsageError, match=next(iter(options))):
            CarryPlan(**options)
    with pytest.raises(UsageError, match="top-k with 4 layers, but the pretrained model has 3"):
        tuned_groups(CarryPlan(mode="top-k", top=4), language_model().groups())


def test_layers_hold_every_parameter_once() -> None:
    encoder = language_model()
    model, layers = encoder.model, encoder.groups()
    assert [(layer.name, layer.depth) for layer in layers] == [("layer 2", 1), ("layer 1", 2), ("tokens", 3)]
    held = [id(parameter) for layer in layers for parameter in layer.parameters.values()]
    wanted = [id(parameter) for name, parameter in model.named_parameters() if not name.startswith("output.")]
    assert sorted(held) == sorted(wanted) and len(set(held)) == len(held)


def test_tuned_layers_of_each_mode() -> None:
    groups = language_model().groups()
    names = {mode: [layer.name for layer in tuned_groups(CarryPlan(mode=mode, top=2), groups)] for mode in MODES}
    assert names == {
        "scratch": [], "static": [], "frozen": [], "head": [],
        "top-k": ["layer 2", "layer 1"], "full": ["layer 2", "layer 1", "tokens"],
    }  # fmt: skip


def free_layers(layers: list[LayerGroup]) -> list[str]:
    return [layer.name for layer in layers if all(p.requires_grad for p in layer.parameters.values())]


def test_layers_thaw_one_by_one() -> None:
    encoder = language_model()
    groups = MixedEncoder(encoder, fixed=False).groups()  # without the output layer
    thaw = Thaw(CarryPlan(mode="full", unfreezing_share=0.1), groups, updates=100)
    seen = {}
    for update in (0, 9, 10, 19, 20, 29, 30, 99, 5):
        assert thaw.at(update) == free_layers(groups)
        seen[update] = free_layers(groups)
    assert seen[0] == seen[9] == seen[5] == []
    assert seen[10] == seen[19] == ["layer 2"]
    assert seen[20] == seen[29] == ["layer 2", "layer 1"]
    assert seen[30] == seen[99] == ["layer 2", "layer 1", "tokens"]
    assert thaw.at(0) == []
    assert not any(p.requires_grad for p in encoder.model.parameters())


def test_all_at_once_and_never() -> None:
    groups = language_model().groups()
    assert Thaw(CarryPlan(mode="full", gradual_unfreezing=False), groups, 100).at(0) == ["layer 2", "layer 1", "tokens"]
    assert Thaw(CarryPlan(mode="frozen"), groups, 100).at(99) == [] == free_layers(groups)


def test_rates_fall_with_depth() -> None:
    layers = language_model().groups()
    own = [torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))]
    plan = CarryPlan(mode="full", layer_rate_decay=0.5)
    groups = parameter_groups(plan, own, tuned_groups(plan, layers), weight_decay=0.1)
    assert sorted({group["scale"] for group in groups}) == [0.125, 0.25, 0.5, 1.0]
    for group in groups:
        assert all((parameter.dim() > 1) == (group["weight_decay"] > 0) for parameter in group["params"])
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(held) == len(set(held)) == 2 + sum(len(layer.parameters) for layer in layers)


def test_weights_are_copied_or_refused() -> None:
    source, target = language_model(seed=1).model, language_model(seed=2).model
    tensors, numbers = carry_weights(source.state_dict(), target, "the model")
    assert tensors == len(source.state_dict()) and numbers == sum(p.numel() for p in source.parameters())
    assert all(torch.equal(target.state_dict()[name], tensor) for name, tensor in source.state_dict().items())
    state = dict(source.state_dict())
    state["output.bias"] = torch.zeros(3)
    with pytest.raises(BadData, match=r"'output.bias' has shape \[3\], the model needs \[22\]"):
        carry_weights(state, target, "the model")
    del state["output.bias"]
    with pytest.raises(BadData, match=r"'output\.bias' is missing from the stored weights"):
        carry_weights(state, target, "the model")
    with pytest.raises(BadData, match="'extra' is missing from the configured model"):
        carry_weights({**source.state_dict(), "extra": torch.zeros(1)}, target, "the model")


def test_perplexity_is_measured_again() -> None:
    encoder = language_model()
    stored, measured = measure_again(encoder, encoder)
    assert stored is not None and measured is not None
    for name in ("forward_perplexity", "backward_perplexity"):
        assert measured[name] == pytest.approx(encoder.record["heldout_check"][name], rel=1e-6) == stored[name]
    with torch.no_grad():
        encoder.model.forward_layers[0].bias.add_(0.5)
    with pytest.raises(BadData, match=r"forward perplexity of the 20 held-out lines is .* stored is"):
        measure_again(encoder, encoder)
    encoder.record = {}
    assert measure_again(encoder, encoder) == (None, None)


def test_distances() -> None:
    before = {"layer": {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[4.0]])}}
    after = {"layer": {"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([[4.0]])}}
    assert distances_moved(before, before) == {"layer": 0.0}
    assert distances_moved(before, after) == {"layer": pytest.approx(0.2)}


def test_proof_in_sentences() -> None:
    proof = CarryProof(
        mode="full", tensors_loaded=31, numbers_loaded=1234567, tensors_new=4,
        vocabulary_rows=20, vocabulary_rows_matched=19,
        stored_perplexity={"forward_perplexity": 80.0}, measured_perplexity={"forward_perplexity": 80.00001},
        moved={"layer 2": 0.05},
    )  # fmt: skip
    assert proof.lines() == [
        "carried over (full): 31 tensors with 1,234,567 numbers loaded, 4 tensors new",
        "vocabulary: 19 of 20 words matched",
        "held-out forward perplexity 80.0000 (stored 80.0000), measured again after loading",
        "weights changed: layer 2 5.00%",
    ]
    json.dumps(proof.to_json())
    assert "none is stored" in replace(proof, stored_perplexity=None, measured_perplexity=None).lines()[2]
    assert CarryProof(mode="scratch", tensors_new=9).lines() == ["carried over: nothing, 9 tensors new"]
