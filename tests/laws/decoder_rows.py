"""The inventory's rows of layers that are told of something else: a vector, or a memory with and without attention."""

from __future__ import annotations

from carryover.layers import (
    GRU,
    LSTM,
    AdditiveAttention,
    BahdanauDecoder,
    Convolution,
    Dropout,
    Elman,
    FirstStateCondition,
    InputFeedingDecoder,
    LastPooling,
    LuongDecoder,
    MultiplicativeAttention,
    RepeatedCondition,
    Residual,
    Stacked,
    SummaryDecoder,
)
from laws.decoder_references import (
    loop_bahdanau,
    loop_first_state_lstm,
    loop_first_state_stack,
    loop_input_feeding,
    loop_luong,
    loop_repeated,
    loop_summary,
)
from laws.references import loop_of, torch_convolution
from laws.row import Row
from laws.with_memory import AboutFixed, OverFixed, OverItself, about_fixed, over_fixed, over_itself

DECODER_ROWS = [
    Row(
        "BahdanauDecoder",
        lambda: OverItself(BahdanauDecoder(GRU(6, 5), AdditiveAttention(5, 3, 6))),
        over_itself(loop_bahdanau),
        stands_for="BahdanauDecoder",
    ),
    Row(
        "BahdanauDecoder, fixed memory",
        lambda: OverFixed(BahdanauDecoder(GRU(6, 5), AdditiveAttention(5, 2, 6))),
        over_fixed(loop_bahdanau),
        stands_for="BahdanauDecoder",
    ),
    Row(
        "LuongDecoder",
        lambda: OverItself(LuongDecoder(LSTM(3, 4), MultiplicativeAttention(4, 3), 5)),
        over_itself(loop_luong),
        stands_for="LuongDecoder",
    ),
    Row(
        "LuongDecoder, fixed memory",
        lambda: OverFixed(LuongDecoder(LSTM(3, 4), MultiplicativeAttention(4, 2), 5)),
        over_fixed(loop_luong),
        stands_for="LuongDecoder",
    ),
    Row(
        "InputFeedingDecoder",
        lambda: OverItself(InputFeedingDecoder(LSTM(8, 4), MultiplicativeAttention(4, 3), 5)),
        over_itself(loop_input_feeding),
        stands_for="InputFeedingDecoder",
    ),
    Row(
        "InputFeedingDecoder, fixed memory",
        lambda: OverFixed(InputFeedingDecoder(LSTM(8, 4), MultiplicativeAttention(4, 2), 5)),
        over_fixed(loop_input_feeding),
        stands_for="InputFeedingDecoder",
    ),
    Row(
        "SummaryDecoder",
        lambda: OverItself(SummaryDecoder(LastPooling(4, both_ends=True), FirstStateCondition(LSTM(4, 5), 4))),
        over_itself(loop_summary),
        stands_for="SummaryDecoder",
    ),
    Row(
        "SummaryDecoder, fixed memory",
        lambda: OverFixed(SummaryDecoder(LastPooling(4, both_ends=True), FirstStateCondition(LSTM(3, 5), 4))),
        over_fixed(loop_summary),
        stands_for="SummaryDecoder",
    ),
    Row(
        "FirstStateCondition",
        lambda: AboutFixed(FirstStateCondition(LSTM(3, 4), 2)),
        about_fixed(loop_first_state_lstm),
        stands_for="FirstStateCondition",
    ),
    Row(
        "FirstStateCondition, stack",
        lambda: AboutFixed(FirstStateCondition(Stacked(GRU(3, 4), Dropout(4, 0.5), Residual(Elman(4, 4))), 2)),
        about_fixed(loop_first_state_stack),
        stands_for="FirstStateCondition",
    ),
    Row(
        "RepeatedCondition",
        lambda: AboutFixed(RepeatedCondition(GRU(5, 4), 2)),
        about_fixed(loop_repeated(loop_of)),
        stands_for="RepeatedCondition",
    ),
    Row(
        "RepeatedCondition, add",
        lambda: AboutFixed(RepeatedCondition(Convolution(3, 4, 3, dilation=2), 2, how="add")),
        about_fixed(loop_repeated(torch_convolution)),
        stands_for="RepeatedCondition",
    ),
]
