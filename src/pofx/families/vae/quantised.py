"""Autoencoders with discrete codes: VQ-VAE, and its relatives with finite scalar and lookup-free quantisation.

The encoder gives one vector per place of a grid (or per group of a flat event), each becomes the number of a code
(`nets.vector.quantiser`), and the decoder gives p(x | codes) (van den Oord et al., 2017, arXiv 1711.00937). The code is
a Discrete event: a `gpt` or `pixelcnn` over it is `--on RUN`. By itself the model has the simplest prior, how often
each code occurs at each place. As a code is a function of x, log p(x) >= log p(x | z) + log p(z); codes near it
(`code_law`) raise this bound, as importance samples.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from pofx.core.errors import Unsupported
from pofx.core.event import Condition, Continuous, Discrete, Event, each
from pofx.core.model import Batch, Density, OnePhase, Phase, Recipe
from pofx.core.options import Count, Depth, Dropout, NonNegative, OneOf, Range, Width
from pofx.core.random import Streams
from pofx.families.vae.adversary import Adversary
from pofx.families.vae.bounds import ImportanceBound, nearby
from pofx.families.vae.code_law import code_law, drawn
from pofx.families.vae.infilling import Filling
from pofx.families.vae.observation import observation_model, of_then
from pofx.maths.distributions import categorical_draw
from pofx.nets.image.autoencoder import VectorTrunk, sizes
from pofx.nets.image.grid_autoencoder import GridDecoder, GridEncoder, TwoScales
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner
from pofx.nets.vector.quantiser import Codebook, FiniteScalar, Quantiser, Signs

IDLE, YOUNG = 0.2, 0.25  # share of codes in use below which they collapse; of the budget before which they may
KEPT = 0.99  # of the average by which the prior follows the codes


class QuantisedVAE(OnePhase, ImportanceBound, Filling):
    """Autoencoder with discrete codes on a grid, and a prior of each place by itself.

    Args:
        quantiser: "vq" (learned codebook), "fsq" (a few bins per dimension) or "lfq" (signs).
        codes: of the codebook; those of "lfq" are the next power of two.
        levels: bins of each dimension of "fsq".
        features: dimensions of a vector of the codebook.
        groups: codes of an event without a grid.
        halvings: of height and width between the image and the grid of codes.
        width, depth, dropout: of the networks; depth applies to perceptrons.
        observation: "bernoulli", "categorical", "logistic" or "auto" for Discrete events; Continuous events have a
            Gaussian.
        components: of the logistic mixture.
        scales: of codes on a grid; with 2 there is a coarser grid above the other, whose codes come first in a row of
            them all (Razavi et al., 2019, arXiv 1906.00446).
        commitment: weight of the distance between vectors and their codes ("vq", "lfq").
        entropy: weight of the entropy term of "lfq": certain codes of every item, all codes used alike.
        adversary: weight, against the distortion, of a critic that separates items from decoded ones; 0 has none.
        importance: codes of an item in `log_prob`; with 1 it is the encoder's, with more there are others near it.
    """

    name = "vq-vae"
    source = "van den Oord, Vinyals and Kavukcuoglu, 2017, arXiv 1711.00937"
    events = (Discrete, Continuous)
    ranks = (1, 2, 3)
    conditions = CONDITIONS
    best_density = Density.BOUND
    lossless = False
    adjustable = ("importance",)
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
        Recipe(
            "vq-vae-2",
            "Razavi et al., 2019, arXiv 1906.00446",
            {"scales": 2},
            summary="VQ-VAE with a coarse grid of codes above a fine one.",
        ),
        Recipe(
            "vq-gan",
            "Esser et al., 2021, arXiv 2012.09841",
            {"adversary": 0.5},
            summary="VQ-VAE with a critic of what it decodes.",
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
        observation: Annotated[str, OneOf("auto", "bernoulli", "categorical", "logistic")] = "auto",
        components: Annotated[int, Range(1, 256)] = 3,
        scales: Annotated[int, Range(1, 2)] = 1,
        commitment: NonNegative = 0.25,
        entropy: NonNegative = 0.1,
        adversary: NonNegative = 0.0,
        importance: Count = 1,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous | Discrete)
        self.quantiser, self.codes, self.levels, self.features = quantiser, codes, list(levels), features
        self.groups, self.halvings, self.width, self.depth, self.dropout = groups, halvings, width, depth, dropout
        self.observation, self.components = observation, components
        self.commitment, self.entropy, self.scales, self.adversary = commitment, entropy, scales, adversary
        self.importance = importance
        self.grid = len(event.shape) == 3
        self.quantise = self._quantiser()
        vector, shape = self.quantise.features, event.shape
        self.places: tuple[int, ...] = (1, *sizes(shape[1], shape[2], halvings)[-1]) if self.grid else (groups,)
        self.above: TwoScales | None = None
        self.quantise_above: Quantiser | None = None
        if scales == 2 and self.grid:
            self.above = TwoScales(vector, width, self.places[1:], self._quantiser().features)
            self.quantise_above = self._quantiser()
            self.places = (self.above.coarse_places + math.prod(self.places),)
        self.code = Discrete(self.places, self.quantise.codes)
        self.likelihood = observation_model(event, observation, components)
        self.conditioner = Conditioner(condition, 32)
        context, outputs, size = self.conditioner.width, self.likelihood.outputs, math.prod(shape)
        self.encoder: GridEncoder | VectorTrunk
        self.decoder: GridDecoder | VectorTrunk
        if self.grid:
            first, second = (vector, vector) if self.above is None else (width, 2 * vector)
            self.encoder = GridEncoder(shape, first, width, halvings, context=context, dropout=dropout)
            self.decoder = GridDecoder(
                second, shape, outputs * shape[0], width, halvings, context=context, dropout=dropout
            )
        else:
            self.encoder = VectorTrunk(
                self.likelihood.inputs, groups * vector, width, depth, context=context, dropout=dropout
            )
            self.decoder = VectorTrunk(groups * vector, size * outputs, width, depth, context=context, dropout=dropout)
        self.marginals = torch.nn.Parameter(torch.zeros(*shape, outputs))
        self.frequencies: Tensor  # of each code at each place: the prior
        start = torch.full((math.prod(self.places), self.quantise.codes), 1 / self.quantise.codes)
        self.register_buffer("frequencies", start)
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.duel = Adversary(event, self.likelihood.plain_inputs) if adversary else None
        self._last: tuple[Tensor, Tensor] | None = None  # vectors and codes of the last batch

    @classmethod
    def recognised(cls, options: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Any]:
        return of_then(options, shapes, "encoder.first.weight")

    def _quantiser(self) -> Quantiser:
        if self.quantiser == "vq":
            return Codebook(self.codes, self.features)
        return FiniteScalar(self.levels) if self.quantiser == "fsq" else Signs(math.ceil(math.log2(self.codes)))

    # ── encoder, decoder, prior ──

    def quantised(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None
    ) -> tuple[Float[Tensor, "n places features"], Float[Tensor, "n places features"], Int[Tensor, "n places"]]:
        """The encoder's outputs, the vectors of their codes (with gradients to them), and the codes, place by place."""
        seen = self.likelihood.seen(x, self.marginals, self.grid)
        out: Tensor = self.encoder(seen, self.conditioner(condition)).float()
        if self.above is None or self.quantise_above is None:
            e = out.flatten(2).transpose(1, 2) if self.grid else out.reshape(len(x), self.groups, -1)
            return self._quantised(self.quantise, e)
        coarse = self._quantised(self.quantise_above, self.above.coarse(out))
        fine = self._quantised(self.quantise, self.above.fine(out, coarse[1]))
        e, q, index = (torch.cat(pair, 1) for pair in zip(coarse, fine, strict=True))
        return e, q, index

    def _quantised(self, quantise: Quantiser, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        e = e.float()  # codebooks and their averages are in full precision
        q, index = quantise(e.flatten(0, 1))
        return e, q.reshape(e.shape), index.reshape(e.shape[:2])

    def parts(self) -> list[tuple[Quantiser, slice]]:
        """Each quantiser, and which of the places are its own."""
        if self.above is None or self.quantise_above is None:
            return [(self.quantise, slice(None))]
        first = self.above.coarse_places
        return [(self.quantise_above, slice(first)), (self.quantise, slice(first, None))]

    def outputs(
        self, vectors: Float[Tensor, "n places features"], condition: Condition | None
    ) -> Float[Tensor, "n *event outputs"]:
        """The observation model's numbers for vectors of codes."""
        event, each = self.event, self.likelihood.outputs
        assert isinstance(event, Continuous | Discrete)
        n = len(vectors)
        if self.above is not None:
            h = self.above.joined(vectors)
        else:
            h = vectors.transpose(1, 2).reshape(n, -1, *self.places[1:]) if self.grid else vectors.flatten(1)
        h = self.decoder(h, self.conditioner(condition)).float()
        if self.grid:
            channels, height, breadth = event.shape
            h = h.reshape(n, channels, each, height, breadth).movedim(2, -1)
        return h.reshape(n, *event.shape, each) + self.marginals

    def log_prior(self, z: Int[Tensor, "n k places"], condition: Condition | None = None) -> Float[Tensor, "n k"]:
        """log p(z), every place by itself."""
        return self._logits().expand(*z.shape, -1).gather(3, z[..., None])[..., 0].sum(2)

    def draw_prior(
        self, n: int, generator: Streams, k: int = 1, condition: Condition | None = None
    ) -> Int[Tensor, "{n} {k} places"]:
        logits = self._logits()
        return categorical_draw(logits.expand(n, k, -1, -1), generator.uniform(k, len(logits)))

    def _logits(self) -> Float[Tensor, "places codes"]:
        smoothed = self.frequencies + 1e-4 / self.quantise.codes
        return (smoothed / smoothed.sum(1, keepdim=True)).log()

    def given(self, z: Int[Tensor, "n *code"], condition: Condition | None) -> Float[Tensor, "n *event outputs"]:
        return self.outputs(self._vectors(z.flatten(1)), condition)

    def _vectors(self, z: Int[Tensor, "n places"]) -> Float[Tensor, "n places features"]:
        return torch.cat([quantise.vector(z[:, at]) for quantise, at in self.parts()], 1)

    # ── training ──

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x, condition = batch.x, batch.condition
        e, q, index = self.quantised(x, condition)
        raw = self.outputs(q, condition)
        distortion = -self.likelihood.log_prob(raw, x).mean()
        found = {"distortion": distortion}
        if self.quantiser != "fsq":
            found["commitment"] = self.commitment * (e - q.detach()).square().sum() / len(e)
        if self.quantiser == "lfq" and self.entropy:
            found["entropy"] = self.entropy * e.shape[1] * _bits(e.flatten(0, 1))
        if self.duel is not None:
            fake, real = self.likelihood.expected(raw, self.grid), self.likelihood.plain(x, self.grid)
            found |= self.duel.terms(fake, real, distortion, self.decoder.last.weight, self.adversary)
        self._last = e.detach(), index.detach()
        return found

    def duel_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The critic of items and of decoded ones."""
        assert self.duel is not None
        with torch.no_grad():
            raw = self.outputs(self.quantised(batch.x, batch.condition)[1], batch.condition)
            fake, real = self.likelihood.expected(raw, self.grid), self.likelihood.plain(batch.x, self.grid)
        return self.duel.critic_loss(real, fake)

    def phases(self) -> tuple[Phase, ...]:
        critic = () if self.duel is None else tuple(self.duel.parameters())
        taken = set(map(id, critic))
        mine = tuple(p for p in self.parameters() if id(p) not in taken)
        first = Phase("model", mine, self.loss, after=self.advance)
        return (first, Phase("duel", critic, self.duel_loss)) if critic else (first,)

    @torch.no_grad()
    def advance(self, losses: Mapping[str, Tensor]) -> None:
        """Let codebook and prior follow the codes of the batch."""
        self.steps += 1
        if self._last is None:
            return
        vectors, z = self._last
        for quantise, at in self.parts():
            if isinstance(quantise, Codebook):
                quantise.follow(vectors[:, at].flatten(0, 1), z[:, at].flatten(), int(self.steps))
        counts = torch.nn.functional.one_hot(z, self.quantise.codes).float().mean(0)
        kept = min(KEPT, int(self.steps) / (int(self.steps) + 10))
        self.frequencies.mul_(kept).add_(counts, alpha=1 - kept)
        self._last = None

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start the decoder from the marginals of the data, and the codebook from outputs of the encoder."""
        batch = take(2_000)
        with torch.no_grad():
            self.marginals.copy_(self.likelihood.start(batch.x))
            for quantise, at in self.parts():  # from the coarse one down, on which the finer depends
                if isinstance(quantise, Codebook):
                    e = self.quantised(batch.x, batch.condition)[0][:, at].flatten(0, 1)
                    pick = torch.randperm(len(e), generator=torch.Generator().manual_seed(0))[: self.codes].to(e.device)
                    quantise.vectors[: len(pick)] = e[pick]
                    quantise.sums.copy_(quantise.vectors)

    def telemetry(self) -> dict[str, Any]:
        """`code_usage`: the share of codes that occur; `perplexity`: of all places together."""
        share = self.frequencies.mean(0)
        entropy = -(share * share.clamp(min=1e-12).log()).sum()
        used = (share > LEAST_SHARE / self.quantise.codes).float().mean()
        return {"code_usage": float(used), "perplexity": float(entropy.exp())}

    def health(self, numbers: Mapping[str, float]) -> Mapping[str, str]:
        used = numbers.get("code_usage", 1.0)
        if used >= IDLE or numbers.get("share", 1.0) < YOUNG:
            return {}
        return {
            "collapse": (
                f"the codes collapse: {used:.0%} of them occur. Pass fewer codes, fewer features, quantiser=fsq, or a "
                "lower lr"
            )
        }

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """The negative bound on log p(x), with the prior of each place by itself."""
        return -self._plain(batch.x, batch.condition).mean()

    # ── the questions ──

    def _plain(self, x: Shaped[Tensor, "n *event"], condition: Condition | None) -> Float[Tensor, "n"]:
        """log p(x | z) + log p(z) for the code of x."""
        z = self.encode(x, condition)
        return self.likelihood.log_prob(self.given(z, condition), x) + self.log_prior(z.flatten(1)[:, None])[:, 0]

    def log_prob_estimate(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        """A lower bound on log p(x) in nats, (n,), and its standard error where there are several codes of x."""
        if self.importance > 1:
            return super().log_prob_estimate(x, condition)
        self.check_condition(len(x), condition)
        x, far = nearby(self.event, x)
        return self._plain(x, condition).masked_fill(far, -math.inf), None

    @property
    def row(self) -> int:
        return max(self.marginals.numel(), self.frequencies.numel())

    def proposal_weights(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None, particles: int, generator: Streams
    ) -> Float[Tensor, "n {particles}"]:
        """Log-weights of the code of x and of draws of the law near it, against the mixture of both in their shares
        (the balance heuristic of Veach and Guibas, 1995): the bound falls hardly below that of the code alone."""
        own = self.encode(x, condition).flatten(1)[:, None]
        z, log_q = self._near(x, condition, generator.uniform(particles - 1, own.shape[2]))
        z, log_q = torch.cat((own, z), 1), torch.cat((self._log_near(x, condition, own), log_q), 1)
        share = torch.tensor([particles - 1.0, 1.0], device=x.device).log() - math.log(particles)
        certain = torch.where((z == own).all(2), share[1], -math.inf)
        return self._joint(x, condition, z) - torch.logaddexp(log_q + share[0], certain)

    def importance_weights(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None = None, *, particles: int, generator: Streams
    ) -> Float[Tensor, "n {particles}"]:
        """Of draws of the law near the code of x alone."""
        self.check_condition(len(x), condition)
        z, log_q = self._near(x, condition, generator.uniform(particles, math.prod(self.places)))
        return self._joint(x, condition, z) - log_q

    def proposal(self, x: Shaped[Tensor, "n *event"], condition: Condition | None) -> "Near":
        return Near(self, x, condition)

    def simulate(
        self, n: int, condition: Condition | None = None, *, generator: Streams
    ) -> tuple[Shaped[Tensor, "n *event"], Float[Tensor, "{n}"]]:
        raise Unsupported(
            "q(z | x) lies near the code of x, so that the other codes of x are as good as impossible under it"
        )

    def _joint(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None, z: Int[Tensor, "n k places"]
    ) -> Float[Tensor, "n k"]:
        """log p(x, z) of k codes for each item."""
        return self.log_likelihood(x, condition, z) + self.log_prior(z)

    def log_likelihood(
        self,
        x: Shaped[Tensor, "n *event"],
        condition: Condition | None,
        z: Int[Tensor, "n k places"],
        known: Bool[Tensor, "n *event"] | None = None,
    ) -> Float[Tensor, "n k"]:
        found = []
        for part in z.split(AT_ONCE, 1):
            k = part.shape[1]
            raw = self.outputs(self._vectors(part.flatten(0, 1)), _repeated(condition, k)).unflatten(0, (len(x), k))
            found.append(self.likelihood.log_prob_of_many(raw, x, known))
        return torch.cat(found, 1)

    def _laws(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None
    ) -> tuple[Float[Tensor, "n places codes"], Callable[[Tensor], Tensor] | None]:
        """The law of the codes near that of x; with two scales of the coarse ones, and that of the fine ones given
        coarse ones (n, k, places) → (n k, places, codes)."""
        out = self.encoder(self.likelihood.seen(x, self.marginals, self.grid), self.conditioner(condition)).float()
        if self.above is None or self.quantise_above is None:
            e = out.flatten(2).transpose(1, 2) if self.grid else out.reshape(len(x), self.groups, -1)
            return self._law(self.quantise, e, slice(None)), None
        above, coarse = self.above, self.quantise_above

        def fine(z: Int[Tensor, "n k places"]) -> Tensor:
            many = out.repeat_interleave(z.shape[1], 0)
            return self._law(self.quantise, above.fine(many, coarse.vector(z.flatten(0, 1))), self.parts()[1][1])

        return self._law(coarse, above.coarse(out), self.parts()[0][1]), fine

    def _law(self, quantise: Quantiser, e: Float[Tensor, "n places features"], at: slice) -> Tensor:
        distances = quantise.distances(e.float().flatten(0, 1)).unflatten(0, e.shape[:2])
        return code_law(distances, self._logits()[at])

    def _near(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None, u: Float[Tensor, "n k places"]
    ) -> tuple[Int[Tensor, "n k places"], Float[Tensor, "n k"]]:
        """Draws of the law near the code of x, and their log q."""
        law, fine = self._laws(x, condition)
        if fine is None:
            return drawn(law, u)
        first = law.shape[1]
        found = []
        for part in u.split(AT_ONCE, 1):
            coarse, log_q = drawn(law, part[..., :first])
            rest, log_fine = drawn(fine(coarse), part[..., first:].flatten(0, 1)[:, None])
            z = torch.cat((coarse, rest[:, 0].unflatten(0, coarse.shape[:2])), 2)
            found.append((z, log_q + log_fine.reshape(log_q.shape)))
        return torch.cat([z for z, _ in found], 1), torch.cat([q for _, q in found], 1)

    def _log_near(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None, z: Int[Tensor, "n k places"]
    ) -> Float[Tensor, "n k"]:
        """log q of given codes under the law near those of x."""
        law, fine = self._laws(x, condition)
        first = law.shape[1]
        value = law[:, None].expand(-1, z.shape[1], -1, -1).gather(3, z[..., :first, None]).sum((2, 3))
        if fine is None:
            return value
        rest = [
            fine(part[..., :first]).gather(2, part[..., first:, None].flatten(0, 1)) for part in z.split(AT_ONCE, 1)
        ]
        return value + torch.cat([log_q.sum((1, 2)).unflatten(0, (len(z), -1)) for log_q in rest], 1)

    def inferred(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None, generator: Streams | None
    ) -> tuple[Int[Tensor, "n *code"], Float[Tensor, "n"]]:
        """The numbers of the codes, which are a function of x: int64 (n, *code.shape)."""
        index = self.quantised(x, condition)[2]
        return index.reshape(len(x), *self.places), torch.zeros(len(x), device=x.device)

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Shaped[Tensor, "{n} *event"]:
        self.check_condition(n, condition)
        z = self.draw_prior(n, generator)
        return self.draw_given(z.reshape(n, *self.places), condition, generator=generator)

    @property
    def random_codes(self) -> bool:
        return False


@dataclass(frozen=True)
class Near:
    """The law of the codes near that of x, of n items."""

    model: QuantisedVAE
    x: Tensor
    condition: Condition | None

    def draw(self, k: int, generator: Streams) -> Int[Tensor, "n {k} places"]:
        u = generator.uniform(k, math.prod(self.model.places))
        return self.model._near(self.x, self.condition, u)[0]

    def log_prob(self, z: Int[Tensor, "n k places"]) -> Float[Tensor, "n k"]:
        return self.model._log_near(self.x, self.condition, z)


def _repeated(condition: Any, k: int) -> Any:
    """A condition for k codes of each item, next to one another."""
    return condition if condition is None or k == 1 else each(condition, lambda part: part.repeat_interleave(k, 0))


AT_ONCE = 64  # codes of each item that are decoded at once
LEAST_SHARE = 0.01  # of its fair share, above which a code counts as used


def _bits(e: Float[Tensor, "n bits"]) -> Float[Tensor, ""]:
    """E H(bit | e) - H(E bit), summed over bits, in nats: low where bits are certain and used alike."""
    p = torch.sigmoid(4.0 * e)

    def entropy(q: Tensor) -> Tensor:
        q = q.clamp(1e-6, 1 - 1e-6)
        return -(q * q.log() + (1 - q) * (1 - q).log())

    return (entropy(p).mean(0) - entropy(p.mean(0))).sum()
