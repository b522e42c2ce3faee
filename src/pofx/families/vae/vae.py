"""The variational autoencoder: a latent z with a simple prior, a decoder p(x | z), an encoder q(z | x) to invert it.

    log p(x) >= E_q [log p(x | z)] - KL(q(z | x) || p(z))   (Kingma and Welling, 2014, arXiv 1312.6114, eq. 3)

Training descends it, or the bound with several importance samples (`bounds`), perhaps with a weighted or clipped KL
term and a regulariser of the codes (`regulariser`); validation and `log_prob` always use the importance-weighted bound,
unweighted. Priors are in `prior`, posteriors beyond the normal in `posterior`, historical choices in `recipes`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Condition, Continuous, Discrete, Event, count, each
from pofx.core.generative import Decoding
from pofx.core.model import Batch, Default, Density, OnePhase, Phase, X
from pofx.core.options import Count, Depth, Dropout, NonNegative, OneOf, Range, Width
from pofx.core.random import Streams
from pofx.families.vae.adversary import Adversary
from pofx.families.vae.bounds import ImportanceBound
from pofx.families.vae.collapse import kl_to_margin, symptoms, usage
from pofx.families.vae.embedded import OF_PICTURES, WIDTH, Embedded, Given, flattened
from pofx.families.vae.equivariance import equivariance
from pofx.families.vae.estimators import bound_loss
from pofx.families.vae.former import read_then, renewed
from pofx.families.vae.infilling import Filling, Normals
from pofx.families.vae.networks import FEW, Networks, codes_of, size_of
from pofx.families.vae.observation import observation_model, of_then
from pofx.families.vae.posterior import POSTERIORS, bend_of
from pofx.families.vae.prior import PRIORS, Normal, prior_of
from pofx.families.vae.recipes import RECIPES
from pofx.families.vae.regulariser import REGULARISERS, Regulariser
from pofx.maths.distributions import normal_log_prob
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner

LEAST_MIXED = 16  # importance samples from which on some come from other proposals than q
WIDER = 2.0  # how much wider the second proposal is than q
RESCUE = 64  # importance samples of a bent posterior of which one comes from the prior
PRIOR_DRAWS = 512  # with which codes are compared by "mmd"


class VAE(OnePhase, ImportanceBound, Filling, Decoding):
    """Variational autoencoder with an importance-weighted bound and an exact observation model.

    Args:
        latent: dimensions of the code, channels of a spatial one; None takes 16, or 40 of more than 512 numbers.
        width: of the networks; None takes 256, or 32 channels for convolutions, and 64 for solids and clips.
        depth: hidden layers (perceptrons only).
        dropout: share of hidden units dropped in training; None takes 0.25 below 10,000 training items, else 0.
        network: "mlp", "conv", or "auto": conv for grids of more than 1,024 positions, where a perceptron has too many
            weights, and for spatial codes; "principal": mlp beside principal components, of two classes, which
            auto takes for solids.
        spatial: halvings of height and width between a grid and its code, which then is a grid too, as a first stage
            of latent diffusion; 0 is a code without places.
        observation: "bernoulli" (two classes), "categorical", "logistic", "nb" and "zinb" (counts: a negative
            binomial, perhaps with more zeros) or "auto" for Discrete events (bernoulli for two classes, logistic from 8
            on in images, nb from 1,024 on in vectors);
            Continuous events have a Gaussian; the parts of a mixed row have one each.
        components: of the logistic mixture.
        prior: "normal", a learned "mixture", "vamp" (posteriors of learned inputs), "conditional" (a normal that
            depends on the condition), or a flow by name.
        prior_parts: normals of "mixture" and "vamp".
        prior_steps: of a flow.
        posterior: "normal", or a normal that a flow bends, by name.
        posterior_steps: of that flow.
        particles: importance samples in the training loss; 1 is the plain bound.
        estimator: of its gradient with several particles: "iwae", or "dreg", doubly reparametrised (Tucker et al.,
            2019, arXiv 1810.04152).
        beta: weight of the KL term in training (Higgins et al., 2017); particles = 1 only unless 1.
        kl_warmup: steps over which the KL weight rises from 0 in training.
        capacity: nats that the KL term is drawn to, instead of to 0 (Burgess et al., 2018, arXiv 1804.03599).
        capacity_steps: steps over which the capacity rises from 0.
        free_bits: nats per code dimension, averaged over the batch, that the KL term does not punish
            (Kingma et al., 2016, arXiv 1606.04934).
        regulariser: of the codes: "tc", "factor", "dip-i", "dip-ii" or "mmd".
        strength: its weight.
        equivariance: weight of the demand on spatial codes that turned or smaller codes give turned or smaller items
            (EQ-VAE; Kouzelis et al., 2025, arXiv 2502.09509).
        condition_net: of a condition that is a picture; auto takes perceptrons beside perceptrons.
        adversary: weight, against the distortion, of a critic that separates items from means of p(x | z); 0 has none.
        importance: importance samples in `log_prob`.
    """

    name = "vae"
    default_for = (Default(),)
    source = "Kingma and Welling, 2014, arXiv 1312.6114; Burda et al., 2016, arXiv 1509.00519"
    events = (dict, Discrete, Continuous)
    ranks = (1, 2, 3, 4)
    unequal = True
    conditions = CONDITIONS
    best_density = Density.BOUND
    lossless = False
    adjustable = ("importance",)
    trains_with = {"lr": 2e-3}
    small = {"latent": 2, "width": 32, "depth": 1, "dropout": 0.0, "importance": 64, "prior_parts": 2}
    exempt = {
        "reconstruction": "a code holds what lowers the loss, so x is recovered only roughly",
        "mean loss of wae-continuous1": "q(z) is estimated within the batch, where a copy of an item is another item",
    }
    recipes = RECIPES

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        latent: Width | None = None,
        width: Width | None = None,
        depth: Depth = 2,
        dropout: Dropout | None = None,
        network: Annotated[str, OneOf("auto", "mlp", "conv", "principal")] = "auto",
        spatial: Annotated[int, Range(0, 8)] = 0,
        observation: Annotated[str, OneOf("auto", "bernoulli", "categorical", "logistic", "nb", "zinb")] = "auto",
        components: Annotated[int, Range(1, 256)] = 3,
        prior: Annotated[str, OneOf(*PRIORS)] = "mixture",
        prior_parts: Annotated[int, Range(1, 10_000)] = 20,
        prior_steps: Depth = 2,
        posterior: Annotated[str, OneOf(*POSTERIORS)] = "normal",
        posterior_steps: Depth = 4,
        particles: Annotated[int, Range(1, 1024)] = 1,
        estimator: Annotated[str, OneOf("iwae", "dreg")] = "iwae",
        beta: NonNegative = 1.0,
        kl_warmup: Annotated[int, Range(0, 1_000_000_000)] = 0,
        capacity: NonNegative = 0.0,
        capacity_steps: Annotated[int, Range(1, 1_000_000_000)] = 1000,
        free_bits: NonNegative = 0.0,
        regulariser: Annotated[str, OneOf(*REGULARISERS)] = "none",
        strength: NonNegative = 1.0,
        equivariance: NonNegative = 0.0,
        adversary: NonNegative = 0.0,
        importance: Count = 256,
        condition_net: Annotated[str, OneOf("auto", "mlp", "conv")] = "auto",
    ) -> None:
        super().__init__(event, condition)
        self.network, self.width = size_of(event, network, width, spatial)
        latent = codes_of(event, spatial) if latent is None else latent
        self.latent, self.depth, self.dropout, self.spatial = latent, depth, dropout, spatial
        self.observation, self.components = observation, components
        self.prior, self.prior_parts, self.prior_steps = prior, prior_parts, prior_steps
        self.posterior, self.posterior_steps = posterior, posterior_steps
        self.particles, self.estimator, self.beta, self.kl_warmup = particles, estimator, beta, kl_warmup
        self.capacity, self.capacity_steps, self.free_bits = capacity, capacity_steps, free_bits
        self.regulariser, self.strength, self.importance = regulariser, strength, importance
        self.equivariance, self.adversary, self.condition_net = equivariance, adversary, condition_net
        self._refuse_pairs()
        self.likelihood = observation_model(event, observation, components)
        read = flattened(condition_net, self.network, event, condition)
        self.conditioner = Conditioner(condition, OF_PICTURES if read else WIDTH, flat=read)
        context = self.conditioner.width
        bend = None if posterior == "normal" else bend_of(posterior, latent, posterior_steps)
        self.bend = bend
        self.networks = Networks(
            event,
            self.likelihood,
            latent,
            0 if bend is None else bend.size,
            self.width,
            depth,
            kind=self.network,
            spatial=spatial,
            context=context,
            dropout=dropout,
        )
        self.code = Continuous(self.networks.code)
        self.size = math.prod(self.networks.code)  # numbers of a code
        self.marginals = nn.Parameter(torch.zeros(self.likelihood.numbers))
        self.law = prior_of(prior, self.size, prior_parts, prior_steps, context, self.networks.seen)
        self.term = None if regulariser == "none" else Regulariser(regulariser, self.size)
        self.duel = Adversary(event, self.likelihood.plain_inputs) if adversary else None
        self.steps: Tensor
        self.items: Tensor  # of the training data, at most 10,000: what "tc" counts
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("items", torch.ones((), dtype=torch.int64))
        self._latest: dict[str, float] = {}

    def _refuse_pairs(self) -> None:
        """Refuse options that exclude each other."""
        if self.particles > 1 and (self.free_bits or self.capacity or self.regulariser != "none" or self.adversary):
            raise UsageError(
                f"free_bits, capacity, adversary and regulariser need particles=1 (got {self.particles}): choose one"
            )
        if self.estimator == "dreg" and self.posterior != "normal":
            raise UsageError(f"estimator=dreg needs posterior=normal (got {self.posterior}): pass estimator=iwae")
        if self.spatial and self.posterior != "normal":
            raise UsageError(f"a spatial code needs posterior=normal (got {self.posterior}): pass spatial=0")
        if self.equivariance and not self.spatial:
            raise UsageError("equivariance is a demand on spatial codes: pass spatial=2")
        if self.regulariser != "none" and self.posterior != "normal":
            raise UsageError(f"a regulariser needs posterior=normal (got {self.posterior}): leave one out")

    @classmethod
    def upgraded(
        cls, name: str, options: Mapping[str, Any], weights: Mapping[str, Tensor]
    ) -> tuple[str, Mapping[str, Any], Mapping[str, Tensor]]:
        options, weights = renewed(options, weights)
        options = dict(cls.recognised(options, {key: tuple(value.shape) for key, value in weights.items()}))
        return super().upgraded(name, options, weights)

    @classmethod
    def recognised(cls, options: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Any]:
        return of_then(read_then(options, shapes), shapes, "networks.encoder.first.weight")

    # ── the two conditionals and the prior ──

    def infer(
        self, x: X, condition: Given = None
    ) -> tuple[Float[Tensor, "n size"], Float[Tensor, "n size"], Float[Tensor, "n given"]]:
        """Mean and log standard deviation of the normal in q(z | x), and what its flow, if any, is given: (n, size)."""
        seen = self.likelihood.seen(x, self.marginals, self.networks.grid)
        return self.networks.encode(seen, self.embedded(condition).vector)

    def embedded(self, condition: Given) -> Embedded:
        """The embedding of a condition, which what follows takes in its place."""
        return condition if isinstance(condition, Embedded) else Embedded(self.conditioner(condition))

    def posterior_draws(
        self, x: X, condition: Given, noise: Float[Tensor, "n k size"]
    ) -> tuple[Float[Tensor, "n k size"], Float[Tensor, "n k"]]:
        """Draws z ~ q(z | x) from standard normal noise, and log q(z | x)."""
        return self._bent(*self.infer(x, condition), noise)

    def _bent(
        self, mean: Tensor, log_std: Tensor, given: Tensor, noise: Float[Tensor, "n k size"]
    ) -> tuple[Float[Tensor, "n k size"], Float[Tensor, "n k"]]:
        z = mean[:, None] + log_std.exp()[:, None] * noise
        log_q = (normal_log_prob(noise) - log_std[:, None]).sum(-1)
        if self.bend is not None:
            z, ladj = self.bend(z, given)
            log_q = log_q - ladj
        return z, log_q

    def outputs(self, z: Float[Tensor, "n size"], condition: Given = None) -> Float[Tensor, "n ..."]:
        """The observation model's numbers: (n, *numbers)."""
        return self.networks.decode(z, self.embedded(condition).vector) + self.marginals

    def _seen_posterior(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """The normal in q(z | x) of what the encoder sees: of the inputs of a VampPrior."""
        mean, log_std, _ = self.networks.encode(seen, None)
        return mean, log_std

    def log_prior(self, z: Float[Tensor, "*items size"], condition: Given = None) -> Float[Tensor, "*items"]:
        """log p(z) over the last axis, of one code or k codes for each item."""
        if z.ndim == 2:
            return self.log_prior(z[:, None], condition)[:, 0]
        return self.law.log_prob(z, self.embedded(condition).vector, self._seen_posterior)

    def draw_prior(
        self, n: int, generator: Streams, k: int = 1, condition: Given = None
    ) -> Float[Tensor, "{n} {k} size"]:
        """k draws of p(z) for each of n streams."""
        return self.law.draw(generator, k, self.embedded(condition).vector, self._seen_posterior)

    def log_weights(
        self, x: X, condition: Given, noise: Float[Tensor, "n k size"], weight: float = 1.0
    ) -> Float[Tensor, "n k"]:
        """log p(x | z) + weight (log p(z) - log q(z | x)) for z drawn from noise (n, k, size) → (n, k)."""
        condition = self.embedded(condition)
        z, posterior = self.posterior_draws(x, condition, noise)
        return self.log_likelihood(x, condition, z) + weight * (self.log_prior(z, condition) - posterior)

    def log_likelihood(
        self, x: X, condition: Given, z: Float[Tensor, "n k size"], known: X | None = None
    ) -> Float[Tensor, "n k"]:
        """log p(x | z) of k codes for each item; of the known dimensions alone where these are given."""
        k = z.shape[1]
        raw = self.outputs(z.flatten(0, 1), self.embedded(condition).repeated(k))
        return self.likelihood.log_prob_of_many(raw.unflatten(0, (-1, k)), x, known)

    # ── training ──

    def phases(self) -> tuple[Phase, ...]:
        apart = [("critic", self.term and self.term.critic, self.critic_loss), ("duel", self.duel, self.duel_loss)]
        others = [Phase(name, tuple(part.parameters()), loss) for name, part, loss in apart if part is not None]
        taken = {id(p) for phase in others for p in phase.parameters}
        mine = tuple(p for p in self.parameters() if id(p) not in taken)
        return (Phase("model", mine, self.loss, after=self.advance), *others)

    def advance(self, losses: Mapping[str, Tensor]) -> None:
        """Count a step, for the warm-up."""
        self.steps += 1

    def kl_weight(self) -> float:
        """The KL weight at this step of training."""
        return self.beta * min(1.0, (int(self.steps) + 1) / self.kl_warmup) if self.kl_warmup else self.beta

    def train(self, mode: bool = True) -> "VAE":
        """In the mode of training, a share of dropped units that was left open suits the number of items."""
        if mode and not self.training:
            self.networks.suit(int(self.items))
        return super().train(mode)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        weight, x, condition = self.kl_weight(), batch.x, self.embedded(batch.condition)
        n, device = len(batch), self.marginals.device
        if self.particles > 1:
            noise = torch.randn(n, self.particles, self.size, dtype=torch.float32, device=device)
            return {"bound": bound_loss(self, x, condition, noise, weight)}
        noise = torch.randn_like(self.marginals.new_empty(n, 1, self.size))
        mean, log_std, given = self.infer(x, condition)
        codes, log_q = self._bent(mean, log_std, given, noise)
        z, log_prior = codes[:, 0], self.log_prior(codes, condition)
        if isinstance(self.law, Normal) and self.bend is None:
            each_kl = (0.5 * (mean**2 + (2 * log_std).exp() - 1) - log_std).mean(0)  # per dimension, eq. 10
            kl = each_kl.clamp(min=self.free_bits).sum() if self.free_bits else each_kl.sum()
        else:
            each_kl = kl_to_margin(mean.detach(), log_std.detach())
            kl = (log_q - log_prior).mean()
            kl = kl.clamp(min=self.free_bits * self.size) if self.free_bits else kl
        self._note(mean, log_std, each_kl)
        raw = self.outputs(z, condition)
        distortion = -self.likelihood.log_prob(raw, x).mean()
        room = self.capacity * min(1.0, (int(self.steps) + 1) / self.capacity_steps)
        found = {"distortion": distortion, "rate": weight * ((kl - room).abs() if self.capacity else kl)}
        if self.term is not None:
            prior = self._prior_draws(batch.condition) if self.regulariser == "mmd" else z
            term = self.term(z, mean, log_std, log_prior[:, 0], prior, int(self.items))
            found["regulariser"] = self.strength * term
        if self.equivariance:
            found["equivariance"] = self.equivariance * equivariance(self, z, x, condition)
        if self.duel is not None:
            fake, real = self._seen_by_critic(raw), self.likelihood.plain(x, self.networks.grid)
            found |= self.duel.terms(fake, real, distortion, self.networks.decoder.last.weight, self.adversary)
        return found

    def _seen_by_critic(self, raw: Tensor) -> Tensor:
        return self.likelihood.expected(raw, self.networks.grid)

    def _prior_draws(self, condition: Condition | None) -> Float[Tensor, "m size"]:
        """Draws of p(z) to compare a batch of codes with."""
        seed = int(torch.randint(1 << 31, ()))
        if condition is None:
            return self.draw_prior(PRIOR_DRAWS, Streams(seed, PRIOR_DRAWS, device=self.marginals.device))[:, 0].detach()
        n = count(condition)
        streams = Streams(seed, n, device=self.marginals.device)
        return self.draw_prior(n, streams, -(-PRIOR_DRAWS // n), condition).flatten(0, 1).detach()

    def critic_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The critic of codes, where the regulariser has one."""
        assert self.term is not None
        with torch.no_grad():
            noise = torch.randn_like(self.marginals.new_empty(len(batch), 1, self.size))
            z, _ = self.posterior_draws(batch.x, batch.condition, noise)
        return self.term.critic_loss(z[:, 0])

    def duel_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The critic of items: against means of their own codes and of codes of the prior."""
        assert self.duel is not None
        n = len(batch)
        with torch.no_grad():
            condition = self.embedded(batch.condition)
            noise = torch.randn_like(self.marginals.new_empty(n, 1, self.size))
            z = self.posterior_draws(batch.x, condition, noise)[0][:, 0]
            streams = Streams(int(torch.randint(1 << 31, ())), n, device=z.device)
            other = self.draw_prior(n, streams, 1, condition)[:, 0]
            fakes = [self._seen_by_critic(self.outputs(v, condition)) for v in (z, other)]
        return self.duel.critic_loss(self.likelihood.plain(batch.x, self.networks.grid), torch.cat(fakes))

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start the decoder from the marginals of the data, and a VampPrior at training items."""
        with torch.no_grad():
            x = take(FEW).x
            self.items.fill_(count(x))
            self.marginals.copy_(self.likelihood.start(x))
            few = each(x, lambda part: part[: 4 * self.prior_parts])
            self.law.start(self.likelihood.seen(few, self.marginals, self.networks.grid))
            if self.networks.principal is not None:
                self.networks.principal.begin(self.likelihood.seen(x, self.marginals), self.marginals)

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """The negative importance-weighted bound, whatever the training weights are."""
        return -self.bound(batch.x, batch.condition, min(self.importance, 16))[0].mean()

    # ── how much of the code is used ──

    def _note(self, mean: Tensor, log_std: Tensor, kl: Tensor) -> None:
        """Keep the posteriors of a batch of training, for the telemetry."""
        if self.training:
            self._last = mean.detach(), log_std.detach(), kl.detach()

    def telemetry(self) -> dict[str, Tensor | float]:
        """Active units, KL and mutual information of the last batch (see `collapse`)."""
        last = self.__dict__.pop("_last", None)
        if last is not None:
            self._latest = usage(*last)
        return dict(self._latest)

    def health(self, numbers: Mapping[str, float]) -> Mapping[str, str]:
        return symptoms(numbers, self.size)

    def active_units(self, x: X, condition: Condition | None = None, *, above: float = 1e-2) -> int:
        """How many code dimensions vary with x: the variance of their posterior mean exceeds `above` (Burda et al.)."""
        return int((self.inferred(x, condition, None)[0].flatten(1).var(0) > above).sum())

    # ── the questions ──

    @property
    def row(self) -> int:
        return self.marginals.numel()

    def proposal_weights(
        self, x: X, condition: Condition | None, particles: int, generator: Streams
    ) -> Float[Tensor, "n {particles}"]:
        """Log-weights of codes drawn from three proposals: q(z | x), the same twice as wide, and the prior.

        Weights are against the mixture of the three (the balance heuristic of Veach and Guibas, 1995), so that
        no weight exceeds p(x | z) over the prior's share: an encoder too narrow for the posterior, as early in
        training, would give weights without a variance. A posterior bent by a flow has no density at given codes: then
        q, and one code in 64 of the prior, with the weight p(x | z): their mean is p(x) on average too.
        """
        given = self.embedded(condition)
        half = generator.normal(-(-particles // 2), self.size)
        noise = torch.stack((half, -half), 2).flatten(1, 2)[:, :particles]  # opposite pairs: less variance
        if self.bend is not None or particles < LEAST_MIXED:
            few = particles // RESCUE
            found = [self.log_weights(x, given, e) for e in torch.split(noise[:, few:], 64, 1)]
            z = self.draw_prior(len(noise), generator, few, given) if few else None
            return torch.cat(found if z is None else [*found, self.log_likelihood(x, given, z)], 1)
        mean, log_std, _ = self.infer(x, given)
        few = particles // 8
        counts = (particles - 2 * few, few, few)
        noise = torch.cat((noise[:, : counts[0]], WIDER * noise[:, counts[0] : sum(counts[:2])]), 1)
        near = mean[:, None] + log_std.exp()[:, None] * noise
        z = torch.cat((near, self.draw_prior(len(mean), generator, few, given)), 1)
        log_prior, scaled = self.log_prior(z, given), (z - mean[:, None]) / log_std.exp()[:, None]
        log_q = (normal_log_prob(scaled) - log_std[:, None]).sum(-1)
        log_wide = (normal_log_prob(scaled / WIDER) - log_std[:, None] - math.log(WIDER)).sum(-1)
        proposals = torch.stack((log_q, log_wide, log_prior), -1)
        shares = torch.tensor(counts, dtype=z.dtype, device=z.device) / particles
        log_weights = log_prior - (proposals + shares.log()).logsumexp(-1)
        likelihood = torch.cat([self.log_likelihood(x, given, part) for part in torch.split(z, 64, 1)], 1)
        return likelihood + log_weights

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> X:
        self.check_condition(n, condition)
        given = self.embedded(condition)
        z = self.draw_prior(n, generator, 1, given)[:, 0]
        return self.likelihood.draw(self.outputs(z, given), generator)

    def expected(self, z: Shaped[Tensor, "n *code"], condition: Condition | None = None) -> X:
        """The mean of p(x | z), of classes that of their numbers: (n, *shape)."""
        self.check_condition(len(z), condition)
        return self.likelihood.mean(self.given(z, condition))

    def prior_codes(self, n: int, *, generator: Streams) -> Float[Tensor, "{n} *code"]:
        return self.draw_prior(n, generator)[:, 0].reshape(n, *self.networks.code)

    def given(self, z: Shaped[Tensor, "n *code"], condition: Given) -> Float[Tensor, "n ..."]:
        return self.outputs(z.flatten(1), condition)

    def inferred(
        self, x: X, condition: Condition | None, generator: Streams | None
    ) -> tuple[Float[Tensor, "n *code"], Float[Tensor, "n"]]:
        mean, log_std, given = self.infer(x, condition)
        noise = torch.zeros_like(mean)[:, None] if generator is None else generator.normal(1, self.size)
        z, log_q = self._bent(mean, log_std, given, noise)
        return z[:, 0].reshape(-1, *self.networks.code), log_q[:, 0]

    def conditioned(self, condition: Condition | None) -> Embedded:
        return self.embedded(condition)

    def proposal(self, x: X, condition: Given) -> Normals | None:
        return Normals(*self.infer(x, condition)[:2]) if self.bend is None else None

    def importance_weights(
        self, x: X, condition: Condition | None = None, *, particles: int, generator: Streams
    ) -> Float[Tensor, "n {particles}"]:
        self.check_condition(count(x), condition)
        return self.log_weights(x, condition, generator.normal(particles, self.size))

    def simulate(
        self, n: int, condition: Condition | None = None, *, generator: Streams
    ) -> tuple[X, Float[Tensor, "{n}"]]:
        self.check_condition(n, condition)
        if self.bend is not None:
            raise Unsupported(
                f"q(z | x) bent by {self.posterior} steps has no density at a given code: posterior=normal"
            )
        given = self.embedded(condition)
        z = self.draw_prior(n, generator, 1, given)
        raw = self.outputs(z[:, 0], given)
        x = self.likelihood.draw(raw, generator)
        mean, log_std, _ = self.infer(x, given)
        log_q = (normal_log_prob((z[:, 0] - mean) / log_std.exp()) - log_std).sum(-1)
        return x, self.likelihood.log_prob(raw, x) + self.log_prior(z, given)[:, 0] - log_q
