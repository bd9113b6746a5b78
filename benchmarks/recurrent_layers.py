"""Speed of the recurrent layers beside their plain loops and beside torch.nn.

Everything of a case is interleaved in one process; a ratio is the median over rounds of (peer's seconds / our seconds),
with the smallest and the largest. Seconds on the clock and, because a busy machine blurs those, seconds of processor time
(of all threads) are both given. Before a case is timed its results, and gradients where it trains, are compared, and
nothing is reported when they disagree.

    [CARRYOVER_ALLENNLP=FOLDER] python benchmarks/recurrent_layers.py [--rounds 9] [--threads 2] [--out benchmarks/results]

Cases
-----
projection, forward : LSTM with projection and both clips, batch 32, 50 steps, 1,024 cells to 128; the plain loop beside it.
projection, step    : the same with its backward pass. What bounds both: the matrix products, whose seconds at the rate this
                      machine reaches in one large product are stored beside them ("floor").
AllenNLP            : with the folder of AllenNLP 2.10.1 (see `peers/allennlp_modules.py`): its `LstmCellWithProjection` in the two
                      cases above, and its `ElmoLstm` of two layers in both directions, 512 cells to 128, rows of 17 to 50 steps,
                      with the backward pass.
two directions      : a layer of the small language model, 512 cells to 128 each way, 20 steps, forward and backward pass;
                      two `torch.nn.LSTM(proj_size=128)` beside it. Once more with rows of unequal length.
plain LSTM, GRU, GRU that resets before, Elman (sigmoid) : forward and backward pass, 256 units; the plain loop beside it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from measuring.results import command_line, store
from measuring.rounds import Run, largest_difference, ratio, spread, tell, times
from peers.allennlp_modules import find_allennlp
from torch import Tensor, nn

from carryover.kernels.products import product
from carryover.layers.recurrent.elman import Elman, elman_loop
from carryover.layers.recurrent.gru import GRU, gru_loop
from carryover.layers.recurrent.lstm import LSTM, lstm_loop
from carryover.layers.recurrent.lstm_side_by_side import lstm_together
from carryover.sequence import Sequence

LOW = "bfloat16"
TOLERANCE, LOW_TOLERANCE = 1e-4, 3e-2


def in_bfloat16(run: Run) -> Run:
    def wrapped() -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return run()

    return wrapped


def without_gradients(run: Run) -> Run:
    def wrapped() -> list[Tensor]:
        with torch.no_grad():
            return run()

    return wrapped


def trained(outputs: Run, leaves: list[Tensor], low: bool = False) -> Run:
    """Outputs, and the gradients of a loss over them."""
    generator = torch.Generator().manual_seed(0)
    weights: list[Tensor] = []

    def run() -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            values = outputs()
        if not weights:
            weights.extend(torch.randn(value.shape, generator=generator) for value in values)
        loss = torch.stack([(value * weight).sum() for value, weight in zip(values, weights, strict=True)]).sum()
        return [*values, *torch.autograd.grad(loss, leaves)]

    return run


def projection_cases(batch: int = 32, time: int = 50) -> dict[str, dict[str, Run]]:
    layer = LSTM(128, 1024, projection=128, cell_clip=3, projection_clip=3)
    x, state = Sequence.of(torch.randn(batch, time, 128, requires_grad=True)), layer.initial_state(batch)
    leaves = [x.values, *layer.parameters()]

    def ours() -> list[Tensor]:
        return [layer.step(x, state)[0].values]

    def loop() -> list[Tensor]:
        return [lstm_loop(layer, x, state)[0].values]

    cases = {
        "projection, forward": {
            "ours": without_gradients(ours),
            "loop": without_gradients(loop),
            f"ours, {LOW}": without_gradients(in_bfloat16(ours)),
        },
        "projection, step": {
            "ours": trained(ours, leaves),
            "loop": trained(loop, leaves),
            f"ours, {LOW}": trained(ours, leaves, low=True),
        },
    }
    if (find := find_allennlp()) is not None:
        cell = find("modules.lstm_cell_with_projection.LstmCellWithProjection")(
            128, 128, 1024, memory_cell_clip_value=3.0, state_projection_clip_value=3.0
        )

        def allennlp() -> list[Tensor]:
            return [cell(x.values, [time] * batch)[0]]

        cases["projection, forward"]["AllenNLP"] = without_gradients(allennlp)
        cases["projection, step"]["AllenNLP"] = trained(allennlp, [x.values, *copied(layer, cell)])
    return cases


def floor(batch: int = 32, time: int = 50) -> dict[str, Any]:
    """Seconds of the products of "projection, forward" at the rate of one large product, by type."""
    work = 2 * batch * time * (2 * 128 * 4096 + 1024 * 128)
    found: dict[str, Any] = {"operations": work}
    for dtype in (torch.float32, torch.bfloat16):
        one = torch.randn(1536, 1536).to(dtype)
        seconds = min(_seconds_of(lambda one=one: product(one, one)) for _ in range(7))  # type: ignore[misc]
        rate = 2 * 1536**3 / seconds
        found[str(dtype).removeprefix("torch.")] = {"operations_per_second": rate, "seconds": work / rate}
    return found


def _seconds_of(run: Callable[[], Any]) -> float:
    before = time.perf_counter()
    run()
    return time.perf_counter() - before


def copied(layer: LSTM, cell: Any) -> list[Tensor]:
    """The weights of AllenNLP's cell in the order of ours, with our numbers."""
    theirs = [
        cell.input_linearity.weight,
        cell.state_linearity.weight,
        cell.state_linearity.bias,
        cell.state_projection.weight,
    ]
    with torch.no_grad():
        for mine, its in zip(layer.parameters(), theirs, strict=True):
            its.copy_(mine)
    return theirs


def elmo_cases(batch: int = 32, time: int = 50) -> dict[str, dict[str, Run]]:
    if (find := find_allennlp()) is None:
        return {}
    directions = [[LSTM(128, 512, projection=128, cell_clip=3, projection_clip=3) for _ in range(2)] for _ in range(2)]
    peer = find("modules.elmo_lstm.ElmoLstm")(
        128, 128, 512, 2, requires_grad=True, memory_cell_clip_value=3.0, state_projection_clip_value=3.0
    )
    x = Sequence.of(torch.randn(batch, time, 128, requires_grad=True), torch.linspace(time // 3 + 1, time, batch).long())
    leaves, its = [x.values], [x.values]
    for name, layers in zip(("forward", "backward"), directions, strict=True):
        for number, layer in enumerate(layers):
            leaves += list(layer.parameters())
            its += copied(layer, getattr(peer, f"{name}_layer_{number}"))

    def ours() -> list[Tensor]:
        inputs, outputs = [x, x.reverse()], []
        for number, pair in enumerate(zip(*directions, strict=True)):
            found, _ = lstm_together(pair, inputs, [layer.initial_state(batch) for layer in pair])
            inputs = [
                y.map(lambda v, below=below: v + below.values) if number else y
                for y, below in zip(found, inputs, strict=True)
            ]  # type: ignore[misc]
            outputs.append(torch.cat([inputs[0].values, inputs[1].reverse().values], -1))
        return [torch.stack(outputs)]

    def allennlp() -> list[Tensor]:
        peer.reset_states()
        return [peer(x.values, x.mask)]

    return {
        "AllenNLP, ElmoLstm": {
            "ours": trained(ours, leaves),
            "AllenNLP": trained(allennlp, its),
            f"ours, {LOW}": trained(ours, leaves, low=True),
        }
    }


def two_directions(batch: int = 32, time: int = 20) -> dict[str, dict[str, Run]]:
    layers, peers = [LSTM(128, 512, projection=128) for _ in range(2)], []
    for layer in layers:
        peer = nn.LSTM(128, 512, proj_size=128, batch_first=True)
        with torch.no_grad():
            for mine, theirs in zip(
                (layer.input_weight, layer.hidden_weight, layer.bias, torch.zeros_like(layer.bias), layer.projection_weight),
                peer.parameters(),
                strict=True,
            ):
                theirs.copy_(mine)
        peers.append(peer)
    weights = [[layer.input_weight, layer.hidden_weight, layer.bias, layer.projection_weight] for layer in layers]
    peer_weights = [[p.weight_ih_l0, p.weight_hh_l0, p.bias_ih_l0, p.weight_hr_l0] for p in peers]
    values = [torch.randn(batch, time, 128, requires_grad=True) for _ in range(2)]
    states = [layer.initial_state(batch) for layer in layers]
    cases = {}
    for name, lengths in {
        "two directions": torch.full((batch,), time),
        "two directions, ragged": torch.linspace(time // 3, time, batch).long(),
    }.items():
        inputs = [Sequence.of(value, lengths) for value in values]

        def ours(inputs: list[Sequence] = inputs) -> list[Tensor]:
            return [y.values for y in lstm_together(layers, inputs, states)[0]]

        def torch_nn(inputs: list[Sequence] = inputs) -> list[Tensor]:
            return [x.with_values(peer(x.values)[0]).zero_padding().values for peer, x in zip(peers, inputs, strict=True)]

        cases[name] = {
            "ours": trained(ours, [*values, *weights[0], *weights[1]]),
            "torch.nn": trained(torch_nn, [*values, *peer_weights[0], *peer_weights[1]]),  # type: ignore[list-item]
            f"ours, {LOW}": trained(ours, [*values, *weights[0], *weights[1]], low=True),
        }
    return cases


def plain_cases(batch: int = 32, time: int = 30) -> dict[str, dict[str, Run]]:
    layers: dict[str, tuple[Any, Any]] = {
        "plain LSTM": (LSTM(128, 256), lstm_loop),
        "GRU": (GRU(128, 256), gru_loop),
        "GRU, reset before": (GRU(128, 256, reset="before"), gru_loop),
        "Elman, sigmoid": (Elman(128, 256, nonlinearity="sigmoid"), elman_loop),
    }
    cases = {}
    for name, (layer, loop) in layers.items():
        x = Sequence.of(torch.randn(batch, time, 128, requires_grad=True))
        state, leaves = layer.initial_state(batch), [x.values, *layer.parameters()]
        cases[name] = {
            "ours": trained(lambda x=x, layer=layer: [layer(x).values], leaves),  # type: ignore[misc]
            "loop": trained(lambda x=x, s=state, layer=layer, loop=loop: [loop(layer, x, s)[0].values], leaves),  # type: ignore[misc]
        }
    return cases


def measure(runs: dict[str, Run], rounds: int) -> dict[str, Any]:
    taken = times(runs, rounds)
    result: dict[str, Any] = {
        clock: {label: spread(values)["median"] for label, values in taken[clock].items()} for clock in taken
    }
    for clock in taken:
        for label in (label for label in runs if "ours" in label):
            for peer in (label for label in runs if "ours" not in label):
                result[f"{label} against {peer}, ratio of {clock}"] = ratio(taken, peer, label, clock)
    return result


def main() -> None:
    parser = command_line(__doc__, rounds=9)
    options = parser.parse_args()
    # torch says of its own LSTM with projection that oneDNN has no kernel for it.
    warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    cases: dict[str, Any] = {}
    for name, runs in {**projection_cases(), **elmo_cases(), **two_directions(), **plain_cases()}.items():
        worst = largest_difference(name, {label: run for label, run in runs.items() if LOW not in label}, "ours", TOLERANCE)
        largest_difference(
            name, {label: run for label, run in runs.items() if LOW in label or label == "ours"}, "ours", LOW_TOLERANCE
        )
        cases[name] = {"largest_relative_difference": worst, **measure(runs, options.rounds)}
        for key, value in cases[name].items():
            if "ratio" in key:
                tell(f"{name}: {key}", value)
    cases["projection, forward"]["floor"] = floor()
    store("recurrent_layers", options.out, {"rounds": options.rounds}, cases)


if __name__ == "__main__":
    main()
