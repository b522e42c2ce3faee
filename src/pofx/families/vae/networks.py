"""The encoder and decoder of an autoencoder, of any network: x → a normal, a code → the numbers of p(x | z)."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.core.event import Discrete, Event
from pofx.families.vae.observation import Bernoulli, Observation
from pofx.nets.image.autoencoder import ImageDecoder, ImageEncoder, VectorTrunk, sizes
from pofx.nets.image.grid_autoencoder import GridDecoder, GridEncoder
from pofx.nets.image.solid_autoencoder import SolidDecoder, SolidEncoder

DROPOUT, FEW = 0.25, 10_000  # of networks trained on fewer items than that, which they would learn by heart
MUCH = 512  # numbers of an event above which a code has more dimensions
COMPONENTS_OF = 2000  # items from which principal components are taken, at most
CERTAIN_FROM = -1.5  # log standard deviation at which codes of principal components begin
LARGEST = 1024  # positions up to which a grid is modelled by perceptrons


def size_of(event: Event, network: str, width: int | None, spatial: int) -> tuple[str, int]:
    """The network, "mlp", "principal" or "conv", and its width, where they are left open.

    Raises:
        UsageError: a spatial code of an event without a grid, or of perceptrons.
    """
    shape = () if isinstance(event, dict) else event.shape
    if spatial and (len(shape) != 3 or network in ("mlp", "principal")):
        raise UsageError("a spatial code needs an event with height and width, and convolutions: pass spatial=0")
    positions = math.prod(shape[1:]) if len(shape) in (3, 4) else 0
    solid = len(shape) == 4 and isinstance(event, Discrete) and event.counts == (2,) * math.prod(shape)
    if network == "auto" and solid:
        network = "principal"  # convolutions learn little of a thousand solids
    conv = positions > 0 and (network == "conv" or bool(spatial) or (network == "auto" and positions > LARGEST))
    if width is None:
        width = (32 if len(shape) == 3 else 64) if conv else 64 if solid else 256
    return "conv" if conv else "principal" if network == "principal" else "mlp", width


def codes_of(event: Event, spatial: int) -> int:
    """Dimensions of the code where they are left open."""
    numbers = 0 if isinstance(event, dict) else math.prod(event.shape)
    return 40 if numbers > MUCH and not spatial else 16


class Networks(nn.Module):
    """Encoder and decoder; codes are vectors of prod(`code`) numbers, whatever their shape."""

    def __init__(
        self,
        event: Event,
        likelihood: Observation,
        latent: int,
        given: int,
        width: int,
        depth: int,
        *,
        kind: str,
        spatial: int,
        context: int,
        dropout: float | None,
    ) -> None:
        super().__init__()
        conv = kind == "conv"
        self.grid, self.numbers, self.open = conv, likelihood.numbers, dropout is None
        dropout = DROPOUT if dropout is None else dropout
        self.code: tuple[int, ...] = (latent,)
        self.seen: Sequence[int] = (likelihood.inputs,)  # shape of what the encoder takes
        self.encoder: ImageEncoder | GridEncoder | SolidEncoder | VectorTrunk
        self.decoder: ImageDecoder | GridDecoder | SolidDecoder | VectorTrunk
        if not conv or isinstance(event, dict):
            outputs = math.prod(likelihood.numbers)
            self.encoder = VectorTrunk(
                likelihood.inputs, 2 * latent + given, width, depth, context=context, dropout=dropout
            )
            self.decoder = VectorTrunk(latent, outputs, width, depth, context=context, dropout=dropout)
        elif spatial:
            shape, outputs = event.shape, likelihood.outputs * event.shape[0]
            self.seen, self.code = shape, (latent, *sizes(shape[1], shape[2], spatial)[-1])
            self.encoder = GridEncoder(shape, 2 * latent, width, spatial, context=context, dropout=dropout)
            self.decoder = GridDecoder(latent, shape, outputs, width, spatial, context=context, dropout=dropout)
        else:
            shape, outputs = event.shape, likelihood.outputs * event.shape[0]
            self.seen = shape
            solid = len(shape) == 4
            encoder, decoder = (SolidEncoder, SolidDecoder) if solid else (ImageEncoder, ImageDecoder)
            self.encoder = encoder(shape, 2 * latent + given, width, context=context, dropout=dropout)
            self.decoder = decoder(latent, shape, outputs, width, context=context, dropout=dropout)
        self.spatial = len(self.code) > 1
        self.principal = Principal(likelihood, latent) if kind == "principal" else None
        with torch.no_grad():
            self.decoder.last.weight.mul_(0.1)
            if self.principal is not None:
                self.encoder.last.weight.mul_(0.1)

    def suit(self, items: int) -> None:
        """Where the share of dropped units was left open, take that for so many training items."""
        if self.open:
            for part in self.modules():
                if isinstance(part, nn.Dropout):
                    part.p = DROPOUT if items < FEW else 0.0

    def encode(
        self, seen: Float[Tensor, "n *inputs"], context: Float[Tensor, "n context"] | None
    ) -> tuple[Float[Tensor, "n size"], Float[Tensor, "n size"], Float[Tensor, "n given"]]:
        """Mean and log standard deviation of the normal in q(z | x), and what its flow, if any, is given."""
        out: Tensor = self.encoder(seen, context).float()
        latent = self.code[0]
        mean, log_std, given = out.split((latent, latent, out.shape[1] - 2 * latent), 1)
        if self.principal is not None:
            mean, log_std = mean + self.principal.read(seen).float(), log_std + self.principal.log_std
        log_std = 4.0 * torch.tanh(log_std / 4.0)  # softly within e^-4 … e^4
        return mean.flatten(1), log_std.flatten(1), given.flatten(1)

    def decode(self, z: Float[Tensor, "n size"], context: Float[Tensor, "n context"] | None) -> Float[Tensor, "n ..."]:
        """The observation model's numbers, but for the marginals: (n, *numbers)."""
        h: Tensor = self.decoder(z.reshape(-1, *self.code) if self.spatial else z, context).float()
        return self.arranged(h if self.principal is None else h + self.principal.write(z).float())

    def arranged(self, h: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Outputs of the decoder, channels first, in the order of the observation model."""
        if not self.grid:
            return h.reshape(len(h), *self.numbers)
        channels, each = self.numbers[0], self.numbers[-1]
        return h.reshape(len(h), channels, each, *h.shape[2:]).movedim(2, -1)


class Principal(nn.Module):
    """Principal components of training items beside perceptrons, as a linear encoder and decoder that do not train."""

    reads: Tensor
    writes: Tensor

    def __init__(self, likelihood: Observation, latent: int) -> None:
        super().__init__()
        outputs = math.prod(likelihood.numbers)
        if not isinstance(likelihood, Bernoulli):
            raise UsageError("network=principal needs two classes everywhere, one number each: pass network=mlp")
        self.register_buffer("reads", torch.zeros(latent, outputs))
        self.register_buffer("writes", torch.zeros(latent, outputs))
        self.log_std, self.gain = nn.Parameter(torch.zeros(latent)), nn.Parameter(torch.ones(()))

    def read(self, seen: Float[Tensor, "n inputs"]) -> Float[Tensor, "n latent"]:
        """Codes of items, of unit variance."""
        return seen.float() @ self.reads.T

    def write(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n outputs"]:
        """Logits of codes, beside those of the marginals."""
        return self.gain * (z.float() @ self.writes)

    @torch.no_grad()
    def begin(self, seen: Float[Tensor, "n inputs"], marginals: Float[Tensor, "*event 1"]) -> None:
        """Codes of unit variance; logits change sign where components reconstruct a half."""
        x = seen[:COMPONENTS_OF].float()  # twice the distance from the mean
        values, vectors = torch.linalg.eigh(x @ x.T)
        few = min(len(self.reads), int((values > 1e-4 * values[-1]).sum()))
        spread = values.flip(0)[:few].sqrt()
        directions = (vectors.flip(1)[:, :few] / spread).T @ x
        spread = spread[:, None] / len(x) ** 0.5
        logits, p = marginals.flatten(), marginals.flatten().sigmoid()
        slope = torch.where((p - 0.5).abs() < 1e-3, 4.0, logits / (p - 0.5)) / 2
        self.reads[:few], self.writes[:few] = directions / spread, directions * spread * slope
        self.log_std.fill_(CERTAIN_FROM)
