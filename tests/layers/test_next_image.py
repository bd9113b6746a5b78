"""A sequence of images in, the next image out: a ConvLSTM learns how squares move, which no single image tells."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from carryover.layers import ConvLSTM, Stacked
from carryover.sequence import Sequence

SIDE = 8


def moving_squares(rows: int, steps: int, generator: torch.Generator) -> Tensor:
    """[rows, steps, 1, SIDE, SIDE]: a square of 2 · 2 pixels that moves by its own (dy, dx) of −1, 0, 1 a step, out at the edge."""
    place = torch.randint(2, SIDE - 3, (rows, 1, 2), generator=generator)
    speed = torch.randint(-1, 2, (rows, 1, 2), generator=generator)
    corner = place + speed * torch.arange(steps).view(1, -1, 1)  # [rows, steps, 2]
    pixels = torch.arange(SIDE)
    inside = (pixels >= corner.unsqueeze(3)) & (pixels < corner.unsqueeze(3) + 2)  # [rows, steps, 2, SIDE]
    return (inside[:, :, 0, :, None] & inside[:, :, 1, None, :]).float().unsqueeze(2)


def test_a_convlstm_learns_where_squares_go() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    layer = Stacked(ConvLSTM(1, 12, space=(SIDE, SIDE)), ConvLSTM(12, 1, space=(SIDE, SIDE), kernel=1))
    scale = torch.nn.Parameter(torch.tensor([8.0, -4.0]))  # states lie in (−1, 1), scores of a pixel do not
    optimiser = torch.optim.Adam([*layer.parameters(), scale], lr=0.02)

    def loss_of(images: Tensor) -> tuple[Tensor, Tensor]:
        scores = layer(Sequence.of(images[:, :-1])).values * scale[0] + scale[1]
        late = scores[:, 1:], images[:, 2:]  # two images tell where it goes
        return binary_cross_entropy_with_logits(*late), late[0]

    for _ in range(150):
        loss, _ = loss_of(moving_squares(24, 6, generator))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    images = moving_squares(64, 6, generator)
    with torch.no_grad():
        _, scores = loss_of(images)
    truth, last = images[:, 2:], images[:, 1:-1]

    def overlap(found: Tensor) -> float:
        return ((found * truth).sum() / torch.maximum(found, truth).sum()).item()

    assert overlap((scores > 0).float()) > 0.5 > 0.35 > overlap(last)

    state, parts = layer.initial_state(64), []  # image by image, as they come
    for step in range(5):
        y, state = layer.step(Sequence.of(images[:, step : step + 1]), state)
        parts.append(y.values)
    torch.testing.assert_close(torch.cat(parts, 1)[:, 1:] * scale[0] + scale[1], scores)
