"""The one inventory of all public layers and poolings: how each is built, fed and independently computed.

A test fails when something public in `carryover.layers` has no row here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from carryover.layers import (
    GRU,
    LSTM,
    TCN,
    AdditiveAttention,
    AttentionPooling,
    Bidirectional,
    CharacterCNN,
    ConcatenatedPooling,
    ConvLSTM,
    Convolution,
    CrossAttention,
    Delay,
    Dropout,
    Elman,
    Embedding,
    Highway,
    LastPooling,
    Layer,
    LayerNorm,
    LayerNormElman,
    LayerNormGRU,
    LayerNormLSTM,
    LearnedPositions,
    MaxPooling,
    MeanPooling,
    MultiplicativeAttention,
    Perceptron,
    Residual,
    ScalarMix,
    SelfAttention,
    SinusoidalPositions,
    Stacked,
    SumPooling,
    TemporalBlock,
    Transformer,
    TransformerBlock,
    TransposedConvolution,
    VariationalDropout,
    WaveNet,
    WaveNetBlock,
    WeightDrop,
    embed_by_one_hot,
    ids,
    real_values,
)
from laws.attention_references import (
    loop_additive,
    loop_multiplicative,
    loop_self_attention,
    loop_sinusoidal_positions,
    torch_block,
    torch_cross_attention,
    torch_decoder_block,
    torch_layer_norm,
    torch_self_attention,
    torch_transformer,
)
from laws.decoder_rows import DECODER_ROWS
from laws.plain import Conditioned, LeakySum
from laws.references import (
    both_ends,
    each_row,
    loop_attention,
    loop_bidirectional,
    loop_both_ways,
    loop_character_cnn,
    loop_convlstm,
    loop_highway,
    loop_layer_norm_elman,
    loop_layer_norm_gru,
    loop_layer_norm_lstm,
    loop_leaky_sum,
    loop_normed_both_ways,
    loop_of,
    loop_scalar_mix,
    loop_tcn,
    loop_temporal_block,
    loop_wavenet,
    loop_wavenet_block,
    pooled,
    residual_of,
    torch_bidirectional_lstm,
    torch_convolution,
    torch_elman,
    torch_gru,
    torch_lstm,
    torch_perceptron,
    torch_transposed,
)
from laws.row import Row, stirred
from laws.with_memory import OverFixed, OverItself, over_fixed, over_itself

ROWS = [
    Row("Embedding", lambda: Embedding(11, 4), lambda e, x: x.with_values(embed_by_one_hot(x.values, e.weight)), ids(11)),
    Row(
        "Embedding, padding id",
        lambda: Embedding(11, 4, padding_id=2, sparse_gradient=True),
        lambda e, x: x.with_values(F.embedding(x.values, e.weight, padding_idx=2)),
        ids(11),
    ),
    Row(
        "CharacterCNN",
        lambda: CharacterCNN(((1, 3), (3, 4)), in_size=9, character_size=5, highway_layers=2, projection=6),
        each_row(loop_character_cnn),
        ids(9, 7),
    ),
    Row(
        "CharacterCNN, filters only",
        lambda: CharacterCNN(((2, 5),), in_size=9, character_size=4, highway_layers=0, activation=torch.tanh),
        each_row(loop_character_cnn),
        ids(9, 5),
    ),
    Row("Highway", lambda: Highway(4), each_row(loop_highway)),
    Row("Perceptron", lambda: Perceptron(3, (6, 5), 4, activation=torch.tanh, dropout=0.3), each_row(torch_perceptron)),
    Row("Perceptron, one map", lambda: Perceptron(3, (), 4), each_row(torch_perceptron)),
    Row("Dropout", lambda: Dropout(3, 0.5), lambda _, x: x),
    Row("VariationalDropout", lambda: VariationalDropout(3, 0.5), lambda _, x: x),
    Row("ScalarMix", lambda: ScalarMix(3, 4), each_row(loop_scalar_mix), real_values(3, 4)),
    Row("ScalarMix, layer norm", lambda: ScalarMix(2, 4, layer_norm=True), each_row(loop_scalar_mix), real_values(2, 4)),
    Row(
        "Residual",
        lambda: Residual(Perceptron(4, (5,), 4, activation=torch.tanh)),
        each_row(lambda residual, row: row + torch_perceptron(residual.layer, row)),
    ),
    Row(
        "Residual, with memory",
        lambda: Residual(LeakySum(4, 4)),
        each_row(lambda residual, row: row + loop_leaky_sum(residual.layer, row)),
    ),
    Row(
        "WeightDrop",
        lambda: WeightDrop(LeakySum(), 0.5),
        each_row(lambda wrapper, row: loop_leaky_sum(wrapper.layer, row)),
    ),
    Row(
        "Stacked",
        lambda: Stacked(LeakySum(3, 4), VariationalDropout(4, 0.5), LeakySum(4, 2)),
        each_row(lambda stack, row: loop_leaky_sum(stack.layers[2], loop_leaky_sum(stack.layers[0], row))),
    ),
    Row(
        "Stacked, from ids",
        lambda: Stacked(Embedding(11, 3), Bidirectional(LeakySum(), LeakySum())),
        each_row(lambda stack, row: loop_bidirectional(stack.layers[1], stack.layers[0].weight[row])),
        ids(11),
    ),
    Row("Bidirectional", lambda: Bidirectional(LeakySum(3, 4), LeakySum(3, 2)), each_row(loop_bidirectional)),
    Row("Elman", lambda: Elman(3, 4), each_row(torch_elman)),
    Row("Elman, relu", lambda: Elman(3, 16, nonlinearity="relu"), each_row(torch_elman)),
    Row("Elman, sigmoid", lambda: Elman(3, 4, nonlinearity="sigmoid"), each_row(loop_of)),
    Row("GRU", lambda: GRU(3, 4), each_row(torch_gru)),
    Row("GRU, reset before", lambda: GRU(3, 4, reset="before"), each_row(loop_of)),
    Row("LayerNormElman", lambda: stirred(LayerNormElman(3, 4)), each_row(loop_layer_norm_elman)),
    Row(
        "LayerNormElman, relu",
        lambda: stirred(LayerNormElman(3, 16, nonlinearity="relu")),
        each_row(loop_layer_norm_elman),
    ),
    Row("LayerNormGRU", lambda: stirred(LayerNormGRU(3, 4)), each_row(loop_layer_norm_gru)),
    Row("LayerNormLSTM", lambda: stirred(LayerNormLSTM(3, 4)), each_row(loop_layer_norm_lstm)),
    Row(
        "LayerNormLSTM, both ways",
        lambda: stirred(Bidirectional(LayerNormLSTM(3, 4), LayerNormGRU(3, 2))),
        each_row(loop_normed_both_ways),
    ),
    Row("LSTM", lambda: LSTM(3, 4), each_row(torch_lstm)),
    Row("LSTM, one cell", lambda: LSTM(1, 1), each_row(torch_lstm)),
    Row("LSTM, peephole", lambda: LSTM(3, 4, peephole=True), each_row(loop_of)),
    Row("LSTM, projection", lambda: LSTM(3, 5, projection=2), each_row(loop_of)),
    Row("LSTM, cell clip", lambda: LSTM(3, 4, cell_clip=0.4), each_row(loop_of)),
    Row(
        "LSTM, projection and clips",
        lambda: LSTM(3, 6, projection=4, cell_clip=0.5, projection_clip=0.1),
        each_row(loop_of),
    ),
    Row(
        "LSTM, everything",
        lambda: LSTM(3, 6, projection=4, cell_clip=0.5, projection_clip=0.1, peephole=True),
        each_row(loop_of),
    ),
    Row("Bidirectional, LSTM", lambda: Bidirectional(LSTM(3, 4), LSTM(3, 4)), each_row(torch_bidirectional_lstm)),
    Row(
        "Bidirectional, LSTM with projection and clips",
        lambda: Bidirectional(
            LSTM(3, 6, projection=4, cell_clip=0.5, projection_clip=0.1),
            LSTM(3, 6, projection=4, cell_clip=0.5, projection_clip=0.1),
        ),
        each_row(loop_both_ways),
    ),
    Row("Bidirectional, GRU and Elman", lambda: Bidirectional(GRU(3, 4), Elman(3, 2)), each_row(loop_both_ways)),
    Row("WeightDrop, LSTM", lambda: WeightDrop(LSTM(3, 4), 0.5), each_row(loop_of)),
    Row("WeightDrop, LSTM with projection", lambda: WeightDrop(LSTM(3, 4, projection=2), 0.5), each_row(loop_of)),
    Row("WeightDrop, GRU", lambda: WeightDrop(GRU(3, 4, reset="before"), 0.5), each_row(loop_of)),
    Row(
        "Residual, LSTM",
        lambda: Residual(LSTM(3, 5, projection=3, cell_clip=0.5)),
        each_row(residual_of),
    ),
    Row(
        "Stacked, recurrent",
        lambda: Stacked(LSTM(3, 4), VariationalDropout(4, 0.5), Residual(GRU(4, 4)), Elman(4, 2)),
        each_row(lambda stack, row: loop_of(stack.layers[3], residual_of(stack.layers[2], loop_of(stack.layers[0], row)))),
    ),
    Row("SelfAttention", lambda: stirred(SelfAttention(4, 2)), each_row(torch_self_attention)),
    Row(
        "SelfAttention, horizon", lambda: stirred(SelfAttention(4, 1, horizon=3, bias=False)), each_row(torch_self_attention)
    ),
    Row(
        "SelfAttention, causal",
        lambda: stirred(SelfAttention(6, 2, causal=True, dropout=0.2)),
        each_row(torch_self_attention),
    ),
    Row(
        "SelfAttention, causal with horizon",
        lambda: stirred(SelfAttention(4, 2, causal=True, horizon=4)),
        each_row(torch_self_attention),
    ),
    Row(
        "SelfAttention, causal with horizon 1",
        lambda: stirred(SelfAttention(4, 2, causal=True, horizon=1)),
        each_row(torch_self_attention),
    ),
    Row("SelfAttention, rotary", lambda: stirred(SelfAttention(4, 2, positions="rotary")), each_row(loop_self_attention)),
    Row(
        "SelfAttention, rotary, causal with horizon",
        lambda: stirred(SelfAttention(4, 2, positions="rotary", causal=True, horizon=4)),
        each_row(loop_self_attention),
    ),
    Row(
        "SelfAttention, relative", lambda: stirred(SelfAttention(4, 2, positions="relative")), each_row(loop_self_attention)
    ),
    Row(
        "SelfAttention, relative, horizon",
        lambda: stirred(SelfAttention(4, 2, positions="relative", horizon=3)),
        each_row(loop_self_attention),
    ),
    Row(
        "SelfAttention, relative, causal",
        lambda: stirred(SelfAttention(4, 2, positions="relative", causal=True)),
        each_row(loop_self_attention),
    ),
    Row(
        "SelfAttention, relative, causal with horizon",
        lambda: stirred(SelfAttention(6, 3, positions="relative", causal=True, horizon=5)),
        each_row(loop_self_attention),
    ),
    Row(
        "CrossAttention",
        lambda: stirred(OverItself(CrossAttention(4, 2))),
        over_itself(torch_cross_attention),
        stands_for="CrossAttention",
    ),
    Row(
        "CrossAttention, fixed memory",
        lambda: stirred(OverFixed(CrossAttention(4, 2, memory_size=3))),
        over_fixed(torch_cross_attention),
        stands_for="CrossAttention",
    ),
    Row(
        "AdditiveAttention",
        lambda: OverItself(AdditiveAttention(4, 4, 5)),
        over_itself(loop_additive),
        stands_for="AdditiveAttention",
    ),
    Row(
        "AdditiveAttention, fixed memory",
        lambda: OverFixed(AdditiveAttention(4, 3, 5)),
        over_fixed(loop_additive),
        stands_for="AdditiveAttention",
    ),
    Row(
        "MultiplicativeAttention",
        lambda: OverItself(MultiplicativeAttention(4, 4)),
        over_itself(loop_multiplicative),
        stands_for="MultiplicativeAttention",
    ),
    Row(
        "MultiplicativeAttention, dot",
        lambda: OverItself(MultiplicativeAttention(4, 4, score="dot")),
        over_itself(loop_multiplicative),
        stands_for="MultiplicativeAttention",
    ),
    Row(
        "MultiplicativeAttention, fixed memory",
        lambda: OverFixed(MultiplicativeAttention(4, 3)),
        over_fixed(loop_multiplicative),
        stands_for="MultiplicativeAttention",
    ),
    Row("LayerNorm", lambda: stirred(LayerNorm(4)), each_row(torch_layer_norm)),
    Row("LayerNorm, rms", lambda: stirred(LayerNorm(4, rms=True)), each_row(torch_layer_norm)),
    Row("SinusoidalPositions", lambda: SinusoidalPositions(4), each_row(loop_sinusoidal_positions)),
    Row(
        "LearnedPositions",
        lambda: LearnedPositions(4, 20),
        each_row(
            lambda layer, row: torch.stack([step + layer.weight[t] for t, step in enumerate(row)]) if len(row) else row
        ),
    ),
    Row("TransformerBlock", lambda: stirred(TransformerBlock(4, 2, 7)), each_row(torch_block)),
    Row(
        "TransformerBlock, post-norm",
        lambda: stirred(TransformerBlock(4, 2, 7, norm="post", activation="relu", dropout=0.2)),
        each_row(torch_block),
    ),
    Row(
        "TransformerBlock, causal with horizon",
        lambda: stirred(TransformerBlock(4, 2, 7, causal=True, horizon=3)),
        each_row(torch_block),
    ),
    Row(
        "TransformerBlock, decoder",
        lambda: stirred(OverFixed(TransformerBlock(4, 2, 7, causal=True, memory_size=3))),
        over_fixed(torch_decoder_block),
        stands_for="TransformerBlock",
    ),
    Row(
        "TransformerBlock, decoder, post-norm",
        lambda: stirred(OverItself(TransformerBlock(4, 2, 7, norm="post", memory_size=4))),
        over_itself(torch_decoder_block),
        stands_for="TransformerBlock",
    ),
    Row("Transformer", lambda: stirred(Transformer(4, 2, 7, 2)), each_row(torch_transformer)),
    Row(
        "Transformer, causal, post-norm",
        lambda: stirred(Transformer(4, 2, 7, 2, causal=True, norm="post")),
        each_row(torch_transformer),
    ),
    Row(
        "Transformer, causal with horizon",
        lambda: stirred(Transformer(4, 2, 7, 2, causal=True, horizon=3)),
        each_row(torch_transformer),
    ),
    Row("Convolution", lambda: Convolution(3, 4, 3), each_row(torch_convolution)),
    Row("Convolution, kernel 1", lambda: Convolution(3, 4, 1, padding="centred"), each_row(torch_convolution)),
    Row("Convolution, dilated", lambda: Convolution(3, 4, 4, dilation=3, bias=False), each_row(torch_convolution)),
    Row("Convolution, centred", lambda: Convolution(3, 4, 5, padding="centred", dilation=2), each_row(torch_convolution)),
    Row("Convolution, valid", lambda: Convolution(3, 4, 3, padding="valid", dilation=2), each_row(torch_convolution)),
    Row("Convolution, strided", lambda: Convolution(3, 4, 5, stride=3), each_row(torch_convolution)),
    Row("Convolution, strided, kernel 1", lambda: Convolution(3, 4, 1, stride=2), each_row(torch_convolution)),
    Row(
        "Convolution, strided, centred",
        lambda: Convolution(3, 4, 3, stride=2, padding="centred"),
        each_row(torch_convolution),
    ),
    Row("Convolution, strided, valid", lambda: Convolution(3, 4, 3, stride=2, padding="valid"), each_row(torch_convolution)),
    Row("Convolution, groups", lambda: Convolution(4, 6, 3, groups=2, dilation=2, stride=2), each_row(torch_convolution)),
    Row("Convolution, weight norm", lambda: Convolution(3, 4, 3, weight_norm=True), each_row(torch_convolution)),
    Row("TransposedConvolution", lambda: TransposedConvolution(3, 4, 5, stride=2), each_row(torch_transposed)),
    Row("TransposedConvolution, short kernel", lambda: TransposedConvolution(3, 4, 2, stride=3), each_row(torch_transposed)),
    Row(
        "TransposedConvolution, centred",
        lambda: TransposedConvolution(3, 4, 4, stride=2, padding="centred"),
        each_row(torch_transposed),
    ),
    Row(
        "TransposedConvolution, groups",
        lambda: TransposedConvolution(4, 6, 3, stride=3, dilation=2, groups=2, bias=False),
        each_row(torch_transposed),
    ),
    Row("Delay", lambda: Delay(3, 2), each_row(lambda layer, row: torch.cat([row.new_zeros(2, 3), row])[: len(row)])),
    Row("Delay, none", lambda: Delay(3, 0), lambda _, x: x),
    Row(
        "Stacked, strided",
        lambda: Stacked(Convolution(3, 4, 3, stride=2), Elman(4, 4), Convolution(4, 2, 2, stride=3)),
        each_row(
            lambda stack, row: torch_convolution(
                stack.layers[2], loop_of(stack.layers[1], torch_convolution(stack.layers[0], row))
            )
        ),
    ),
    Row(
        "Stacked, down and up",
        lambda: Stacked(Convolution(3, 4, 3, stride=2), TransposedConvolution(4, 2, 2, stride=2)),
        each_row(lambda stack, row: torch_transposed(stack.layers[1], torch_convolution(stack.layers[0], row))),
    ),
    Row(
        "WeightDrop, valid",
        lambda: WeightDrop(Convolution(3, 4, 3, padding="valid"), 0.5, names=("weight",)),
        each_row(lambda wrapper, row: torch_convolution(wrapper.layer, row)),
    ),
    Row("TemporalBlock", lambda: TemporalBlock(3, 4, 3, dilation=2, dropout=0.3), each_row(loop_temporal_block)),
    Row("TemporalBlock, equal sizes", lambda: TemporalBlock(4, 4, 2), each_row(loop_temporal_block)),
    Row("TCN", lambda: TCN(3, 4, levels=3, kernel=2, dropout=0.3), each_row(loop_tcn)),
    Row("TCN, kernel 1", lambda: TCN(3, 4, levels=2, kernel=1), each_row(loop_tcn)),
    Row("WaveNetBlock", lambda: WaveNetBlock(4, 3, dilation=3), each_row(loop_wavenet_block)),
    Row("WaveNetBlock, no residual", lambda: WaveNetBlock(4, 3, kernel=3, residual=False), each_row(loop_wavenet_block)),
    Row("WaveNet", lambda: WaveNet(3, 5, size=4, skip_size=6, levels=2, stacks=2), each_row(loop_wavenet)),
    Row(
        "WaveNet, conditioned",
        lambda: Conditioned(WaveNet(3, 5, size=4, skip_size=6, levels=2, local_size=2, global_size=3)),
        each_row(lambda wrapper, row: loop_wavenet(wrapper.layer, row[:, :3], row[:, 3:], wrapper.context)),
    ),
    Row(
        "WaveNetBlock, conditioned",
        lambda: Conditioned(WaveNetBlock(4, 3, local_size=2, global_size=1)),
        each_row(lambda wrapper, row: loop_wavenet_block(wrapper.layer, row[:, :4], row[:, 4:], wrapper.context)),
    ),
    Row("ConvLSTM", lambda: ConvLSTM(2, 3, space=(5,)), each_row(loop_convlstm), real_values(2, 5)),
    Row("ConvLSTM, images", lambda: ConvLSTM(2, 3, space=(3, 4)), each_row(loop_convlstm), real_values(2, 3, 4)),
    Row(
        "ConvLSTM, no peephole",
        lambda: ConvLSTM(1, 2, space=(2, 2), kernel=1, peephole=False),
        each_row(loop_convlstm),
        real_values(1, 2, 2),
    ),
    Row("SumPooling", lambda: SumPooling(4), pooled(lambda _, row: row.sum(0))),
    Row("MeanPooling", lambda: MeanPooling(4), pooled(lambda _, row: row.mean(0))),
    Row("MaxPooling", lambda: MaxPooling(4), pooled(lambda _, row: row.amax(0))),
    Row("LastPooling", lambda: LastPooling(4), pooled(lambda _, row: row[-1])),
    Row("LastPooling, both ends", lambda: LastPooling(4, both_ends=True), pooled(both_ends)),
    Row("AttentionPooling", lambda: AttentionPooling(4, 3), pooled(loop_attention)),
    Row(
        "ConcatenatedPooling",
        lambda: ConcatenatedPooling(LastPooling(4), MaxPooling(4), MeanPooling(4)),
        pooled(lambda _, row: torch.cat([row[-1], row.amax(0), row.mean(0)])),
    ),
    *DECODER_ROWS,
]

LAYER_ROWS = [row for row in ROWS if isinstance(row.make(0), Layer)]
CAUSAL_ROWS = [row for row in LAYER_ROWS if row.make(0).causal]  # type: ignore[union-attr]
BIDIRECTIONAL_ROWS = [row for row in LAYER_ROWS if hasattr(row.make(0), "forward_layer")]


def name(row: Row) -> str:
    """The identifier of a row in a test's name."""
    return row.name
