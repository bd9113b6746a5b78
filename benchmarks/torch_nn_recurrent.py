"""Every recurrent layer whose options torch.nn has too, beside torch.nn on the same weights; and training in bfloat16.

Everything of a case is interleaved in one process; a ratio is the median over rounds of (torch.nn's seconds / ours), with
the smallest and the largest. Outputs, and the gradients of input and weights where a case trains, are compared first, and
nothing is reported when they disagree. Rows of unequal length go to torch.nn packed, as it asks for; in one direction also
padded, with the padding set to zero afterwards, which is right there because nothing flows back from the padding.

    python benchmarks/torch_nn_recurrent.py [--rounds 9] [--threads 2] [--cpu-time] [--out benchmarks/results]

Cases
-----
Elman (tanh, relu), LSTM, LSTM projected to 128, GRU : 128 features to 256 units (512 cells before the projection), batch 32,
        50 steps; one and two directions, full rows and rows of 17 to 50 steps, forward and with the backward pass. What bounds
        it: the matrix products, and in the forward pass of the smaller ones starting a kernel for every step.
Elman (tanh), LSTM, GRU of the published table : training at the sizes of the adding problem (batch 32, 600 steps), copy memory
        (batch 32, 1,020 steps), the JSB chorales (batch 1, 60 steps), and of 1,024 units on 1,024 features (batch 32, 50 steps).
bfloat16 : training of LSTM and GRU of 1,024 units on 1,024 features under autocast beside ours in float32. It is bound by the
        products.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from measuring.results import add_clock, command_line, store
from measuring.rounds import Run, largest_difference, ratio, spread, tell, times
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from carryover.layers import GRU, LSTM, Bidirectional, Elman, Layer
from carryover.layers.recurrent.hidden_state_base import HiddenRecurrence
from carryover.sequence import Sequence

IN_SIZE, SIZE, BATCH, STEPS = 128, 256, 32, 50
LARGE = 1024
TOLERANCE, LOW_TOLERANCE = 1e-4, 5e-2

OTHER_SHAPES = {  # features, batch, steps, units by kind
    "adding problem": (2, 32, 600, {"Elman": 262, "LSTM": 130, "GRU": 150}),
    "copy memory": (10, 32, 1020, {"Elman": 110, "LSTM": 50, "GRU": 62}),
    "JSB chorales": (88, 1, 60, {"Elman": 400, "LSTM": 200, "GRU": 240}),
    "large": (LARGE, BATCH, STEPS, {"Elman": LARGE, "LSTM": LARGE, "GRU": LARGE}),
}
CLASSES: dict[str, tuple[type[Any], type[nn.RNNBase]]] = {
    "Elman": (Elman, nn.RNN),
    "LSTM": (LSTM, nn.LSTM),
    "GRU": (GRU, nn.GRU),
}

KINDS: dict[str, tuple[Callable[[], Any], Callable[..., nn.RNNBase]]] = {
    "Elman, tanh": (lambda: Elman(IN_SIZE, SIZE), lambda **o: nn.RNN(IN_SIZE, SIZE, **o)),
    "Elman, relu": (
        lambda: Elman(IN_SIZE, SIZE, nonlinearity="relu"),
        lambda **o: nn.RNN(IN_SIZE, SIZE, nonlinearity="relu", **o),
    ),
    "LSTM": (lambda: LSTM(IN_SIZE, SIZE), lambda **o: nn.LSTM(IN_SIZE, SIZE, **o)),
    "LSTM, projection": (
        lambda: LSTM(IN_SIZE, 2 * SIZE, projection=IN_SIZE),
        lambda **o: nn.LSTM(IN_SIZE, 2 * SIZE, proj_size=IN_SIZE, **o),
    ),
    "GRU": (lambda: GRU(IN_SIZE, SIZE), lambda **o: nn.GRU(IN_SIZE, SIZE, **o)),
}


def pairs(layer: Any, peer: nn.RNNBase, suffix: str) -> list[tuple[Tensor, Tensor]]:
    """Our weights of one direction and torch's that hold the same, copied over."""
    second = layer.hidden_bias() if isinstance(layer, HiddenRecurrence) else torch.zeros_like(layer.bias)
    names = [("input_weight", "weight_ih_l0"), ("hidden_weight", "weight_hh_l0"), ("bias", "bias_ih_l0")]
    if getattr(layer, "projection_weight", None) is not None:
        names.append(("projection_weight", "weight_hr_l0"))
    found = [(getattr(layer, mine), getattr(peer, theirs + suffix)) for mine, theirs in names]
    with torch.no_grad():
        for mine, theirs in [*found, (second, getattr(peer, "bias_hh_l0" + suffix))]:
            theirs.copy_(mine)
    return found


def first(common: list[Tensor], everything: list[Tensor]) -> list[Tensor]:
    """All of `everything`, the `common` ones leading in their order: those are compared, all are computed."""
    known = {id(tensor) for tensor in common}
    return [*common, *(tensor for tensor in everything if id(tensor) not in known)]


def run_of(output: Callable[[], Tensor], leaves: list[Tensor], weight: Tensor, train: bool, compared: int) -> Run:
    def run() -> list[Tensor]:
        with torch.set_grad_enabled(train):
            y = output()
            return [y, *torch.autograd.grad((y * weight).sum(), leaves)[:compared]] if train else [y]

    return run


def layer_cases() -> dict[str, tuple[dict[str, Run], list[Any]]]:
    """Case → its contestants, and our layers of one direction each, which know the path they took."""
    cases = {}
    for kind, (ours_of, peer_of) in KINDS.items():
        for directions in ("one direction", "two directions"):
            two = directions == "two directions"
            torch.manual_seed(0)
            singles = [ours_of() for _ in range(1 + two)]
            layer: Layer = Bidirectional(*singles) if two else singles[0]
            peer = peer_of(batch_first=True, bidirectional=two)
            same = [
                pair for one, suffix in zip(singles, ("", "_reverse"), strict=False) for pair in pairs(one, peer, suffix)
            ]
            values = torch.randn(BATCH, STEPS, IN_SIZE, requires_grad=True)
            mine = first([values, *(ours for ours, _ in same)], list(layer.parameters()))
            its = first([values, *(theirs for _, theirs in same)], list(peer.parameters()))
            weight = torch.randn(BATCH, STEPS, layer.out_size)
            for rows, lengths in {
                "full": torch.full((BATCH,), STEPS),
                "ragged": torch.linspace(STEPS // 3 + 1, STEPS, BATCH).long(),
            }.items():
                x = Sequence.of(values, lengths)
                outputs = {"ours": lambda layer=layer, x=x: layer(x).values}
                if rows == "ragged":
                    outputs["torch.nn, packed"] = lambda peer=peer, x=x: packed(peer, x)
                if rows == "full":
                    outputs["torch.nn"] = lambda peer=peer, x=x: peer(x.values)[0]
                elif not two:
                    outputs["torch.nn, padded"] = lambda peer=peer, x=x: padded(peer, x)
                for mode in ("forward", "training"):
                    runs = {
                        label: run_of(y, mine if label == "ours" else its, weight, mode == "training", len(same) + 1)
                        for label, y in outputs.items()
                    }
                    cases[f"{kind}, {directions}, {rows}, {mode}"] = (runs, singles)
    return cases


def other_shapes() -> dict[str, tuple[dict[str, Run], list[Any]]]:
    """`layer_cases` in one direction, full rows, training, at other sizes."""
    cases = {}
    for shape, (features, batch, steps, units) in OTHER_SHAPES.items():
        for kind, size in units.items():
            torch.manual_seed(0)
            ours_of, peer_of = CLASSES[kind]
            layer, peer = ours_of(features, size), peer_of(features, size, batch_first=True)
            same = pairs(layer, peer, "")
            values, weight = torch.randn(batch, steps, features, requires_grad=True), torch.randn(batch, steps, size)
            mine = first([values, *(ours for ours, _ in same)], list(layer.parameters()))
            its = first([values, *(theirs for _, theirs in same)], list(peer.parameters()))
            x = Sequence.of(values)
            outputs: dict[str, tuple[Callable[[], Tensor], list[Tensor]]] = {
                "ours": (lambda layer=layer, x=x: layer(x).values, mine),
                "torch.nn": (lambda peer=peer, values=values: peer(values)[0], its),
            }
            runs = {label: run_of(y, leaves, weight, True, len(same) + 1) for label, (y, leaves) in outputs.items()}
            cases[f"{kind}, {shape}, training"] = (runs, [layer])
    return cases


def packed(peer: nn.RNNBase, x: Sequence) -> Tensor:
    rows = pack_padded_sequence(x.values, x.lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(peer(rows)[0], batch_first=True, total_length=x.time)[0]


def padded(peer: nn.RNNBase, x: Sequence) -> Tensor:
    return peer(x.values)[0].masked_fill(~x.mask.unsqueeze(2), 0)


def low_cases() -> dict[str, dict[str, Run]]:
    cases = {}
    for kind, layer in {"LSTM": LSTM(LARGE, LARGE), "GRU": GRU(LARGE, LARGE)}.items():
        x = Sequence.of(torch.randn(BATCH, STEPS, LARGE, requires_grad=True))
        weight, leaves = torch.randn(BATCH, STEPS, LARGE), [x.values, *layer.parameters()]

        def output(low: bool, layer: Layer = layer, x: Sequence = x) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                return layer(x).values

        cases[f"{kind} of {LARGE}, training"] = {
            label: run_of(lambda low=label == "bfloat16", output=output: output(low), leaves, weight, True, len(leaves))  # type: ignore[misc]
            for label in ("bfloat16", "float32")
        }
    return cases


def main() -> None:
    parser = command_line(__doc__, rounds=9)
    add_clock(parser)
    options = parser.parse_args()
    clock = "processor_seconds" if options.cpu_time else "seconds"
    # torch says of its own LSTM with projection that oneDNN has no kernel for it.
    warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
    torch.set_num_threads(options.threads)
    cases: dict[str, Any] = {}
    for name, (runs, layers) in (layer_cases() | other_shapes()).items():
        worst = largest_difference(name, runs, "ours", TOLERANCE)
        taken = times(runs, options.rounds)
        cases[name] = {
            "largest_relative_difference": worst,
            "our_path": layers[0].last_path,
            "seconds": {label: spread(values) for label, values in taken[clock].items()},
        }
        for peer in (label for label in runs if label != "ours"):
            cases[name][f"ours against {peer}"] = ratio(taken, peer, "ours", clock)
            tell(f"{name} ({layers[0].last_path}): ours against {peer}", cases[name][f"ours against {peer}"])
    for name, low_runs in low_cases().items():
        worst = largest_difference(name, low_runs, "float32", LOW_TOLERANCE)
        taken = times(low_runs, options.rounds)
        cases[name] = {
            "largest_relative_difference": worst,
            "seconds": {label: spread(values) for label, values in taken[clock].items()},
            "bfloat16 against float32": ratio(taken, "float32", "bfloat16", clock),
        }
        tell(f"{name}: bfloat16 against float32", cases[name]["bfloat16 against float32"])
    settings = {"clock": clock, "rounds": options.rounds, "batch": BATCH, "steps": STEPS, "in_size": IN_SIZE, "size": SIZE}
    store("torch_nn_recurrent", options.out, settings, cases)


if __name__ == "__main__":
    main()
