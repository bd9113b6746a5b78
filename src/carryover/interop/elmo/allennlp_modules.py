"""How AllenNLP's modules name the parameters of an ELMo, and ours made of them; what was built of these modules names them so too."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from carryover.models.bilm import BiLanguageModel


def spelling_shapes(config: BiLanguageModel.Config, convolutions: str, highways: str) -> dict[str, tuple[int, ...]]:
    """Every tensor of the character convolutions and the highways, each with its shape; their numbers follow these names."""
    total = sum(count for _, count in config.filters)
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (width, count) in enumerate(config.filters):
        shapes[f"{convolutions}{number}.weight"] = (count, config.character_size, width)
        shapes[f"{convolutions}{number}.bias"] = (count,)
    for number in range(config.highway_layers):
        shapes[f"{highways}{number}.weight"] = (2 * total, total)
        shapes[f"{highways}{number}.bias"] = (2 * total,)
    return shapes


def spelling_to_state(
    tensors: Mapping[str, Tensor], config: BiLanguageModel.Config, convolutions: str, highways: str, *, to: str
) -> dict[str, Tensor]:
    """The parameters of our `CharacterCNN` at `to` from those of `spelling_shapes`: what AllenNLP carries is what we gate."""
    state = {}
    for part in ("weight", "bias"):
        for number in range(len(config.filters)):
            state[f"{to}.convolutions.{number}.{part}"] = tensors[f"{convolutions}{number}.{part}"]
        for number in range(config.highway_layers):
            transform, carry = tensors[f"{highways}{number}.{part}"].chunk(2)
            state[f"{to}.highways.{number}.transform.{part}"] = transform
            state[f"{to}.highways.{number}.gate.{part}"] = -carry
    return state


def lstm_shapes(config: BiLanguageModel.Config, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Every tensor of AllenNLP's LSTMs below `prefix`, with its shape."""
    size, cells = config.projection, config.cells
    shapes: dict[str, tuple[int, ...]] = {}
    for side in ("forward", "backward"):
        for layer in range(config.layers):
            at = f"{prefix}{side}_layer_{layer}"
            shapes[f"{at}.input_linearity.weight"] = (4 * cells, size)
            shapes[f"{at}.state_linearity.weight"] = (4 * cells, size)
            shapes[f"{at}.state_linearity.bias"] = (4 * cells,)
            shapes[f"{at}.state_projection.weight"] = (size, cells)
    return shapes


def lstms_to_state(tensors: Mapping[str, Tensor], config: BiLanguageModel.Config, prefix: str = "") -> dict[str, Tensor]:
    """Our LSTM parameters from AllenNLP's below `prefix`."""
    state = {}
    for side in ("forward", "backward"):
        for layer in range(config.layers):
            to, at = f"{side}_layers.{layer}", f"{prefix}{side}_layer_{layer}"
            state[f"{to}.input_weight"] = tensors[f"{at}.input_linearity.weight"]
            state[f"{to}.hidden_weight"] = tensors[f"{at}.state_linearity.weight"]
            state[f"{to}.bias"] = tensors[f"{at}.state_linearity.bias"]
            state[f"{to}.projection_weight"] = tensors[f"{at}.state_projection.weight"]
    return state
