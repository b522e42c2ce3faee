"""Autoencoders with discrete codes: VQ-VAE, and its relatives with finite scalar and lookup-free quantisation.

The encoder gives one vector per place of a grid (or per group of a flat event), each becomes the number of a code
(`nets.vector.quantiser`), and the decoder gives p(x | codes) (van den Oord et al., 2017, arXiv 1711.00937). The code is
a Discrete event: a `gpt` or `pixelcnn` over it is `--on RUN`. By itself the model has the simplest prior, how often
each code occurs at each place. As a code is a function of x, log p(x) >= log p(x | z) + log p(z).
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.core.model import Batch, Density, Explicit, Latent, OnePhase, Phase, Recipe
from pofx.core.options import Depth, Dropout, NonNegative, OneOf, Range, Width
from pofx.core.random import Streams
from pofx.families.vae.observation import Gaussian
from pofx.families.vae.vae import observation_model
from pofx.maths.distributions import categorical_draw, near_items
from pofx.nets.image.autoencoder import VectorTrunk, sizes
from pofx.nets.image.grid_autoencoder import GridDecoder, GridEncoder
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner
from pofx.nets.vector.quantiser import Codebook, FiniteScalar, Quantiser, Signs

KEPT = 0.99  # of the average by which the prior follows the codes


class QuantisedVAE(OnePhase, Explicit, Latent):
    """Autoencoder with discrete codes on a grid, and a prior of each place by itself.

    Args:
        quantiser: "vq" (learned codebook), "fsq" (a few bins per dimension) or "lfq" (signs).
        codes: of the codebook; those of "lfq" are the next power of two.
        levels: bins of each dimension of "fsq".
        features: dimensions of a vector of the codebook.
        groups: codes of an event without a grid.
        halvings: of height and width between the image and the grid of codes.
        width, depth, dropout: of the networks; depth applies to perceptrons.
        observation: "categorical", "logistic" or "auto" for Discrete events; Continuous events have a Gaussian.
        components: of the logistic mixture.
        commitment: weight of the distance between vectors and their codes ("vq", "lfq").
        entropy: weight of the entropy term of "lfq": certain codes of every item, all codes used alike.
    """

    name = "vq-vae"
    source = "van den Oord, Vinyals and Kavukcuoglu, 2017, arXiv 1711.00937"
    events = (Discrete, Continuous)
    ranks = (1, 2, 3)
    conditions = CONDITIONS
    best_density = Density.BOUND
    lossless = False
    trains_with = {"lr": 1e-3}
    small = {"width": 32, "depth": 1, "features": 4, "codes": 32, "levels": [5, 5], "groups": 1, "halvings": 1}
    exempt = {
        "reconstruction": "a code holds what lowers the loss, so x is recovered only roughly",
        "density of the truth": "the bound leaves out the other codes of x, and its prior sees each place by itself",
    }
    recipes = (
        Recipe(
            "fsq",
            "Mentzer et al., 2023, arXiv 2309.15505; iFSQ, 2026, arXiv 2601.17124",
            {"quantiser": "fsq"},
            summary="Finite scalar quantisation: a few bins per dimension, no codebook.",
        ),
        Recipe(
            "lfq",
            "Yu et al., 2023, arXiv 2310.05737",
            {"quantiser": "lfq"},
            summary="Lookup-free quantisation: the signs of the encoder's outputs.",
        ),
    )

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        quantiser: Annotated[str, OneOf("vq", "fsq", "lfq")] = "vq",
        codes: Annotated[int, Range(2, 65536)] = 256,
        levels: list[Annotated[int, Range(2, 256)]] = [8, 6, 5],  # noqa: B006
        features: Width = 16,
        groups: Annotated[int, Range(1, 1024)] = 8,
        halvings: Annotated[int, Range(1, 8)] = 2,
        width: Width = 32,
        depth: Depth = 2,
        dropout: Dropout = 0.0,
        observation: Annotated[str, OneOf("auto", "categorical", "logistic")] = "auto",
        components: Annotated[int, Range(1, 256)] = 3,
        commitment: NonNegative = 0.25,
        entropy: NonNegative = 0.1,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous | Discrete)
        self.quantiser, self.codes, self.levels, self.features = quantiser, codes, list(levels), features
        self.groups, self.halvings, self.width, self.depth, self.dropout = groups, halvings, width, depth, dropout
        self.observation, self.components = observation, components
        self.commitment, self.entropy = commitment, entropy
        self.grid = len(event.shape) == 3
        self.quantise: Quantiser
        if quantiser == "vq":
            self.quantise = Codebook(codes, features)
        else:
            self.quantise = FiniteScalar(self.levels) if quantiser == "fsq" else Signs(math.ceil(math.log2(codes)))
        vector, shape = self.quantise.features, event.shape
        self.places: tuple[int, ...] = (1, *sizes(shape[1], shape[2], halvings)[-1]) if self.grid else (groups,)
        self.code = Discrete(self.places, self.quantise.codes)
        self.likelihood = observation_model(event, observation, components)
        self.conditioner = Conditioner(condition, 32)
        context, outputs, size = self.conditioner.width, self.likelihood.outputs, math.prod(shape)
        self.encoder: GridEncoder | VectorTrunk
        self.decoder: GridDecoder | VectorTrunk
        if self.grid:
            self.encoder = GridEncoder(shape, vector, width, halvings, context=context, dropout=dropout)
            self.decoder = GridDecoder(
                vector, shape, outputs * shape[0], width, halvings, context=context, dropout=dropout
            )
        else:
            inputs = size * event.largest if isinstance(event, Discrete) and event.largest <= 32 else size
            self.encoder = VectorTrunk(inputs, groups * vector, width, depth, context=context, dropout=dropout)
            self.decoder = VectorTrunk(groups * vector, size * outputs, width, depth, context=context, dropout=dropout)
        self.marginals = torch.nn.Parameter(torch.zeros(*shape, outputs))
        self.frequencies: Tensor  # of each code at each place: the prior
        start = torch.full((math.prod(self.places), self.quantise.codes), 1 / self.quantise.codes)
        self.register_buffer("frequencies", start)
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._last: tuple[Tensor, Tensor] | None = None  # vectors and codes of the last batch

    # ── encoder, decoder, prior ──

    def vectors(self, x: Shaped[Tensor, "n *event"], condition: Condition | None) -> Float[Tensor, "n places features"]:
        """The encoder's outputs, place by place."""
        event = self.event
        if isinstance(event, Discrete):
            if not self.grid and event.largest <= 32:
                h = torch.nn.functional.one_hot(x, event.largest).flatten(1).to(self.marginals.dtype)
            else:
                h = x.to(self.marginals.dtype) * (2.0 / max(event.largest - 1, 1)) - 1.0
        else:
            assert isinstance(self.likelihood, Gaussian)
            h = x / self.likelihood.spread - self.marginals[..., 0].detach()
        out: Tensor = self.encoder(h if self.grid else h.flatten(1), self.conditioner(condition)).float()
        if self.grid:
            return out.flatten(2).transpose(1, 2)
        return out.reshape(len(x), self.groups, -1)

    def outputs(
        self, vectors: Float[Tensor, "n places features"], condition: Condition | None
    ) -> Float[Tensor, "n *event outputs"]:
        """The observation model's numbers for vectors of codes."""
        event, each = self.event, self.likelihood.outputs
        assert isinstance(event, Continuous | Discrete)
        n = len(vectors)
        h = vectors.transpose(1, 2).reshape(n, -1, *self.places[1:]) if self.grid else vectors.flatten(1)
        h = self.decoder(h, self.conditioner(condition)).float()
        if self.grid:
            channels, height, breadth = event.shape
            h = h.reshape(n, channels, each, height, breadth).movedim(2, -1)
        return h.reshape(n, *event.shape, each) + self.marginals

    def log_prior(self, z: Int[Tensor, "n *code"]) -> Float[Tensor, "n"]:
        """log p(z), every place by itself."""
        logs = self._logits().expand(len(z), -1, -1)
        return logs.gather(2, z.flatten(1)[..., None])[..., 0].sum(1)

    def _logits(self) -> Float[Tensor, "places codes"]:
        smoothed = self.frequencies + 1e-4 / self.quantise.codes
        return (smoothed / smoothed.sum(1, keepdim=True)).log()

    def _given(self, z: Int[Tensor, "n *code"], condition: Condition | None) -> Float[Tensor, "n *event outputs"]:
        return self.outputs(self.quantise.vector(z.flatten(1)), condition)

    # ── training ──

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        e = self.vectors(batch.x, batch.condition)
        flat = e.flatten(0, 1)
        q, index = self.quantise(flat)
        raw = self.outputs(q.reshape(e.shape), batch.condition)
        found = {"distortion": -self.likelihood.log_prob(raw, batch.x).mean()}
        if self.quantiser != "fsq":
            distance = (flat - self.quantise.vector(index)).square().sum() / len(e)
            found["commitment"] = self.commitment * distance
        if self.quantiser == "lfq" and self.entropy:
            found["entropy"] = self.entropy * e.shape[1] * _bits(flat)
        self._last = flat.detach(), index.detach().reshape(len(e), -1)
        return found

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("model", tuple(self.parameters()), self.loss, after=self.advance),)

    @torch.no_grad()
    def advance(self, losses: Mapping[str, Tensor]) -> None:
        """Let codebook and prior follow the codes of the batch."""
        self.steps += 1
        if self._last is None:
            return
        vectors, z = self._last
        if isinstance(self.quantise, Codebook):
            self.quantise.follow(vectors, z.flatten(), int(self.steps))
        counts = torch.nn.functional.one_hot(z, self.quantise.codes).float().mean(0)
        kept = min(KEPT, int(self.steps) / (int(self.steps) + 10))
        self.frequencies.mul_(kept).add_(counts, alpha=1 - kept)
        self._last = None

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start the decoder from the marginals of the data, and the codebook from outputs of the encoder."""
        batch = take(2_000)
        with torch.no_grad():
            self.marginals.copy_(self.likelihood.start(batch.x))
            if isinstance(self.quantise, Codebook):
                e = self.vectors(batch.x, batch.condition).flatten(0, 1)
                pick = torch.randperm(len(e), generator=torch.Generator().manual_seed(0))[: self.codes].to(e.device)
                self.quantise.vectors[: len(pick)] = e[pick]
                self.quantise.sums.copy_(self.quantise.vectors)

    def telemetry(self) -> dict[str, Any]:
        """`code_usage`: the share of codes that occur; `perplexity`: of all places together."""
        share = self.frequencies.mean(0)
        entropy = -(share * share.clamp(min=1e-12).log()).sum()
        used = (share > LEAST_SHARE / self.quantise.codes).float().mean()
        return {"code_usage": float(used), "perplexity": float(entropy.exp())}

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """The negative bound on log p(x), with the prior of each place by itself."""
        return -self.log_prob(batch.x, batch.condition).mean()

    # ── the questions ──

    def log_prob(self, x: Shaped[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x | z) + log p(z) for the code of x, a lower bound on log p(x) in nats: (n,)."""
        self.check_condition(len(x), condition)
        far = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        if isinstance(self.event, Continuous):
            x, far = near_items(x)
        z = self.encode(x, condition)
        value = self.likelihood.log_prob(self._given(z, condition), x) + self.log_prior(z)
        return value.masked_fill(far, -math.inf)

    def encode(self, x: Shaped[Tensor, "n *event"], condition: Condition | None = None) -> Int[Tensor, "n *code"]:
        """The numbers of the codes: int64 (n, *code.shape)."""
        self.check_condition(len(x), condition)
        index: Tensor = self.quantise(self.vectors(x, condition).flatten(0, 1))[1]
        return index.reshape(len(x), *self.places)

    def decode(self, z: Int[Tensor, "n *code"], condition: Condition | None = None) -> Shaped[Tensor, "n *event"]:
        """The mode of p(x | z): (n, *shape)."""
        self.check_condition(len(z), condition)
        return self.likelihood.mode(self._given(z, condition))

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Shaped[Tensor, "{n} *event"]:
        self.check_condition(n, condition)
        logits = self._logits()
        z = categorical_draw(logits.expand(n, -1, -1), generator.uniform(len(logits)))
        return self.draw_given(z.reshape(n, *self.places), condition, generator=generator)

    # ── the density of a model of codes ──

    @property
    def volume(self) -> Density:
        return Density.BOUND

    @property
    def random_codes(self) -> bool:
        return False

    def draw_code(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None = None, *, generator: Streams
    ) -> Int[Tensor, "n *code"]:
        return self.encode(x, condition)

    def weigh_code(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None = None, *, generator: Streams
    ) -> tuple[Int[Tensor, "n *code"], Float[Tensor, "n"]]:
        z = self.encode(x, condition)
        return z, self.likelihood.log_prob(self._given(z, condition), x)

    def draw_given(
        self, z: Int[Tensor, "n *code"], condition: Condition | None = None, *, generator: Streams
    ) -> Shaped[Tensor, "n *event"]:
        self.check_condition(len(z), condition)
        return self.likelihood.draw(self._given(z, condition), generator)


LEAST_SHARE = 0.01  # of its fair share, above which a code counts as used


def _bits(e: Float[Tensor, "n bits"]) -> Float[Tensor, ""]:
    """E H(bit | e) - H(E bit), summed over bits, in nats: low where bits are certain and used alike."""
    p = torch.sigmoid(4.0 * e)

    def entropy(q: Tensor) -> Tensor:
        q = q.clamp(1e-6, 1 - 1e-6)
        return -(q * q.log() + (1 - q) * (1 - q).log())

    return (entropy(p).mean(0) - entropy(p.mean(0))).sum()
