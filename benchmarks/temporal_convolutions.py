"""Speed of the temporal convolutions beside their plain paths and beside torch.nn.

Everything of a case is interleaved in one process; a ratio is the median over rounds of (peer's seconds / our seconds),
with the smallest and the largest. Seconds on the clock and seconds of processor time (of all threads) are both given.
Before a case is timed its results, and gradients where it trains, are compared in double precision, and once more in single
precision, in which it is timed and in which compiled kernels run; nothing is reported when they disagree. (Single-precision
gradients of a deep rectifier network differ by more than rounding wherever a unit stands at its kink, hence their tolerance.)

    [CARRYOVER_PYTORCH_TCN=FOLDER] python benchmarks/temporal_convolutions.py [--rounds 9] [--threads 2] [--out benchmarks/results]

With the folder of pytorch-tcn 1.2.3 (see `peers/pytorch_tcn_network.py`) that network stands in every case of the TCN too, on
the same weights, its outputs and gradients compared like the others': whole passes, and for generation its streaming mode.

Cases, in the published size for the adding problem of 600 steps (Bai et al. 2018: 8 levels, kernel 8, 24 channels)
-----
training step     : outputs of all steps and all gradients, batch 32. "plain" is `tcn_plain`; "torch.nn" keeps [batch,
                    channels, time] and uses `torch.nn.Conv1d` under torch's weight norm, as the published code does.
last output       : each row's last output only and all gradients: `last_output`, the whole pass, "torch.nn".
last, ragged      : the same for rows of 200 to 600 steps.
generation        : seconds a token of streaming 50 tokens through `step`, batch 1, after a full receptive field (3,571
                    steps); beside it running the receptive field again for every token, whole (ours and "torch.nn")
                    or by `last_output`.
generation, 16 rows (and 64) : our steps beside the same without compiled kernels; pytorch-tcn streams one row only.
without weight norm : the same with one row, our steps by `TCN.without_weight_norm()`.
WaveNet           : the same for 10 levels, 32 channels, kernel 2 (1,025 steps).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from measuring.results import command_line, store
from measuring.rounds import largest_difference, ratio, spread, tell, times
from peers.pytorch_tcn_network import find_pytorch_tcn, leaves_of
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from carryover.layers import TCN, WaveNet
from carryover.layers.convolutional.temporal import TemporalBlock, tcn_plain
from carryover.sequence import Sequence

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
GRADIENT_TOLERANCE = 2e-2  # in single precision
MORE_ROWS = (16, 64)


@dataclass
class Run:
    """What is timed: its results, and how many units (tokens, passes) one call does."""

    results: Callable[[], list[Tensor]]
    units: int = 1


class TorchTCN(nn.Module):
    """The same network on the same weights with torch's modules only, [batch, channels, time] throughout."""

    def __init__(self, layer: TCN) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for block in layer.blocks:
            assert isinstance(block, TemporalBlock)
            convolutions = nn.ModuleList()
            for ours in (block.first, block.second):
                theirs = nn.Conv1d(ours.in_size, ours.out_size, ours.kernel, padding=ours.span, dilation=ours.dilation)
                theirs = weight_norm(theirs)
                theirs.load_state_dict(
                    {
                        "bias": ours.bias,
                        "parametrizations.weight.original0": ours.weight_length,
                        "parametrizations.weight.original1": ours.weight_direction,
                    }
                )
                convolutions.append(theirs)
            if block.match is not None:
                match = nn.Conv1d(block.in_size, block.out_size, 1)
                match.load_state_dict({"weight": block.match.weight.unsqueeze(2), "bias": block.match.bias})
                convolutions.append(match)
            self.blocks.append(convolutions)

    def forward(self, x: Tensor) -> Tensor:
        for convolutions in self.blocks:
            assert isinstance(convolutions, nn.ModuleList)
            hidden, time = x, x.shape[2]
            for convolution in list(convolutions)[:2]:
                hidden = torch.relu(convolution(hidden)[:, :, :time])
            x = torch.relu(hidden + (convolutions[2](x) if len(convolutions) == 3 else x))
        return x

    def leaves(self) -> list[Tensor]:
        """Parameters in the order of ours: bias, direction, length of each convolution, then the match."""
        found: list[Tensor] = []
        for convolutions in self.blocks:
            assert isinstance(convolutions, nn.ModuleList)
            for convolution in list(convolutions)[:2]:
                named = dict(convolution.named_parameters())
                found += [named["parametrizations.weight.original1"], named["parametrizations.weight.original0"]]
                found.append(named["bias"])
            if len(convolutions) == 3:
                found += list(convolutions[2].parameters())
        return found


def our_leaves(layer: TCN) -> list[Tensor]:
    found: list[Tensor] = []
    for block in layer.blocks:
        assert isinstance(block, TemporalBlock)
        for convolution in (block.first, block.second):
            assert convolution.bias is not None
            found += [convolution.weight_direction, convolution.weight_length, convolution.bias]
        found += [] if block.match is None else list(block.match.parameters())
    return found


def trained(output: Callable[[], Tensor], leaves: list[Tensor]) -> Run:
    """An output, and the gradients of a loss over it."""
    generator = torch.Generator().manual_seed(0)
    weights: list[Tensor] = []

    def run() -> list[Tensor]:
        y = output()
        if not weights:
            weights.append(torch.randn(y.shape, generator=generator))
        return [y, *(gradient.flatten() for gradient in torch.autograd.grad((y * weights[0]).sum(), leaves))]

    return Run(run)


def training_cases(batch: int = 32, time: int = 600) -> dict[str, dict[str, Run]]:
    layer = TCN(2, 24, levels=8, kernel=8)
    peer = TorchTCN(layer)
    x = Sequence.of(torch.randn(batch, time, 2))
    ragged = Sequence(x.values, torch.linspace(time // 3, time, batch).long())
    ours, theirs = our_leaves(layer), peer.leaves()

    def torch_whole() -> Tensor:
        return peer(x.values.transpose(1, 2)).transpose(1, 2)

    cases = {
        "training step": {
            "ours": trained(lambda: layer(x).values, ours),
            "plain": trained(lambda: tcn_plain(layer, x).values, ours),
            "torch.nn": trained(torch_whole, theirs),
        },
        "last output": {
            "ours": trained(lambda: layer.last_output(x), ours),
            "whole pass": trained(lambda: layer(x).last(), ours),
            "torch.nn": trained(lambda: torch_whole()[:, -1], theirs),
        },
        "last, ragged": {
            "ours": trained(lambda: layer.last_output(ragged), ours),
            "whole pass": trained(lambda: layer(ragged).last(), ours),
            "torch.nn": trained(lambda: torch_whole()[torch.arange(batch), ragged.lengths - 1], theirs),
        },
    }
    if (find := find_pytorch_tcn()) is not None:
        other = find(layer).to(x.values.dtype)
        others = leaves_of(other)

        def other_whole() -> Tensor:
            return other(x.values.transpose(1, 2)).transpose(1, 2)

        cases["training step"]["pytorch-tcn"] = trained(other_whole, others)
        cases["last output"]["pytorch-tcn"] = trained(lambda: other_whole()[:, -1], others)
        cases["last, ragged"]["pytorch-tcn"] = trained(
            lambda: other_whole()[torch.arange(batch), ragged.lengths - 1], others
        )
    return cases


def stepping(layer: TCN | WaveNet, x: Sequence, field: int) -> Run:
    """Our steps over all of x after its first `field`; the state is the one after those each time."""
    chunks = [x.slice(t, t + 1) for t in range(field, x.time)]
    with torch.no_grad():
        _, begun = layer.step(x.slice(0, field), layer.initial_state(x.batch_size))

    def run() -> list[Tensor]:
        state = begun
        with torch.no_grad():
            for chunk in chunks:
                y, state = layer.step(chunk, state)
            return [y.values[:, -1]]

    return Run(run, len(chunks))


def in_pytorch(layer: TCN | WaveNet) -> TCN | WaveNet:
    """A copy without compiled kernels."""
    plain = copy.deepcopy(layer)
    plain.fast = False
    return plain


def generation_cases(tokens: int = 50) -> dict[str, dict[str, Run]]:
    tcn, wavenet = TCN(2, 24, levels=8, kernel=8).eval(), WaveNet(2, 24, size=32, skip_size=32, levels=10).eval()
    cases = {}
    layers: dict[str, tuple[TCN | WaveNet, TCN | WaveNet]]
    layers = {
        "generation": (tcn, tcn),
        "without weight norm": (tcn.without_weight_norm(), tcn),
        "WaveNet": (wavenet, wavenet),
    }
    for name, (stepped, layer) in layers.items():
        field = layer.receptive_field
        assert field is not None
        x = Sequence.of(torch.randn(1, field + tokens, 2))
        window = x.slice(tokens, field + tokens)

        def again(layer: Any = layer, window: Sequence = window) -> list[Tensor]:
            with torch.no_grad():
                return [layer(window).values[:, -1]]

        cases[name] = {
            "ours": stepping(stepped, x, field),
            "steps in PyTorch": stepping(in_pytorch(stepped), x, field),
            "the field again": Run(again),
        }
        if isinstance(layer, TCN):

            def last(layer: TCN = layer, window: Sequence = window) -> list[Tensor]:
                with torch.no_grad():
                    return [layer.last_output(window)]

            peer = TorchTCN(layer)

            def torch_again(peer: TorchTCN = peer, window: Sequence = window) -> list[Tensor]:
                with torch.no_grad():
                    return [peer(window.values.transpose(1, 2))[:, :, -1]]

            cases[name]["the field's last output"] = Run(last)
            cases[name]["the field again, torch.nn"] = Run(torch_again)
            if (find := find_pytorch_tcn()) is not None:
                cases[name]["pytorch-tcn, streaming"] = streaming(find(layer), x, field, tokens)
    for rows in MORE_ROWS:
        for name, layer in {"generation": tcn, "WaveNet": wavenet}.items():
            field = layer.receptive_field
            assert field is not None
            x = Sequence.of(torch.randn(rows, field + tokens, 2))
            runs = {"ours": stepping(layer, x, field), "steps in PyTorch": stepping(in_pytorch(layer), x, field)}
            cases[f"{name}, {rows} rows"] = runs
    return cases


def streaming(peer: Any, x: Sequence, field: int, tokens: int) -> Run:
    """pytorch-tcn's streaming mode over the last `tokens` steps; its buffers are those after `field` steps each time."""
    peer = peer.to(x.values.dtype).eval()
    values = x.values.transpose(1, 2)
    with torch.no_grad():
        peer(values[:, :, :field], inference=True)
    buffers = peer.get_buffers()

    def run() -> list[Tensor]:
        peer.set_buffers(list(buffers))
        with torch.no_grad():
            for t in range(field, field + tokens):
                y = peer(values[:, :, t : t + 1], inference=True)
            return [y[:, :, -1]]

    return Run(run, tokens)


def double() -> bool:
    return torch.get_default_dtype() == torch.float64


def disagreement(name: str, runs: dict[str, Run]) -> float:
    """Largest relative distance from ours of any output and gradient; ends the program when one is too large."""
    tolerance = TOLERANCES[torch.get_default_dtype()]
    outputs = {label: (lambda run=run: run.results()[:1]) for label, run in runs.items()}
    worst = largest_difference(name, outputs, "ours", tolerance)
    everything = {label: run.results for label, run in runs.items()}
    return max(worst, largest_difference(name, everything, "ours", tolerance if double() else GRADIENT_TOLERANCE))


def measure(runs: dict[str, Run], rounds: int) -> dict[str, Any]:
    taken = {
        clock: {label: [seconds / runs[label].units for seconds in values] for label, values in found.items()}
        for clock, found in times({label: run.results for label, run in runs.items()}, rounds).items()
    }
    result: dict[str, Any] = {}
    for clock, found in taken.items():
        result[clock] = {label: spread(values)["median"] for label, values in found.items()}
        for peer in (label for label in runs if label != "ours"):
            result[f"ours against {peer}, ratio of {clock}"] = ratio(taken, peer, "ours", clock)
    return result


def main() -> None:
    parser = command_line(__doc__, rounds=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    worst = {name: disagreement(name, runs) for name, runs in {**training_cases(), **generation_cases()}.items()}
    torch.set_default_dtype(torch.float32)
    cases = {}
    for name, runs in {**training_cases(), **generation_cases()}.items():
        disagreement(name, runs)
        cases[name] = {"largest_relative_difference": worst[name], **measure(runs, options.rounds)}
        for key, value in cases[name].items():
            if "ratio" in key:
                tell(f"{name}: {key}", value)
    store("temporal_convolutions", options.out, {"rounds": options.rounds}, cases)


if __name__ == "__main__":
    main()
