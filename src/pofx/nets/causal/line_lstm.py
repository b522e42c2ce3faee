"""LSTMs whose state is a line of places: a whole row, or a whole diagonal, of a grid moves on in one step.

A Row LSTM goes down the rows; a cell's state sees the three states above it, a triangle that widens upwards. A Diagonal
BiLSTM goes along the diagonals, from the left and from the right; skewing the grid by one cell per row turns its
diagonals into lines, and a cell's state sees those to its side and above it: everything, but for the shift of the
right-hand one, down by one row, that keeps it from the cells to come.
Van den Oord, Kalchbrenner and Kavukcuoglu, 2016, "Pixel recurrent neural networks", arXiv 1601.06759 (sections 3.1 to
3.3); the LSTM is that of Hochreiter and Schmidhuber, 1997, with forget gates.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.nets.causal.gated_conv import down

pad, sigmoid = nn.functional.pad, torch.sigmoid


def skew(x: Float[Tensor, "*lead H W"]) -> Float[Tensor, "*lead H H+W-1"]:
    """Shift row r by r places to the right: cell (r, c) moves to (r, r + c), zeros fill the rest."""
    height, breadth = x.shape[-2:]
    lengthened = pad(x, (0, height)).flatten(-2)[..., : height * (height + breadth - 1)]
    return lengthened.unflatten(-1, (height, height + breadth - 1))


def unskew(x: Float[Tensor, "*lead H skewed"]) -> Float[Tensor, "*lead H skewed-H+1"]:
    """The inverse of `skew`."""
    height, length = x.shape[-2:]
    return pad(x.flatten(-2), (0, height)).unflatten(-1, (height, length + 1))[..., : length - height + 1]


class LineLSTM(nn.Module):
    """The recurrence of `directions` independent LSTMs; a place's next state sees the states at `offsets` from it.

    Inputs are the gates' pre-activations, 4 width features per place. There is no bias, so that a state that starts at
    zero and is given zeros stays zero: cells outside of the grid contribute nothing.
    """

    def __init__(self, width: int, offsets: tuple[int, ...], directions: int = 1) -> None:
        super().__init__()
        self.width, self.offsets = width, offsets
        inputs = len(offsets) * width
        self.weight = nn.Parameter(torch.randn(directions, inputs, 4 * width) / inputs**0.5)

    def neighbours(self, h: Float[Tensor, "directions n places width"]) -> Float[Tensor, "directions n places seen"]:
        """The states at the offsets of every place, zero beyond the ends: (directions, n, places, offsets * width)."""
        places, side = h.shape[2], max(map(abs, self.offsets))
        wide = pad(h, (0, 0, side, side))
        return torch.cat([wide[:, :, side + o : side + o + places] for o in self.offsets], -1)

    def update(
        self, gates: Float[Tensor, "*places gates"], c: Float[Tensor, "*places width"]
    ) -> tuple[Float[Tensor, "*places width"], Float[Tensor, "*places width"]]:
        """The gates' pre-activations and the cells' memory → their state and memory."""
        enter, forget, leave, new = gates.chunk(4, -1)
        c = sigmoid(forget) * c + sigmoid(enter) * torch.tanh(new)
        return sigmoid(leave) * torch.tanh(c), c

    def forward(
        self, given: Float[Tensor, "steps directions n places gates"]
    ) -> Float[Tensor, "steps directions n places width"]:
        """Gates' inputs of every step → states of every step."""
        _, directions, n, places, _ = given.shape
        h = c = given.new_zeros(directions, n, places, self.width)
        states = []
        for now in given.unbind():  # not given[t], whose gradient would be a whole tensor of zeros per step
            seen = self.neighbours(h).reshape(directions, n * places, -1)
            h, c = self.update(now + torch.bmm(seen, self.weight).reshape(now.shape), c)
            states.append(h)
        return torch.stack(states)


class RowLSTM(nn.Module):
    """Down the rows: the state of a cell sees the three states above it."""

    directions, reach = 1, 2  # reach: cells that the input convolution sees, to the left and the cell itself

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lines = LineLSTM(width, (-1, 0, 1))

    def forward(self, given: Float[Tensor, "n gates H W"]) -> Float[Tensor, "n width H W"]:
        """Gates' inputs → states."""
        return self.lines(given.permute(2, 0, 3, 1)[:, None])[:, 0].permute(1, 3, 0, 2)

    def begin(self, n: int, breadth: int) -> "RowState":
        """The state above the first row."""
        return RowState(self.lines, n, breadth)


class RowState:
    """What a Row LSTM keeps while a grid is drawn cell by cell: the states of the row above, and the row at hand."""

    def __init__(self, lines: LineLSTM, n: int, breadth: int) -> None:
        self.lines = lines
        self.above = lines.weight.new_zeros(n, breadth, 4 * lines.width)  # what the states above add to the gates
        self.memory_above = lines.weight.new_zeros(n, breadth, lines.width)
        self.h, self.memory = torch.zeros_like(self.memory_above), torch.zeros_like(self.memory_above)

    def cell(self, column: int, given: Float[Tensor, "n gates"]) -> Float[Tensor, "n width"]:
        """The state of the cell in this column; the last call for a column counts."""
        h, c = self.lines.update(given + self.above[:, column], self.memory_above[:, column])
        self.h[:, column], self.memory[:, column] = h, c
        return h

    def finish(self) -> None:
        """The row at hand is complete."""
        self.above = self.lines.neighbours(self.h[None])[0] @ self.lines.weight[0]
        self.memory_above, self.memory = self.memory, torch.zeros_like(self.memory)


class DiagonalBiLSTM(nn.Module):
    """Along the diagonals from both sides; the state of a cell sees every cell that comes before it."""

    directions, reach = 2, 1

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lines = LineLSTM(width, (-1, 0), directions=2)

    def forward(self, given: Float[Tensor, "n gates H W"]) -> Float[Tensor, "n width H W"]:
        """Gates' inputs of both directions → the sum of their states."""
        left, right = given.chunk(2, 1)
        both = skew(torch.stack((left, right.flip(3))))  # (directions, n, gates, H, H + W - 1)
        states = self.lines(both.permute(4, 0, 1, 3, 2).contiguous())  # lines of H places
        left, right = unskew(states.permute(1, 2, 4, 3, 0))
        return left + down(right.flip(3))

    def begin(self, n: int, breadth: int) -> "DiagonalState":
        """The state above the first row."""
        return DiagonalState(self.lines, n, breadth)


class DiagonalState:
    """What a Diagonal BiLSTM keeps while a grid is drawn cell by cell.

    The direction from the left moves with the cells; that from the right follows when a row is complete. `given` holds
    the latter's inputs of the row at hand.
    """

    def __init__(self, lines: LineLSTM, n: int, breadth: int) -> None:
        self.lines, self.breadth = lines, breadth
        zeros = lines.weight.new_zeros(n, breadth, lines.width)
        self.right, self.given = zeros, zeros.new_zeros(n, breadth, 4 * lines.width)  # right: of the row above
        self.above, self.left, self.memory = zeros, zeros.clone(), zeros.clone()

    def cell(self, column: int, given: Float[Tensor, "n gates"]) -> Float[Tensor, "n width"]:
        """The sum of both states of the cell in this column; the last call for a column counts."""
        from_left, self.given[:, column] = given.chunk(2, 1)
        outside = torch.zeros_like(self.left[:, 0])
        h, c = (self.left[:, column - 1], self.memory[:, column - 1]) if column else (outside, outside)
        seen = torch.cat((self.above[:, column], h), -1) @ self.lines.weight[0]
        h, c = self.lines.update(from_left + seen, c)
        self.left[:, column], self.memory[:, column] = h, c
        return h + self.right[:, column]

    def finish(self) -> None:
        """The row at hand is complete: the direction from the right passes through it."""
        h = c = torch.zeros_like(self.left[:, 0])
        states = []
        for column in reversed(range(self.breadth)):
            seen = torch.cat((self.right[:, column], h), -1) @ self.lines.weight[1]
            h, c = self.lines.update(self.given[:, column] + seen, c)
            states.append(h)
        self.right = torch.stack(states[::-1], 1)
        self.above, self.left, self.given = self.left, torch.zeros_like(self.left), torch.zeros_like(self.given)
