"""Embeddings: the identity with one-hot vectors, padding ids, ready-made vectors, sparse gradients."""

from __future__ import annotations

import pytest
import torch

from carryover.layers import Embedding, Perceptron, embed_by_one_hot
from carryover.sequence import Sequence


def test_looking_up_is_one_hot_times_the_matrix() -> None:
    layer = Embedding(6, 3)
    ids = torch.tensor([[4, 0, 5], [1, 1, 2]])
    looked_up = layer(Sequence.of(ids)).values
    assert torch.equal(looked_up, embed_by_one_hot(ids, layer.weight))
    weights = torch.randn_like(looked_up)
    gradient = torch.autograd.grad((looked_up * weights).sum(), layer.weight)[0]
    by_product = torch.autograd.grad((embed_by_one_hot(ids, layer.weight) * weights).sum(), layer.weight)[0]
    torch.testing.assert_close(gradient, by_product)


def test_an_affine_map_of_one_hot_vectors_is_an_embedding() -> None:
    affine = Perceptron(6, (), 3, bias=False)
    layer = Embedding.from_vectors(affine.maps[0].weight.T, frozen=True)
    ids = torch.tensor([[4, 0, 5]])
    one_hot = torch.nn.functional.one_hot(ids, 6).float()
    torch.testing.assert_close(layer(Sequence.of(ids)).values, affine(Sequence.of(one_hot)).values)


def test_padding_id_is_zero_and_stays_so() -> None:
    layer = Embedding(5, 3, padding_id=2)
    assert (layer.weight[2] == 0).all() and (layer.weight[0] != 0).any()
    layer(Sequence.of(torch.tensor([[2, 1]]))).values.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.any(1).tolist() == [False, True, False, False, False]


def test_padding_id_must_be_an_id() -> None:
    with pytest.raises(ValueError, match="padding_id is 5 but the ids are 0 … 4"):
        Embedding(5, 3, padding_id=5)


def test_ready_made_vectors_are_copied_and_frozen_on_demand() -> None:
    vectors = torch.randn(4, 3)
    frozen, tuned = Embedding.from_vectors(vectors, frozen=True), Embedding.from_vectors(vectors, frozen=False)
    assert not frozen.weight.requires_grad and tuned.weight.requires_grad
    vectors.zero_()
    assert frozen.weight.any() and torch.equal(frozen.weight, tuned.weight)


def test_sparse_gradient_holds_the_rows_met_only() -> None:
    layer = Embedding(1000, 3, sparse_gradient=True)
    layer(Sequence.of(torch.tensor([[7, 9]]))).values.sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.is_sparse
    assert layer.weight.grad.coalesce().indices().tolist() == [[7, 9]]


def test_refuses_real_numbers_and_other_shapes() -> None:
    with pytest.raises(TypeError, match=r"Embedding reads integer ids, int64 or int32, and got torch\.float32"):
        Embedding(5, 3)(Sequence.of(torch.zeros(1, 2)))
    with pytest.raises(ValueError, match=r"ids \[batch, time\], got shape \(1, 2, 3\)"):
        Embedding(5, 3)(Sequence.of(torch.zeros(1, 2, 3, dtype=torch.int64)))
    with pytest.raises(TypeError, match=r"Perceptron reads real numbers and got torch\.int64"):
        Perceptron(3, (), 2)(Sequence.of(torch.zeros(1, 2, 3, dtype=torch.int64)))
