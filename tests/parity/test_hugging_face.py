"""Attention layers beside those of Hugging Face transformers, on the same weights: outputs, gradients of the input, steps.

Skipped where transformers cannot be imported. It may stand in a folder of its own, which `CARRYOVER_HUGGING_FACE` names:
`pip install --no-deps --target FOLDER transformers regex`. Models are built from their configurations with random weights;
nothing is fetched.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from carryover.layers import Layer, LearnedPositions, SelfAttention, Stacked, Transformer, TransformerBlock
from carryover.sequence import Sequence

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # warnings of theirs are theirs

SIZE, HEADS, HIDDEN, DEPTH = 12, 3, 20, 2
LENGTHS = (9, 4, 1)
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}  # they turn positions and compute waves in single precision


@pytest.fixture(scope="module")
def theirs() -> Any:
    """The package transformers, offline."""
    if folder := os.environ.get("CARRYOVER_HUGGING_FACE"):
        if not (Path(folder) / "transformers").is_dir():
            raise RuntimeError(
                f"CARRYOVER_HUGGING_FACE is {folder} but holds no folder transformers: install it there first"
            )
        sys.path.append(folder)
    os.environ["HF_HUB_OFFLINE"] = "1"
    return pytest.importorskip("transformers", reason="transformers is not installed, see the head of this file")


def inputs(*lengths: int) -> Sequence:
    torch.manual_seed(1)
    return Sequence.of(torch.randn(len(lengths), max(lengths), SIZE, dtype=torch.float64), list(lengths))


def ready(model: nn.Module) -> Any:
    """In double precision, with biases and norms that are not those of the start."""
    torch.manual_seed(2)
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.4)
    return model


def fill(target: nn.Module, weight: Tensor, bias: Tensor | None = None) -> None:
    with torch.no_grad():
        target.weight.copy_(weight)
        if target.bias is not None:
            target.bias.zero_() if bias is None else target.bias.copy_(bias)


def copy_linear(pairs: Iterable[tuple[nn.Module, Any]]) -> None:
    for target, source in pairs:
        fill(target, source.weight, source.bias)


def agree(ours: Callable[[Sequence], Sequence], wanted: Callable[[Tensor], Tensor], x: Sequence) -> None:
    """Outputs at real steps, and what they say of the input there."""
    found_input, wanted_input = (x.values.clone().requires_grad_() for _ in range(2))
    found, expected = ours(x.with_values(found_input)).values, wanted(wanted_input)
    mask = x.mask.unsqueeze(-1)
    torch.testing.assert_close(found * mask, expected * mask, **CLOSE)
    assert found.abs().max() > 0.1
    asked = torch.randn_like(expected) * mask
    (one,) = torch.autograd.grad(found, found_input, asked)
    (other,) = torch.autograd.grad(expected, wanted_input, asked)
    torch.testing.assert_close(one, other, **CLOSE)
    assert one[mask.expand_as(one)].abs().max() > 0.01


def in_chunks(layer: Layer, x: Sequence, *borders: int) -> Tensor:
    state, parts = layer.initial_state(x.batch_size, dtype=torch.float64), []
    for start, stop in zip((0, *borders), (*borders, x.time), strict=True):
        y, state = layer.step(x.slice(start, stop), state)
        parts.append(y)
    return Sequence.concatenate(parts).values


def of_bert(target: TransformerBlock, source: Any) -> None:
    """The weights of a layer of BERT or RoFormer."""
    mine, part = target.attention, source.attention
    copy_linear([(mine.query, part.self.query), (mine.key, part.self.key), (mine.value, part.self.value)])
    copy_linear([(mine.output, part.output.dense), (target.attention_norm, part.output.LayerNorm)])
    copy_linear(zip(target.feed_forward.maps, (source.intermediate.dense, source.output.dense), strict=True))
    copy_linear([(target.feed_forward_norm, source.output.LayerNorm)])


@pytest.mark.parametrize(("kind", "positions"), [("Bert", None), ("RoFormer", "rotary")])
def test_post_norm_encoders_over_ragged_rows(theirs: Any, kind: str, positions: Any) -> None:
    """BERT's blocks; and those of RoFormer (Su et al. 2021), where rotary positions come from."""
    options: dict[str, Any] = {
        "vocab_size": 5,
        "hidden_size": SIZE,
        "num_attention_heads": HEADS,
        "num_hidden_layers": DEPTH,
    }
    config = getattr(theirs, f"{kind}Config")(**options, intermediate_size=HIDDEN, layer_norm_eps=1e-5)
    model = ready(getattr(theirs, f"{kind}Model")(config))
    layer = Transformer(SIZE, HEADS, HIDDEN, DEPTH, norm="post", positions=positions).double()
    for target, source in zip(layer.blocks, model.encoder.layer, strict=True):
        of_bert(target, source)  # type: ignore[arg-type]
    if positions == "rotary":  # their table is a parameter like any other, and was drawn anew
        model.encoder.embed_positions.weight.data = model.encoder.embed_positions.create_weight()
    x = inputs(*LENGTHS)
    agree(
        lambda x: layer(x.with_values(model.embeddings(inputs_embeds=x.values))),
        lambda values: model(inputs_embeds=values, attention_mask=x.mask.long()).last_hidden_state,
        x,
    )


def test_a_pre_norm_decoder_and_its_steps(theirs: Any) -> None:
    """GPT-2, whose cache is compared with our state too."""
    config = theirs.GPT2Config(
        vocab_size=5, n_positions=16, n_embd=SIZE, n_layer=DEPTH, n_head=HEADS, n_inner=HIDDEN, activation_function="gelu"
    )
    model = ready(theirs.GPT2Model(config))
    decoder = Transformer(SIZE, HEADS, HIDDEN, DEPTH, causal=True)
    layer = Stacked(LearnedPositions(SIZE, 16), decoder).double()
    with torch.no_grad():
        layer.layers[0].weight.copy_(model.wpe.weight)
    for target, source in zip(decoder.blocks, model.h, strict=True):
        heads = zip(source.attn.c_attn.weight.chunk(3, dim=1), source.attn.c_attn.bias.chunk(3), strict=True)
        mine = target.attention
        for part, (weight, bias) in zip((mine.query, mine.key, mine.value), heads, strict=True):
            fill(part, weight.T, bias)
        fill(mine.output, source.attn.c_proj.weight.T, source.attn.c_proj.bias)
        copy_linear([(target.attention_norm, source.ln_1), (target.feed_forward_norm, source.ln_2)])
        for part, theirs_part in zip(target.feed_forward.maps, (source.mlp.c_fc, source.mlp.c_proj), strict=True):
            fill(part, theirs_part.weight.T, theirs_part.bias)
    copy_linear([(decoder.top_norm, model.ln_f)])
    x = inputs(9, 9)
    agree(layer, lambda values: model(inputs_embeds=values).last_hidden_state, x)
    first = model(inputs_embeds=x.values[:, :5], use_cache=True)
    rest = model(inputs_embeds=x.values[:, 5:], past_key_values=first.past_key_values, use_cache=True)
    whole = torch.cat([first.last_hidden_state, rest.last_hidden_state], dim=1)
    torch.testing.assert_close(in_chunks(layer, x, 5), whole, **CLOSE)


def test_rotary_positions_of_the_other_layout(theirs: Any) -> None:
    """LLaMA turns feature i with feature i + d/2: the same function as ours after a permutation of queries and keys."""
    config = theirs.LlamaConfig(
        vocab_size=5,
        hidden_size=24,
        intermediate_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        attention_bias=True,
    )
    model = ready(theirs.LlamaModel(config))
    source, half = model.layers[0].self_attn, 4
    layer = SelfAttention(24, HEADS, causal=True, positions="rotary").double()
    order = torch.arange(24).view(HEADS, 2, half).transpose(1, 2).flatten()  # (head, half, i) → (head, i, half)
    fill(layer.query, source.q_proj.weight[order], source.q_proj.bias[order])
    fill(layer.key, source.k_proj.weight[order], source.k_proj.bias[order])
    copy_linear([(layer.value, source.v_proj), (layer.output, source.o_proj)])
    torch.manual_seed(1)
    x = Sequence.of(torch.randn(2, 9, 24, dtype=torch.float64))

    def wanted(values: Tensor) -> Tensor:
        turns = model.rotary_emb(values, torch.arange(9).unsqueeze(0))
        hidden = torch.full((9, 9), -torch.inf, dtype=torch.float64).triu(1)
        return source(values, position_embeddings=turns, attention_mask=hidden[None, None])[0]

    agree(layer, wanted, x)
    torch.testing.assert_close(in_chunks(layer, x, 1, 4), wanted(x.values), **CLOSE)


def test_relative_positions_and_memory(theirs: Any) -> None:
    """XLNet read from left to right is a Transformer-XL (Dai et al. 2019) with post-norm blocks; its memories are our state."""
    config = theirs.XLNetConfig(
        vocab_size=5,
        d_model=SIZE,
        n_layer=DEPTH,
        n_head=HEADS,
        d_inner=HIDDEN,
        attn_type="uni",
        ff_activation="gelu",
        layer_norm_eps=1e-5,
    )
    model = ready(theirs.XLNetModel(config))
    layer = Transformer(SIZE, HEADS, HIDDEN, DEPTH, causal=True, positions="relative", norm="post").double()
    waves = torch.arange(SIZE).view(2, -1).T.flatten()  # all sines, then all cosines → in pairs
    for target, source in zip(layer.blocks, model.layer, strict=True):
        mine, part = target.attention, source.rel_attn
        for name in ("query", "key", "value"):
            fill(getattr(mine, name), getattr(part, name[0]).flatten(1).T)
        fill(mine.output, part.o.flatten(1))
        with torch.no_grad():
            mine.relative.weight.copy_(part.r.flatten(1).T[:, waves])
            mine.content_bias.copy_(part.r_w_bias)
            mine.position_bias.copy_(part.r_r_bias)
        copy_linear([(target.attention_norm, part.layer_norm), (target.feed_forward_norm, source.ff.layer_norm)])
        copy_linear(zip(target.feed_forward.maps, (source.ff.layer_1, source.ff.layer_2), strict=True))
    x = inputs(9, 9)
    agree(layer, lambda values: model(inputs_embeds=values).last_hidden_state, x)
    first = model(inputs_embeds=x.values[:, :5], use_mems=True)
    rest = model(inputs_embeds=x.values[:, 5:], mems=first.mems, use_mems=True)
    whole = torch.cat([first.last_hidden_state, rest.last_hidden_state], dim=1)
    torch.testing.assert_close(in_chunks(layer, x, 5), whole, **CLOSE)


def test_a_decoder_block_that_looks_at_an_encoder(theirs: Any) -> None:
    """A decoder layer of BART: self-attention, cross-attention over ragged memories, feed-forward, each with its norm after."""
    config = theirs.BartConfig(
        vocab_size=5,
        d_model=SIZE,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        decoder_ffn_dim=HIDDEN,
        decoder_layers=1,
        encoder_layers=1,
    )
    source = ready(theirs.BartModel(config).decoder.layers[0])
    block = TransformerBlock(SIZE, HEADS, HIDDEN, causal=True, norm="post", memory_size=SIZE).double()
    for mine, part in ((block.attention, source.self_attn), (block.memory_attention, source.encoder_attn)):
        copy_linear([(mine.query, part.q_proj), (mine.key, part.k_proj), (mine.value, part.v_proj)])
        copy_linear([(mine.output, part.out_proj)])
    copy_linear([(block.attention_norm, source.self_attn_layer_norm), (block.memory_norm, source.encoder_attn_layer_norm)])
    copy_linear(zip(block.feed_forward.maps, (source.fc1, source.fc2), strict=True))
    copy_linear([(block.feed_forward_norm, source.final_layer_norm)])
    memory, x = inputs(7, 3, 1), inputs(5, 5, 5)
    unseen = torch.zeros(3, 1, 1, 7, dtype=torch.float64).masked_fill(~memory.mask[:, None, None], -torch.inf)
    future = torch.full((5, 5), -torch.inf, dtype=torch.float64).triu(1)[None, None]

    def wanted(values: Tensor) -> Tensor:
        found = source(
            values,
            attention_mask=future,
            encoder_hidden_states=memory.values,
            encoder_attention_mask=unseen,
            use_cache=False,
        )
        return found if isinstance(found, Tensor) else found[0]

    agree(lambda x: block(x, memory), wanted, x)
