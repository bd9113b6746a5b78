"""The compiled kernels: the same numbers as the plain paths, under the same laws, and done without where they cannot be."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from carryover.kernels import c_library, character_cnn
from carryover.layers import CharacterCNN, prepared, taps
from carryover.layers.highway import Highway
from carryover.layers.recurrent.lstm import LSTM, LSTMState, lstm_loop
from carryover.layers.recurrent.lstm_side_by_side import lstm_together
from carryover.sequence import Sequence
from parity.recurrent import LENGTHS, ragged

CLIPS = {"cell_clip": 0.5, "projection_clip": 0.2}
SHAPES = [(3, 5, 2, CLIPS), (7, 33, 70, {}), (64, 48, 64, CLIPS), (128, 512, 128, CLIPS)]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compiled kernels for layers of any size; skipped where the machine has none."""
    if c_library.library() is None:
        pytest.skip("no compiled kernels here: they need AVX-512 and a C compiler")
    monkeypatch.setattr(c_library, "LEAST_WEIGHTS", 0)
    monkeypatch.delenv("CARRYOVER_KERNELS", raising=False)
    with torch.no_grad():
        yield


def made(in_size: int, cells: int, projection: int, clips: dict[str, float]) -> LSTM:
    torch.manual_seed(cells)
    return LSTM(in_size, cells, projection=projection, **clips)  # type: ignore[arg-type]


def a_state(layer: LSTM, rows: int) -> LSTMState:
    return LSTMState(torch.randn(rows, layer.out_size) / 5, torch.randn(rows, layer.cell_size) / 3)


def low() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


# The LSTM --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_lstm_equals_the_plain_loop(kernels: None, shape: tuple[int, int, int, dict[str, float]], lengths: str) -> None:
    """Padding holds NaN; rows of length 0 and 1, no row at all with a step, sizes that fill no register."""
    layer = made(*shape)
    x, state = ragged(layer, LENGTHS[lengths]), a_state(layer, 5)
    expected, last = lstm_loop(layer, x, state)
    found, found_last = layer.step(x, state)
    assert layer.last_path == ("scan" if lengths == "empty" else "compiled")
    torch.testing.assert_close(found.values, expected.values, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found_last, last, atol=1e-6, rtol=1e-6)
    with low():
        near, near_last = layer.step(x, state)
    if layer.last_path == "compiled":
        assert near.values.dtype == torch.bfloat16 and near_last.cell.dtype == torch.float32
        for one, other in ((near.values, expected.values), (near_last.hidden, last.hidden), (near_last.cell, last.cell)):
            assert (one.float() - other).norm() <= 0.01 * other.norm()


def test_a_row_depends_on_nothing_but_itself(kernels: None) -> None:
    """To the last bit: alone, in another place, beside other rows, in steps, by any number of threads."""
    layer = made(40, 80, 24, CLIPS)
    x = Sequence.of(torch.randn(23, 9, 40), [9] * 11 + [5] * 7 + [1, 2, 3, 9, 0])
    state = a_state(layer, 23)
    for precision in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", precision, enabled=precision == torch.bfloat16):
            whole, last = layer.step(x, state)
            assert layer.last_path == "compiled"
            for row in (0, 12, 18, 21):
                alone = Sequence(x.values[row : row + 1], x.lengths[row : row + 1])
                y, end = layer.step(alone, LSTMState(*(part[row : row + 1] for part in state)))
                assert torch.equal(y.values[0], whole.values[row]) and torch.equal(end.cell[0], last.cell[row])
            order = torch.randperm(23)
            moved, _ = layer.step(Sequence(x.values[order], x.lengths[order]), LSTMState(*(part[order] for part in state)))
            assert torch.equal(moved.values, whole.values[order])
            pieces, carried = [], state
            for start, stop in ((0, 1), (1, 4), (4, 9)):
                piece, carried = layer.step(x.slice(start, stop), carried)
                pieces.append(piece.values)
            assert torch.equal(torch.cat(pieces, 1), whole.values)
            assert torch.equal(carried.hidden, last.hidden) and torch.equal(carried.cell, last.cell)


def test_threads_change_nothing(kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = made(40, 80, 130, CLIPS)
    x, state = Sequence.of(torch.randn(7, 40, 40), [40, 3, 17, 0, 1, 40, 39]), a_state(layer, 7)
    encoder = words(((1, 16), (3, 48)), 1, 70)
    characters = spelled(53)
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(c_library, "threads_for", lambda work, threads=threads: threads)
        y, last = layer.step(x, state)
        results.append((y.values, *last, encoder.encode_types(characters)))
    assert layer.last_path == encoder.last_path == "compiled"
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_gates_are_made_block_by_block(kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = made(5, 16, 8, CLIPS)
    x, state = Sequence.of(torch.randn(6, 12, 5), [12, 12, 7, 7, 2, 1]), a_state(layer, 6)
    whole, _ = layer.step(x, state)
    monkeypatch.setattr("carryover.kernels.projected_lstm_inference.GATE_BYTES", 9 * 4 * 4 * 16)
    blocks, _ = layer.step(x, state)
    assert layer.last_path == "compiled" and torch.equal(whole.values, blocks.values)


def test_large_and_wrong_numbers(kernels: None) -> None:
    """Saturated gates are as in the loop, and a NaN of one row stays one, in that row."""
    layer = made(4, 20, 6, {})
    x = Sequence.of(1e4 * torch.randn(3, 5, 4))
    state = LSTMState(torch.zeros(3, 6), 1e3 * torch.randn(3, 20))
    expected, _ = lstm_loop(layer, x, state)
    found, _ = layer.step(x, state)
    torch.testing.assert_close(found.values, expected.values, atol=1e-6, rtol=1e-5)
    x.values[1, 2, 0] = float("nan")
    clipped = made(4, 20, 6, CLIPS)
    broken, _ = clipped.step(x, clipped.initial_state(3))
    assert clipped.last_path == "compiled" and broken.values[1, 2:].isnan().all()
    assert broken.values[[0, 2]].isfinite().all() and broken.values[1, :2].isfinite().all()


def test_what_runs_elsewhere(kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients, peepholes, no projection, double precision, taps, small layers, and where it is turned off."""
    layer = made(4, 20, 6, CLIPS)
    x = Sequence.of(torch.randn(2, 3, 4))

    def path(layer: LSTM, x: Sequence = x) -> str | None:
        lstm_together([layer, layer], [x, x], [layer.initial_state(2)] * 2)
        return layer.last_path

    assert path(layer) == "compiled"
    assert path(LSTM(4, 20, projection=6, peephole=True)) == path(LSTM(4, 20, cell_clip=1)) == "scan"
    assert path(LSTM(4, 20, projection=6).double(), x.to(torch.float64)) == "scan"
    with torch.enable_grad():
        assert path(layer) == "scan"
        layer.requires_grad_(False)
        assert path(layer) == "compiled"
        assert path(layer, Sequence.of(torch.randn(2, 3, 4, requires_grad=True))) == "scan"
    with taps(layer, [""]):
        assert path(layer) == "loop"
    monkeypatch.setenv("CARRYOVER_KERNELS", "off")
    assert path(layer) == "scan"
    monkeypatch.delenv("CARRYOVER_KERNELS")
    monkeypatch.setattr(c_library, "LEAST_WEIGHTS", 1 << 18)
    assert path(layer) == "scan"


# Words -----------------------------------------------------------------------------------------------------------------


def words(filters: tuple[tuple[int, int], ...], highways: int, projection: int | None) -> CharacterCNN:
    torch.manual_seed(3)
    return CharacterCNN(filters, highway_layers=highways, projection=projection).eval()


def spelled(count: int) -> Tensor:
    """Words of all lengths up to the longest, without any character, of one character only."""
    characters = torch.randint(1, 262, (count, 50), generator=torch.Generator().manual_seed(5))
    for row in range(count):
        characters[row, row:] = 261
    characters[3] = 0
    characters[4] = 7
    return characters


@pytest.mark.parametrize(
    "filters, highways, projection",
    [(((1, 32), (2, 32), (7, 64)), 2, 70), (((2, 32),), 1, None), (((1, 16), (50, 16)), 0, 5), (((3, 320),), 1, 128)],
)
def test_words_equal_the_plain_encoder(
    kernels: None,
    monkeypatch: pytest.MonkeyPatch,
    filters: tuple[tuple[int, int], ...],
    highways: int,
    projection: int | None,
) -> None:
    encoder, characters = words(filters, highways, projection), spelled(53)
    found = encoder.encode_types(characters)
    assert encoder.last_path == "compiled"
    with low():
        near = encoder.encode_types(characters)
    assert encoder.last_path == "compiled" and near.dtype == torch.bfloat16
    assert torch.equal(encoder.encode_types(characters[7:9]), found[7:9])
    encoder.forget_words()
    assert torch.equal(encoder.encode_types(characters[7:9]), found[7:9])
    monkeypatch.setenv("CARRYOVER_KERNELS", "off")
    expected = encoder.encode_types(characters)
    assert encoder.last_path == "plain"
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=2e-6)
    assert (near.float() - expected).norm() <= 0.01 * expected.norm()


def test_words_are_computed_once(kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each batch only those that no batch before it had; all again when there is no room and when weights change."""
    computed: list[int] = []
    compute = character_cnn._encode

    def counted(ready: character_cnn.CharacterTables, characters: Tensor, *rest: Any) -> Tensor:
        computed.append(len(characters))
        return compute(ready, characters, *rest)

    monkeypatch.setattr(character_cnn, "_encode", counted)
    monkeypatch.setattr(character_cnn, "KEPT_BYTES", 40 * 5 * 4)
    encoder, characters = words(((1, 16), (3, 16)), 1, 5), spelled(53)
    whole = encoder.encode_types(characters)  # more than there is room for
    for chosen, count in (([7, 9, 7], 2), ([9, 8, 7], 1), ([7] * 20, 0), (list(range(10, 45)), 35), ([7, 10, 11], 3)):
        computed.clear()
        assert torch.equal(encoder.encode_types(characters[chosen]), whole[chosen])
        assert sum(computed) == count, chosen
    with torch.inference_mode():
        assert torch.equal(encoder.encode_types(characters[45:50]), whole[45:50])
    encoder.projection.bias.add_(1)  # type: ignore[union-attr]
    torch.testing.assert_close(encoder.encode_types(characters[45:50]), whole[45:50] + 1, atol=1e-6, rtol=1e-6)
    encoder.characters.mul_(2)
    computed.clear()
    encoder.encode_types(characters[45:50])
    assert computed == [5]


def test_words_that_run_elsewhere(kernels: None) -> None:
    encoder = words(((1, 16), (3, 16)), 1, 5)
    characters = spelled(40)
    for broken in (characters.clone().fill_(262), characters.clone().fill_(-1)):
        with pytest.raises(IndexError):
            encoder.encode_types(broken)
    for other in (words(((1, 16), (3, 20)), 0, 5), encoder.double()):
        other.encode_types(characters)
        assert other.last_path == "plain"
    encoder = words(((1, 16), (3, 16)), 1, 5)
    encoder.highways[0] = Highway(32, activation=torch.tanh)
    encoder.encode_types(characters)
    assert encoder.last_path == "plain"
    with torch.enable_grad():
        words(((1, 16), (3, 16)), 1, 5).encode_types(characters).sum().backward()


# What is prepared once -------------------------------------------------------------------------------------------------


def test_changed_weights_are_seen(kernels: None) -> None:
    layer, other = made(4, 20, 6, CLIPS), made(4, 20, 6, {})
    x = Sequence.of(torch.randn(2, 3, 4))
    state = a_state(layer, 2)

    def in_place() -> None:
        layer.hidden_weight.mul_(0.5)

    def through_data() -> None:
        layer.projection_weight.data.mul_(0.5)  # type: ignore[union-attr]

    def by_an_optimiser() -> None:
        with torch.enable_grad():
            layer(x).values.sum().backward()
        torch.optim.Adam(layer.parameters(), lr=0.1, fused=True).step()

    def loaded() -> None:
        layer.load_state_dict(other.state_dict())

    def replaced() -> None:
        layer.bias = torch.nn.Parameter(layer.bias + 0.5)

    before = layer.step(x, state)[0].values
    for change in (in_place, through_data, by_an_optimiser, loaded, replaced):
        change()
        found, expected = layer.step(x, state)[0].values, lstm_loop(layer, x, state)[0].values
        assert layer.last_path == "compiled" and not torch.equal(found, before), change.__name__
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
        before = found


def test_weights_are_prepared_once_and_kept_outside(kernels: None) -> None:
    layer = made(4, 20, 6, CLIPS)
    state, x = layer.initial_state(2), Sequence.of(torch.randn(2, 3, 4))
    made_now: list[int] = []

    def build() -> str:
        made_now.append(1)
        return "ready"

    weights = layer.weights()
    for _ in range(3):
        assert prepared.prepared(layer, "test", weights, build) == "ready"
    assert len(made_now) == 1
    with torch.enable_grad():
        layer.step(x, state)  # whose weights may be trained next
    prepared.prepared(layer, "test", weights, build)
    assert len(made_now) == 2
    layer.step(x, state)
    twin = copy.deepcopy(layer)
    assert twin not in prepared._ready.of and set(twin.state_dict()) == set(layer.state_dict())
    with torch.inference_mode():
        inner = made(4, 20, 6, CLIPS)
        first = inner.step(x, state)[0].values
        inner.hidden_weight.view(-1)[1] += 1  # leaves no trace
        assert inner.last_path == "compiled"
        torch.testing.assert_close(
            inner.step(x, state)[0].values, lstm_loop(inner, x, state)[0].values, atol=1e-6, rtol=1e-6
        )
        assert first.shape == (2, 3, 6)
        for _ in range(2):
            prepared.prepared(inner, "test", inner.weights(), build)
        assert len(made_now) == 3


def test_fingerprints_tell_contents_apart(kernels: None) -> None:
    for values in (torch.randn(7, 129), torch.zeros(64), torch.randn(5, 3).bfloat16()):
        whole, seen = c_library.fingerprint(values), set()
        assert whole == c_library.fingerprint(values.clone())
        flat = values.flatten()
        for place in range(len(flat)):
            changed = flat.clone()
            changed[place] += 1
            seen.add(c_library.fingerprint(changed))
        assert len(seen) == len(flat) and whole not in seen
        assert c_library.fingerprint(flat[:-1]) not in seen | {whole}
    assert c_library.fingerprint(torch.zeros(0)) != c_library.fingerprint(torch.zeros(1))
