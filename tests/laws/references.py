"""Other ways to compute what the layers compute: `torch.nn` on the same weights where it exists, else plain loops."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from carryover.layers import (
    GRU,
    LSTM,
    TCN,
    AttentionPooling,
    Bidirectional,
    CharacterCNN,
    ConvLSTM,
    Convolution,
    Elman,
    Highway,
    Layer,
    LayerNormElman,
    LayerNormGRU,
    LayerNormLSTM,
    Perceptron,
    Pooling,
    Residual,
    ScalarMix,
    TemporalBlock,
    TransposedConvolution,
    WaveNet,
    WaveNetBlock,
    WeightDrop,
)
from carryover.layers.laws.keeping import Reference
from carryover.layers.recurrent.elman import elman_loop
from carryover.layers.recurrent.gru import gru_loop
from carryover.layers.recurrent.lstm import lstm_loop
from carryover.sequence import Sequence
from laws.plain import LeakySum


def each_row(function: Callable[[Layer, Tensor], Tensor]) -> Reference:
    """A reference that sees one unpadded row [length, ...] at a time."""

    def compute(layer: Layer, x: Sequence) -> Sequence:
        return Sequence.pad([function(layer, row) for row in x.rows()])

    return compute


def pooled(function: Callable[[Pooling, Tensor], Tensor]) -> Reference:
    """A reference for poolings: one unpadded row at a time, zeros for an empty one."""

    def compute(pooling: Pooling, x: Sequence) -> Tensor:
        return torch.stack([function(pooling, row) if len(row) else row.new_zeros(pooling.out_size) for row in x.rows()])

    return compute


def loop_character_cnn(layer: CharacterCNN, row: Tensor) -> Tensor:
    """Every word, filter and place by itself."""
    words = []
    for word in row:
        letters = layer.characters[word] * (word != 0).unsqueeze(1)  # [characters, size]; 0 is no character
        features = []
        for convolution in layer.convolutions:
            width = convolution.weight.shape[2]
            windows = [letters[place : place + width].T for place in range(len(letters) - width + 1)]  # [size, width]
            found = [(convolution.weight * window).sum((1, 2)) + convolution.bias for window in windows]
            features.append(torch.stack([layer.activation(value) for value in found]).amax(0))
        y = torch.cat(features)
        for highway in layer.highways:
            y = loop_highway(highway, y)
        words.append(y if layer.projection is None else layer.projection.weight @ y + layer.projection.bias)
    return torch.stack(words) if words else layer.characters.new_zeros(0, layer.out_size)


def loop_highway(layer: Highway, row: Tensor) -> Tensor:
    gate = torch.sigmoid(row @ layer.gate.weight.T + layer.gate.bias)
    return gate * torch.relu(row @ layer.transform.weight.T + layer.transform.bias) + (1 - gate) * row


def torch_perceptron(layer: Perceptron, row: Tensor) -> Tensor:
    modules: list[torch.nn.Module] = []
    for affine in layer.maps:
        modules += [affine, torch.nn.Tanh()]
    return torch.nn.Sequential(*modules[:-1])(row)


def loop_scalar_mix(layer: ScalarMix, row: Tensor) -> Tensor:
    if layer.layer_norm:
        row = row - row.mean(-1, keepdim=True)
        row = row / (row.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    exponentials = layer.layer_weights.exp()
    return layer.scale * sum(row[:, j] * exponentials[j] / exponentials.sum() for j in range(layer.layers))


def loop_leaky_sum(layer: LeakySum, row: Tensor) -> Tensor:
    outputs = [row.new_zeros(layer.out_size)]
    for value in row:
        outputs.append(layer.hidden_weight * outputs[-1] + layer.input_weight @ value)
    return torch.stack(outputs)[1:]


def loop_bidirectional(layer: Bidirectional, row: Tensor) -> Tensor:
    back = loop_leaky_sum(layer.backward_layer, row.flip(0)).flip(0)
    return torch.cat([loop_leaky_sum(layer.forward_layer, row), back], dim=1)


def loop_attention(pooling: AttentionPooling, row: Tensor) -> Tensor:
    scores = torch.stack([torch.tanh(pooling.score_hidden(step)) @ pooling.question for step in row])
    return scores.exp() @ row / scores.exp().sum()


def both_ends(_: Pooling, row: Tensor) -> Tensor:
    return torch.cat([row[-1, :2], row[0, 2:]])


def _run_torch(module: nn.RNNBase, weights: dict[str, Tensor], row: Tensor) -> Tensor:
    """Outputs [length, ...] of a torch layer with the given weights, and zeros for biases that are not given."""
    if len(row) == 0:
        return row.new_zeros(0, (2 if module.bidirectional else 1) * (module.proj_size or module.hidden_size))
    biases = {
        name: torch.zeros_like(tensor, dtype=row.dtype) for name, tensor in module.named_parameters() if "bias" in name
    }
    return functional_call(module, {**biases, **weights}, (row.unsqueeze(0),))[0][0]


def torch_elman(layer: Elman, row: Tensor) -> Tensor:
    module = nn.RNN(layer.in_size, layer.out_size, nonlinearity=layer.nonlinearity, batch_first=True)
    weights = {"weight_ih_l0": layer.input_weight, "weight_hh_l0": layer.hidden_weight, "bias_ih_l0": layer.bias}
    return _run_torch(module, weights, row)


def torch_gru(layer: GRU, row: Tensor) -> Tensor:
    module = nn.GRU(layer.in_size, layer.out_size, batch_first=True)
    weights = {"weight_ih_l0": layer.input_weight, "weight_hh_l0": layer.hidden_weight, "bias_ih_l0": layer.bias}
    candidate = torch.cat([row.new_zeros(2 * layer.out_size), layer.candidate_bias])
    return _run_torch(module, {**weights, "bias_hh_l0": candidate}, row)


def torch_lstm(layer: LSTM, row: Tensor) -> Tensor:
    return _run_torch(nn.LSTM(layer.in_size, layer.cell_size, batch_first=True), lstm_weights(layer, "l0"), row)


def torch_bidirectional_lstm(layer: Bidirectional, row: Tensor) -> Tensor:
    ahead, back = layer.forward_layer, layer.backward_layer
    module = nn.LSTM(ahead.in_size, ahead.cell_size, batch_first=True, bidirectional=True)
    return _run_torch(module, {**lstm_weights(ahead, "l0"), **lstm_weights(back, "l0_reverse")}, row)


def lstm_weights(layer: LSTM, suffix: str) -> dict[str, Tensor]:
    """The weights under the names `torch.nn.LSTM` gives them."""
    return {
        f"weight_ih_{suffix}": layer.input_weight,
        f"weight_hh_{suffix}": layer.hidden_weight,
        f"bias_ih_{suffix}": layer.bias,
    }


def loop_of(layer: Layer, row: Tensor) -> Tensor:
    """A recurrent layer's plain loop over one row [length, in]."""
    if isinstance(layer, WeightDrop):
        layer = layer.layer
    loop = {LSTM: lstm_loop, GRU: gru_loop, Elman: elman_loop}[type(layer)]
    return loop(layer, Sequence.of(row.unsqueeze(0)), layer.initial_state(1))[0].values[0]


def loop_both_ways(layer: Bidirectional, row: Tensor) -> Tensor:
    return torch.cat([loop_of(layer.forward_layer, row), loop_of(layer.backward_layer, row.flip(0)).flip(0)], dim=1)


def _standard(values: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the elements of a vector."""
    centred = values - values.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt()


def loop_layer_norm_elman(layer: LayerNormElman, row: Tensor) -> Tensor:
    function = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}[layer.nonlinearity]
    states = [row.new_zeros(layer.out_size)]
    for x in row:
        total = layer.input_weight @ x + layer.hidden_weight @ states[-1]
        states.append(function(layer.gain * _standard(total) + layer.bias))
    return torch.stack(states)[1:]


def loop_layer_norm_gru(layer: LayerNormGRU, row: Tensor) -> Tensor:
    size, states = layer.out_size, [row.new_zeros(layer.out_size)]
    for x in row:
        now, past = layer.input_weight @ x, layer.hidden_weight @ states[-1]
        gates = layer.input_gain[: 2 * size] * _standard(now[: 2 * size]) + layer.bias[: 2 * size]
        gates = gates + layer.hidden_gain[: 2 * size] * _standard(past[: 2 * size])
        r, z = torch.sigmoid(gates[:size]), torch.sigmoid(gates[size:])
        before = layer.hidden_gain[2 * size :] * _standard(past[2 * size :]) + layer.candidate_bias
        n = torch.tanh(layer.input_gain[2 * size :] * _standard(now[2 * size :]) + layer.bias[2 * size :] + r * before)
        states.append((1 - z) * states[-1] + z * n)
    return torch.stack(states)[1:]


def loop_layer_norm_lstm(layer: LayerNormLSTM, row: Tensor) -> Tensor:
    hidden = cell = row.new_zeros(layer.out_size)
    outputs = [hidden]
    for x in row:
        a = layer.input_gain * _standard(layer.input_weight @ x) + layer.bias
        i, f, g, o = (a + layer.hidden_gain * _standard(layer.hidden_weight @ hidden)).chunk(4)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(layer.cell_gain * _standard(cell) + layer.cell_bias)
        outputs.append(hidden)
    return torch.stack(outputs)[1:]


def loop_normed_both_ways(layer: Bidirectional, row: Tensor) -> Tensor:
    back = loop_layer_norm_gru(layer.backward_layer, row.flip(0)).flip(0)
    return torch.cat([loop_layer_norm_lstm(layer.forward_layer, row), back], dim=1)


def residual_of(layer: Residual, row: Tensor) -> Tensor:
    return row + loop_of(layer.layer, row)


def torch_convolution(layer: Convolution, row: Tensor) -> Tensor:
    """One row [length, in] through `torch.nn.functional.conv1d`, zeros set around it by hand."""
    before, after = {"causal": (1.0, 0.0), "centred": (0.5, 0.5), "valid": (0.0, 0.0)}[layer.padding]
    zeros = [row.new_zeros(int(share * layer.span), row.shape[1]) for share in (before, after)]
    padded = torch.cat([zeros[0], row, zeros[1]]).T
    if padded.shape[1] <= layer.span or not len(row):
        return row.new_zeros(0, layer.out_size)
    if layer.weight_norm:
        rows = [v / v.square().sum().sqrt() * g for v, g in zip(layer.weight_direction, layer.weight_length, strict=True)]
        weight = torch.stack(rows)
    else:
        weight = layer.weight
    return F.conv1d(padded, weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups).T


def torch_transposed(layer: TransposedConvolution, row: Tensor) -> Tensor:
    """One row [length, in] through `torch.nn.ConvTranspose1d`, cut or filled up to length · stride outputs."""
    module = nn.ConvTranspose1d(
        layer.in_size,
        layer.out_size,
        layer.kernel,
        layer.stride,
        groups=layer.groups,
        bias=layer.bias is not None,
        dilation=layer.dilation,
    )
    if not len(row):
        return row.new_zeros(0, layer.out_size)
    y = functional_call(module, dict(layer.named_parameters()), (row.T.unsqueeze(0),))[0].T
    y = y[layer.before : layer.before + len(row) * layer.stride]
    missing = row.new_zeros(len(row) * layer.stride - len(y), layer.out_size)
    return torch.cat([y, missing if layer.bias is None else missing + layer.bias])


def loop_windows(weight: Tensor, bias: Tensor, dilation: int, row: Tensor) -> Tensor:
    """A causal convolution tap by tap and step by step."""
    outputs = []
    for t in range(len(row)):
        total = bias
        for j in range(weight.shape[2]):
            source = t - (weight.shape[2] - 1 - j) * dilation
            if source >= 0:
                total = total + weight[:, :, j] @ row[source]
        outputs.append(total)
    return torch.stack(outputs) if outputs else row.new_zeros(0, len(bias))


def loop_temporal_block(block: TemporalBlock, row: Tensor) -> Tensor:
    hidden = row
    for convolution in (block.first, block.second):
        direction = convolution.weight_direction
        weight = direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1) * convolution.weight_length
        hidden = torch.relu(loop_windows(weight, convolution.bias, convolution.dilation, hidden))
    return torch.relu(hidden + (row if block.match is None else row @ block.match.weight.T + block.match.bias))


def loop_tcn(layer: TCN, row: Tensor) -> Tensor:
    for block in layer.blocks:
        row = loop_temporal_block(block, row)
    return row


def _wavenet_block(
    block: WaveNetBlock, row: Tensor, local: Tensor | None, context: Tensor | None
) -> tuple[Tensor | None, Tensor]:
    size = block.in_size
    a = loop_windows(block.convolution.weight, block.convolution.bias, block.convolution.dilation, row)
    if block.local_size:
        a = a + local @ block.condition.weight[:, : block.local_size].T
    if block.global_size:
        a = a + block.condition.weight[:, block.local_size :] @ context
    z = torch.tanh(a[:, :size]) * torch.sigmoid(a[:, size:])
    onward = None if block.mix is None else row + z @ block.mix.weight.T + block.mix.bias
    return onward, z @ block.skip.weight.T + block.skip.bias


def loop_wavenet_block(
    block: WaveNetBlock, row: Tensor, local: Tensor | None = None, context: Tensor | None = None
) -> Tensor:
    onward, skip = _wavenet_block(block, row, local, context)
    return skip if onward is None else torch.cat([onward, skip], dim=1)


def loop_wavenet(layer: WaveNet, row: Tensor, local: Tensor | None = None, context: Tensor | None = None) -> Tensor:
    row = loop_windows(layer.entry.weight, layer.entry.bias, 1, row)
    total = row.new_zeros(len(row), layer.hidden.in_features)
    for block in layer.blocks:
        row, skip = _wavenet_block(block, row, local, context)
        total = total + skip
    return layer.output(torch.relu(layer.hidden(torch.relu(total))))


def loop_convlstm(layer: ConvLSTM, row: Tensor) -> Tensor:
    """Gate by gate, one step at a time."""
    convolve = {1: F.conv1d, 2: F.conv2d}[len(layer.space)]
    hidden = cell = row.new_zeros(layer.out_size, *layer.space)
    weights = zip(layer.input_weight.chunk(4), layer.hidden_weight.chunk(4), layer.bias.chunk(4), strict=True)
    gates = [(torch.cat(pair[:2], dim=1), pair[2]) for pair in weights]
    none = row.new_zeros(3, *hidden.shape)
    v_i, v_f, v_o = none if layer.peephole_weight is None else layer.peephole_weight
    outputs = [hidden]
    for image in row:
        both = torch.cat([image, hidden]).unsqueeze(0)
        a_i, a_f, a_g, a_o = (convolve(both, weight, bias, padding="same")[0] for weight, bias in gates)
        kept = torch.sigmoid(a_f + v_f * cell) * cell
        cell = kept + torch.sigmoid(a_i + v_i * cell) * torch.tanh(a_g)
        hidden = torch.sigmoid(a_o + v_o * cell) * torch.tanh(cell)
        outputs.append(hidden)
    return torch.stack(outputs)[1:]
