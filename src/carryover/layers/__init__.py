"""Layers: maps from `Sequence` to `Sequence` under one contract (`Layer`), and poolings to one vector a row.

`check(layer)` holds any layer, this library's or your own, against the laws of the contract.
"""

from carryover.layers.base import Layer, State, choose_rows, detach_state, map_state, state_tensors
from carryover.layers.bidirectional import Bidirectional
from carryover.layers.characters import CharacterCNN
from carryover.layers.convlstm import ConvLSTM
from carryover.layers.convolution import Convolution, StridedState
from carryover.layers.delay import Delay
from carryover.layers.dropout import Dropout, VariationalDropout, WeightDrop
from carryover.layers.element import ElementLayer
from carryover.layers.elman import Elman
from carryover.layers.embedding import Embedding, embed_by_one_hot
from carryover.layers.gru import GRU
from carryover.layers.highway import Highway
from carryover.layers.laws import LawBroken, check, ids, real_values
from carryover.layers.lstm import LSTM, LSTMState
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
from carryover.layers.residual import Residual
from carryover.layers.stacked import Stacked
from carryover.layers.step_buffer import StepBuffer
from carryover.layers.temporal import TCN, TemporalBlock, TemporalState
from carryover.layers.transposed_convolution import TransposedConvolution
from carryover.layers.wavenet import WaveNet, WaveNetBlock

__all__ = [
    "GRU",
    "LSTM",
    "TCN",
    "AttentionPooling",
    "Bidirectional",
    "CharacterCNN",
    "ConcatenatedPooling",
    "ConvLSTM",
    "Convolution",
    "Delay",
    "Dropout",
    "ElementLayer",
    "Elman",
    "Embedding",
    "Highway",
    "LSTMState",
    "LastPooling",
    "LawBroken",
    "Layer",
    "MaxPooling",
    "MeanPooling",
    "Perceptron",
    "Pooling",
    "Residual",
    "ScalarMix",
    "Stacked",
    "State",
    "StepBuffer",
    "StridedState",
    "SumPooling",
    "TemporalBlock",
    "TemporalState",
    "TransposedConvolution",
    "VariationalDropout",
    "WaveNet",
    "WaveNetBlock",
    "WeightDrop",
    "check",
    "choose_rows",
    "detach_state",
    "embed_by_one_hot",
    "ids",
    "map_state",
    "real_values",
    "state_tensors",
]
