"""Words from their spelling: each distinct word once, padding characters counted, equal places left out exactly."""

from __future__ import annotations

import pytest
import torch

from carryover.layers import CharacterCNN
from carryover.sequence import Sequence

PADDING = 8


def words(*spellings: tuple[int, ...], places: int = 20) -> torch.Tensor:
    """Character ids [words, places], filled up with the padding character."""
    return torch.tensor([[*spelling, *[PADDING] * (places - len(spelling))] for spelling in spellings])


@pytest.fixture
def layer() -> CharacterCNN:
    torch.manual_seed(0)
    return CharacterCNN(((1, 4), (2, 4), (5, 8)), in_size=9, character_size=5, highway_layers=2, projection=6)


def test_leaving_out_equal_places_changes_nothing(layer: CharacterCNN) -> None:
    characters = words((1, 2, 3), (4, 5, 6, 7, 1, 2), (3,))
    characters = torch.cat([characters, torch.zeros(1, 20, dtype=torch.int64)])  # and the word that is none
    seen = []
    handle = layer.convolutions[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2]))
    short = layer.encode_types(characters)
    handle.remove()
    assert seen == [8 + 5], "six places differ, rounded up to a multiple of four"

    layer._without_equal_places = lambda characters: characters  # type: ignore[method-assign]
    torch.testing.assert_close(short, layer.encode_types(characters), rtol=1e-6, atol=1e-7)


def test_gradients_are_the_same_when_equal_places_are_left_out(layer: CharacterCNN) -> None:
    characters = words((1, 2, 3), (4, 5, 6, 7, 1, 2))
    parameters = list(layer.parameters())
    short = torch.autograd.grad(layer.encode_types(characters).square().sum(), parameters)
    layer._without_equal_places = lambda characters: characters  # type: ignore[method-assign]
    full = torch.autograd.grad(layer.encode_types(characters).square().sum(), parameters)
    for one, other in zip(short, full, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("length", range(15, 21))
def test_words_up_to_the_full_width(layer: CharacterCNN, length: int) -> None:
    characters = words(tuple(1 + i % 7 for i in range(length)))
    short = layer.encode_types(characters)
    layer._without_equal_places = lambda characters: characters  # type: ignore[method-assign]
    torch.testing.assert_close(short, layer.encode_types(characters))


def test_the_padding_character_counts(layer: CharacterCNN) -> None:
    word = words((1, 2, 3), places=10)
    other = word.clone()
    other[:, 3:] = 5
    assert not torch.allclose(layer.encode_types(word), layer.encode_types(other))


def test_each_distinct_word_is_computed_once(layer: CharacterCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carryover.layers.characters.WORDS_STEP", 1)
    one, two = words((1, 2, 3), (4, 5))
    x = Sequence.of(torch.stack([torch.stack([one, two, one]), torch.stack([two, one, two])]), [3, 2])
    seen = []
    handle = layer.convolutions[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[0]))
    y = layer(x)
    handle.remove()
    assert seen == [3]  # the two words, and the zeros that stand in the padding
    assert torch.equal(y.values[0, 0], y.values[0, 2]) and torch.equal(y.values[0, 0], y.values[1, 1])
    torch.testing.assert_close(y.values[0, :2], layer.encode_types(torch.stack([one, two])))


def test_batches_share_a_few_shapes(layer: CharacterCNN) -> None:
    """The library keeps a kernel for every shape it meets."""
    shapes = set()
    handle = layer.convolutions[0].register_forward_pre_hook(lambda _, inputs: shapes.add(inputs[0].shape))
    for count in range(1, 65):
        assert layer.encode_types(words(*((1 + place % 8, 1 + place // 8) for place in range(count)))).shape == (count, 6)
    handle.remove()
    assert len(shapes) == 2


def test_no_gradient_mode_gives_the_same(layer: CharacterCNN) -> None:
    characters = words((1, 2, 3), (4, 5, 6, 7, 1, 2))
    with torch.no_grad():
        without = layer.encode_types(characters)
    assert torch.equal(without, layer.encode_types(characters))


def test_no_words_at_all(layer: CharacterCNN) -> None:
    assert layer.encode_types(words(places=20).view(0, 20)).shape == (0, 6)
    assert layer(Sequence.of(torch.zeros(2, 0, 20, dtype=torch.int64))).values.shape == (2, 0, 6)


def test_the_vector_of_no_word_stays_zero(layer: CharacterCNN) -> None:
    assert not layer.characters[0].any()
    layer.encode_types(torch.tensor([[0] * 20, [1] * 20])).sum().backward()
    assert layer.characters.grad is not None and not layer.characters.grad[0].any() and layer.characters.grad[1].any()


def test_refusals(layer: CharacterCNN) -> None:
    with pytest.raises(ValueError, match="given as 4 characters and the widest filter spans 5"):
        layer.encode_types(words((1,), places=4))
    with pytest.raises(ValueError, match=r"character ids \[batch, time, characters a word\], got shape \(1, 2\)"):
        layer(Sequence.of(torch.zeros(1, 2, dtype=torch.int64)))
    with pytest.raises(ValueError, match="no filters"):
        CharacterCNN(())
