"""Layers: maps from `Sequence` to `Sequence` under one contract (`Layer`), and poolings to one vector a row.

`check(layer)` checks any layer, of carryover or yours, against the laws of the contract.
"""

from carryover.kernels.step_buffer import StepBuffer
from carryover.layers.attention.additive_attention import AdditiveAttention
from carryover.layers.attention.attention_cache import AttentionState
from carryover.layers.attention.cross_attention import CrossAttention
from carryover.layers.attention.memory_attention import Memory, MemoryAttention
from carryover.layers.attention.memory_decoders import (
    BahdanauDecoder,
    FeedbackDecoder,
    FeedbackState,
    InputFeedingDecoder,
    LuongDecoder,
    LuongState,
    MemoryDecoder,
    SummaryDecoder,
)
from carryover.layers.attention.multiplicative_attention import MultiplicativeAttention
from carryover.layers.attention.positions import LearnedPositions, Positions, SinusoidalPositions
from carryover.layers.attention.self_attention import SelfAttention
from carryover.layers.attention.transformer import BlockState, Transformer, TransformerBlock
from carryover.layers.attention.window_attention import WindowAttention2D
from carryover.layers.base import Layer, State, choose_rows, detach_state, map_state, state_tensors
from carryover.layers.bidirectional import Bidirectional
from carryover.layers.characters import CharacterCNN
from carryover.layers.conditioning import Conditioned, FirstStateCondition, RepeatedCondition, RepeatedState
from carryover.layers.convolutional.convolution import Convolution, StridedState
from carryover.layers.convolutional.delay import Delay
from carryover.layers.convolutional.temporal import TCN, TemporalBlock, TemporalState
from carryover.layers.convolutional.transposed_convolution import TransposedConvolution
from carryover.layers.convolutional.wavenet import WaveNet, WaveNetBlock
from carryover.layers.dropout import Dropout, VariationalDropout, WeightDrop
from carryover.layers.element import ElementLayer
from carryover.layers.embedding import Embedding, embed_by_one_hot
from carryover.layers.highway import Highway
from carryover.layers.laws import LawBroken, check, ids, real_values
from carryover.layers.layer_norm import LayerNorm
from carryover.layers.mix import ScalarMix
from carryover.layers.perceptron import Perceptron
from carryover.layers.pooling import (
    AttentionPooling,
    ConcatenatedPooling,
    LastPooling,
    MaxPooling,
    MeanPooling,
    Pooling,
    SumPooling,
)
from carryover.layers.recurrent.convlstm import ConvLSTM
from carryover.layers.recurrent.elman import Elman
from carryover.layers.recurrent.gru import GRU
from carryover.layers.recurrent.hidden_state_base import HiddenRecurrence
from carryover.layers.recurrent.layer_norm_cells import LayerNormElman, LayerNormGRU, LayerNormLSTM
from carryover.layers.recurrent.lstm import LSTM, LSTMState
from carryover.layers.residual import Residual
from carryover.layers.stacked import Stacked
from carryover.layers.taps import Taps, taps

__all__ = [
    "GRU",
    "LSTM",
    "TCN",
    "AdditiveAttention",
    "AttentionPooling",
    "AttentionState",
    "BahdanauDecoder",
    "Bidirectional",
    "BlockState",
    "CharacterCNN",
    "ConcatenatedPooling",
    "Conditioned",
    "ConvLSTM",
    "Convolution",
    "CrossAttention",
    "Delay",
    "Dropout",
    "ElementLayer",
    "Elman",
    "Embedding",
    "FeedbackDecoder",
    "FeedbackState",
    "FirstStateCondition",
    "HiddenRecurrence",
    "Highway",
    "InputFeedingDecoder",
    "LSTMState",
    "LastPooling",
    "LawBroken",
    "Layer",
    "LayerNorm",
    "LayerNormElman",
    "LayerNormGRU",
    "LayerNormLSTM",
    "LearnedPositions",
    "LuongDecoder",
    "LuongState",
    "MaxPooling",
    "MeanPooling",
    "Memory",
    "MemoryAttention",
    "MemoryDecoder",
    "MultiplicativeAttention",
    "Perceptron",
    "Pooling",
    "Positions",
    "RepeatedCondition",
    "RepeatedState",
    "Residual",
    "ScalarMix",
    "SelfAttention",
    "SinusoidalPositions",
    "Stacked",
    "State",
    "StepBuffer",
    "StridedState",
    "SumPooling",
    "SummaryDecoder",
    "Taps",
    "TemporalBlock",
    "TemporalState",
    "Transformer",
    "TransformerBlock",
    "TransposedConvolution",
    "VariationalDropout",
    "WaveNet",
    "WaveNetBlock",
    "WeightDrop",
    "WindowAttention2D",
    "check",
    "choose_rows",
    "detach_state",
    "embed_by_one_hot",
    "ids",
    "map_state",
    "real_values",
    "state_tensors",
    "taps",
]
