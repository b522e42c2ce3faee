"""The variational autoencoder: a latent z with a simple prior, a decoder p(x | z), an encoder q(z | x) to invert it.

    log p(x) >= E_q [log p(x | z)] - KL(q(z | x) || p(z))   (Kingma and Welling, 2014, arXiv 1312.6114, eq. 3)
    log p(x) >= E log 1/K Σ_k p(x, z_k) / q(z_k | x)        (Burda et al., 2016, arXiv 1509.00519, eq. 8)

Training descends the first (or, with `particles` > 1, the second), perhaps with a weighted or clipped KL term;
validation and `log_prob` always use the second, unweighted. The prior is a learned mixture of normals (Jiang et al.,
2017, arXiv 1611.05148), or with one component the standard normal. The posterior is a normal, perhaps bent by a flow
whose parameters come from the encoder too (Rezende and Mohamed, 2015, arXiv 1505.05770; `nets.posterior`).
"""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Condition, Continuous, Discrete, Event, each, select
from pofx.core.generative import Decoding
from pofx.core.model import Batch, Default, Density, Latent, OnePhase, Phase, Weighted
from pofx.core.options import Count, Depth, Dropout, NonNegative, OneOf, Range, Width
from pofx.core.random import Streams
from pofx.families.vae.observation import Categorical, Gaussian, LogisticMixture, Observation
from pofx.maths.distributions import categorical_draw, near_items, normal_log_prob
from pofx.maths.sandwich import lower_bound
from pofx.nets.image.autoencoder import ImageDecoder, ImageEncoder, VectorTrunk
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner
from pofx.nets.vector.posterior import KINDS as POSTERIORS
from pofx.nets.vector.posterior import PosteriorFlow

LARGEST = 1024  # positions up to which a grid is modelled by perceptrons
ROWS = 2**23  # decoder outputs held at once by log_prob
LEAST_MIXED = 16  # importance samples from which on some come from other proposals than q
WIDER = 2.0  # how much wider the second proposal is than q
LOOSE = 0.3  # standard error of a bound, in nats, above which about a tenth or fewer of 100 weights count


class VAE(OnePhase, Weighted, Latent, Decoding):
    """Variational autoencoder with an importance-weighted bound and an exact observation model.

    Args:
        latent: dimensions of the code.
        width: of the networks; None takes 256, or 32 channels on grids of more than 1,024 positions.
        depth: hidden layers (perceptrons only).
        dropout: share of hidden units dropped in training.
        network: "mlp", "conv", or "auto": conv for grids of more than 1,024 positions, where a perceptron has too many
            weights.
        observation: "categorical", "logistic" or "auto" for Discrete events (auto: logistic from 8 classes on in
            images); Continuous events have a Gaussian.
        components: of the logistic mixture.
        prior: normals in the learned prior; 1 is the standard normal, not learned.
        posterior: "normal", or a normal that a flow bends: "planar", "radial", "sylvester" or "iaf".
        posterior_steps: of that flow.
        particles: importance samples in the training loss; 1 is the plain bound.
        beta: weight of the KL term in training (Higgins et al., 2017); particles = 1 only unless 1.
        kl_warmup: steps over which the KL weight rises from 0 in training.
        free_bits: nats per code dimension, averaged over the batch, that the KL term does not punish
            (Kingma et al., 2016, arXiv 1606.04934).
        importance: importance samples in `log_prob`.
    """

    name = "vae"
    default_for = (Default(),)
    source = "Kingma and Welling, 2014, arXiv 1312.6114; Burda et al., 2016, arXiv 1509.00519"
    events = (Discrete, Continuous)
    ranks = (1, 2, 3)
    conditions = CONDITIONS
    best_density = Density.BOUND
    lossless = False
    adjustable = ("importance",)
    trains_with = {"lr": 2e-3}
    small = {"latent": 2, "width": 32, "depth": 1, "dropout": 0.0, "importance": 64, "prior": 2}
    exempt = {"reconstruction": "a code holds what lowers the loss, so x is recovered only roughly"}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        latent: Width = 16,
        width: Width | None = None,
        depth: Depth = 2,
        dropout: Dropout = 0.25,
        network: Annotated[str, OneOf("auto", "mlp", "conv")] = "auto",
        observation: Annotated[str, OneOf("auto", "categorical", "logistic")] = "auto",
        components: Annotated[int, Range(1, 256)] = 3,
        prior: Annotated[int, Range(1, 10_000)] = 20,
        posterior: Annotated[str, OneOf("normal", *POSTERIORS)] = "normal",
        posterior_steps: Depth = 4,
        particles: Annotated[int, Range(1, 1024)] = 1,
        beta: NonNegative = 1.0,
        kl_warmup: Annotated[int, Range(0, 1_000_000_000)] = 0,
        free_bits: NonNegative = 0.0,
        importance: Count = 256,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous | Discrete)
        grid = len(event.shape) == 3
        positions = event.shape[-1] * event.shape[-2] if grid else 0
        self.convolutional = grid and (network == "conv" or (network == "auto" and positions > LARGEST))
        if width is None:
            width = 32 if self.convolutional and positions > LARGEST else 256
        network = "conv" if self.convolutional else "mlp"
        self.latent, self.width, self.depth, self.dropout = latent, width, depth, dropout
        self.network, self.observation, self.components = network, observation, components
        self.prior, self.particles, self.beta, self.kl_warmup = prior, particles, beta, kl_warmup
        self.free_bits, self.importance = free_bits, importance
        self.posterior, self.posterior_steps = posterior, posterior_steps
        if particles > 1 and free_bits:
            raise UsageError(f"free_bits needs particles=1 (got {particles}): choose one of the two")
        self.code = Continuous((latent,))
        self.bend = PosteriorFlow(posterior, latent, posterior_steps) if posterior != "normal" else None
        encoded = 2 * latent + (0 if self.bend is None else self.bend.size)
        self.likelihood = observation_model(event, observation, components)
        self.conditioner = Conditioner(condition, 32)
        context = self.conditioner.width
        self.encoder: ImageEncoder | VectorTrunk
        self.decoder: ImageDecoder | VectorTrunk
        outputs = self.likelihood.outputs
        if self.convolutional:
            self.encoder = ImageEncoder(event.shape, encoded, width, context=context, dropout=dropout)
            self.decoder = ImageDecoder(
                latent, event.shape, outputs * event.shape[0], width, context=context, dropout=dropout
            )
        else:
            size = math.prod(event.shape)
            inputs = size * event.largest if isinstance(event, Discrete) and event.largest <= 32 else size
            self.encoder = VectorTrunk(inputs, encoded, width, depth, context=context, dropout=dropout)
            self.decoder = VectorTrunk(latent, size * outputs, width, depth, context=context, dropout=dropout)
        with torch.no_grad():
            self.decoder.last.weight.mul_(0.1)
        self.marginals = nn.Parameter(torch.zeros(*event.shape, outputs))
        self.prior_logits = nn.Parameter(torch.zeros(prior)) if prior > 1 else None
        self.prior_means = nn.Parameter(torch.randn(prior, latent)) if prior > 1 else None
        self.prior_log_stds = nn.Parameter(torch.zeros(prior, latent)) if prior > 1 else None
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @classmethod
    def upgraded(
        cls, name: str, options: Mapping[str, Any], weights: Mapping[str, Tensor]
    ) -> tuple[str, Mapping[str, Any], Mapping[str, Tensor]]:
        """Earlier versions chose the network by another size."""
        network = "conv" if weights["encoder.first.weight"].ndim == 4 else "mlp"
        return super().upgraded(name, {**options, "network": network}, weights)

    # ── the two conditionals and the prior ──

    def infer(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n latent"], Float[Tensor, "n latent"], Float[Tensor, "n given"]]:
        """Mean and log standard deviation of the normal in q(z | x), and what its flow, if any, is given: (n, size)."""
        event = self.event
        if isinstance(event, Discrete):
            if not self.convolutional and event.largest <= 32:
                h = torch.nn.functional.one_hot(x, event.largest).flatten(1).to(self.marginals.dtype)
            else:
                h = x.to(self.marginals.dtype) * (2.0 / max(event.largest - 1, 1)) - 1.0
        else:
            assert isinstance(self.likelihood, Gaussian)
            h = x / self.likelihood.spread - self.marginals[..., 0].detach()
        out: Tensor = self.encoder(h if self.convolutional else h.flatten(1), self.conditioner(condition)).float()
        mean, log_std, given = out.split((self.latent, self.latent, out.shape[-1] - 2 * self.latent), -1)
        return mean, 4.0 * torch.tanh(log_std / 4.0), given  # softly within e^-4 … e^4

    def posterior_draws(
        self,
        x: Shaped[Tensor, "n *event"],
        condition: Condition | None,
        noise: Float[Tensor, "n k latent"],
    ) -> tuple[Float[Tensor, "n k latent"], Float[Tensor, "n k"]]:
        """Draws z ~ q(z | x) from standard normal noise, and log q(z | x)."""
        mean, log_std, given = self.infer(x, condition)
        z = mean[:, None] + log_std.exp()[:, None] * noise
        log_q = (normal_log_prob(noise) - log_std[:, None]).sum(-1)
        if self.bend is not None:
            z, ladj = self.bend(z, given)
            log_q = log_q - ladj
        return z, log_q

    def outputs(
        self, z: Float[Tensor, "n latent"], condition: Condition | None = None
    ) -> Float[Tensor, "n *event outputs"]:
        """The observation model's numbers: (n, *shape, outputs)."""
        event, each = self.event, self.likelihood.outputs
        assert isinstance(event, Continuous | Discrete)
        h: Tensor = self.decoder(z, self.conditioner(condition)).float()
        if self.convolutional:
            channels, height, breadth = event.shape
            h = h.reshape(len(z), channels, each, height, breadth).movedim(2, -1)
        return h.reshape(len(z), *event.shape, each) + self.marginals

    def log_prior(self, z: Float[Tensor, "*items latent"]) -> Float[Tensor, "*items"]:
        """log p(z) over the last axis."""
        if self.prior_logits is None or self.prior_means is None or self.prior_log_stds is None:
            return normal_log_prob(z).sum(-1)
        parts = normal_log_prob(z[..., None, :], self.prior_means, self.prior_log_stds).sum(-1)
        return (parts + self.prior_logits.log_softmax(-1)).logsumexp(-1)

    def log_weights(
        self,
        x: Shaped[Tensor, "n *event"],
        condition: Condition | None,
        noise: Float[Tensor, "n k latent"],
        weight: float = 1.0,
    ) -> Float[Tensor, "n k"]:
        """log p(x | z) + weight (log p(z) - log q(z | x)) for z drawn from noise (n, k, latent) → (n, k)."""
        z, posterior = self.posterior_draws(x, condition, noise)
        return self.log_likelihood(x, condition, z) + weight * (self.log_prior(z) - posterior)

    def log_likelihood(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None, z: Float[Tensor, "n k latent"]
    ) -> Float[Tensor, "n k"]:
        """log p(x | z) of k codes for each item."""
        k = z.shape[1]
        repeated = None if condition is None else each(condition, lambda part: part.repeat_interleave(k, 0))
        raw = self.outputs(z.flatten(0, 1), repeated)
        return self.likelihood.log_prob(raw, x.repeat_interleave(k, 0)).reshape(-1, k)

    # ── training ──

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("model", tuple(self.parameters()), self.loss, after=self.advance),)

    def advance(self, losses: Mapping[str, Tensor]) -> None:
        """Count a step, for the warm-up."""
        self.steps += 1

    def kl_weight(self) -> float:
        """The KL weight at this step of training."""
        return self.beta * min(1.0, (int(self.steps) + 1) / self.kl_warmup) if self.kl_warmup else self.beta

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        weight, x = self.kl_weight(), batch.x
        if self.particles > 1:
            noise = torch.randn(len(x), self.particles, self.latent, dtype=torch.float32, device=x.device)
            log_weights = self.log_weights(x, batch.condition, noise, weight)
            return {"bound": math.log(self.particles) - log_weights.logsumexp(1).mean()}
        noise = torch.randn_like(self.marginals.new_empty(len(x), 1, self.latent))
        if self.prior_logits is None and self.bend is None:
            mean, log_std, _ = self.infer(x, batch.condition)
            z = mean + log_std.exp() * noise[:, 0]
            kl = (0.5 * (mean**2 + (2 * log_std).exp() - 1) - log_std).mean(0)  # per dimension, eq. 10
            kl = kl.clamp(min=self.free_bits).sum() if self.free_bits else kl.sum()
        else:
            codes, log_q = self.posterior_draws(x, batch.condition, noise)
            z = codes[:, 0]
            kl = (log_q[:, 0] - self.log_prior(z)).mean()
            kl = kl.clamp(min=self.free_bits * self.latent) if self.free_bits else kl
        distortion = -self.likelihood.log_prob(self.outputs(z, batch.condition), x).mean()
        return {"distortion": distortion, "rate": weight * kl}

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start the decoder from the marginals of the data."""
        with torch.no_grad():
            self.marginals.copy_(self.likelihood.start(take(10_000).x))

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """The negative importance-weighted bound, whatever the training weights are."""
        return -self.bound(batch.x, batch.condition, min(self.importance, 16))[0].mean()

    # ── the questions ──

    def bound(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None, particles: int
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """The importance-weighted bound on log p(x) in nats and its standard error, (n,) each.

        The noise is a function of the item, so that errors of items are independent and average out.
        """
        streams, values, errors = Streams.of_items(0, x), [], []
        most = max(1, ROWS // (self.marginals.numel() * min(particles, 64)))
        for at in range(0, len(x), most):
            part, stream = x[at : at + most], streams[at : at + most]
            given = None if condition is None else select(condition, slice(at, at + most))
            log_w = self.proposal_weights(part, given, particles, stream)
            value = lower_bound(log_w)
            share = (log_w - value[:, None]).exp()
            values.append(value)
            errors.append(share.std(1) / particles**0.5 if particles > 1 else torch.full_like(value, math.nan))
        if not values:
            return x.new_zeros(0, dtype=torch.float32), x.new_zeros(0, dtype=torch.float32)
        return torch.cat(values), torch.cat(errors)

    def proposal_weights(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None, particles: int, generator: Streams
    ) -> Float[Tensor, "n {particles}"]:
        """Log-weights of codes drawn from three proposals: q(z | x), the same twice as wide, and the prior.

        Weights are against the mixture of the three (the balance heuristic of Veach and Guibas, 1995), so that
        no weight exceeds p(x | z) over the prior's share: an encoder too narrow for the posterior, as early in
        training, would give weights without a variance. A posterior bent by a flow has no density at given codes: then
        q alone.
        """
        if self.bend is not None or particles < LEAST_MIXED:
            half = generator.normal(-(-particles // 2), self.latent)
            noise = torch.stack((half, -half), 2).flatten(1, 2)[:, :particles]  # opposite pairs: less variance
            return torch.cat([self.log_weights(x, condition, e) for e in torch.split(noise, 64, 1)], 1)
        mean, log_std, _ = self.infer(x, condition)
        few = particles // 8
        counts = (particles - 2 * few, few, few)
        half = generator.normal(-(-particles // 2), self.latent)
        noise = torch.stack((half, -half), 2).flatten(1, 2)[:, : sum(counts[:2])]
        noise = torch.cat((noise[:, : counts[0]], WIDER * noise[:, counts[0] :]), 1)
        near = mean[:, None] + log_std.exp()[:, None] * noise
        z = torch.cat((near, self.draw_prior(len(x), generator, few)), 1)
        log_prior, scaled = self.log_prior(z), (z - mean[:, None]) / log_std.exp()[:, None]
        log_q = (normal_log_prob(scaled) - log_std[:, None]).sum(-1)
        log_wide = (normal_log_prob(scaled / WIDER) - log_std[:, None] - math.log(WIDER)).sum(-1)
        proposals = torch.stack((log_q, log_wide, log_prior), -1)
        shares = torch.tensor(counts, dtype=z.dtype, device=z.device) / particles
        log_weights = log_prior - (proposals + shares.log()).logsumexp(-1)
        likelihood = torch.cat([self.log_likelihood(x, condition, part) for part in torch.split(z, 64, 1)], 1)
        return likelihood + log_weights

    def log_prob(self, x: Shaped[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """A lower bound on log p(x) in nats, with `importance` samples: (n,)."""
        return self.log_prob_estimate(x, condition)[0]

    def log_prob_estimate(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """The bound and its standard error, from the scatter of the weights of each item.

        Warns:
            RuntimeWarning: for many items few of the weights count, so that the bound is loose, its error too small.
        """
        self.check_condition(len(x), condition)
        far = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        if isinstance(self.event, Continuous):
            x, far = near_items(x)
        value, error = self.bound(x, condition, self.importance)
        if len(x) and float((error > LOOSE).float().mean()) > 0.1:
            warnings.warn(
                "few importance weights count for many items, so that their bound is loose: pass a larger importance",
                RuntimeWarning,
                stacklevel=2,
            )
        return value.masked_fill(far, -math.inf), error.masked_fill(far, 0.0)

    def encode(self, x: Shaped[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n latent"]:
        """Where q(z | x) takes noise 0, which without a flow is its mean: (n, latent)."""
        self.check_condition(len(x), condition)
        return self._center(x, condition)

    def _center(self, x: Shaped[Tensor, "n *event"], condition: Condition | None) -> Float[Tensor, "n latent"]:
        mean, _, given = self.infer(x, condition)
        return mean if self.bend is None else self.bend(mean[:, None], given)[0][:, 0]

    def decode(self, z: Float[Tensor, "n latent"], condition: Condition | None = None) -> Shaped[Tensor, "n *event"]:
        """The mode of p(x | z): (n, *shape)."""
        self.check_condition(len(z), condition)
        return self.likelihood.mode(self.outputs(z, condition))

    def expected(self, z: Float[Tensor, "n latent"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """The mean of p(x | z), of classes that of their numbers: (n, *shape)."""
        self.check_condition(len(z), condition)
        return self.likelihood.mean(self.outputs(z, condition))

    def prior_codes(self, n: int, *, generator: Streams) -> Float[Tensor, "{n} latent"]:
        return self.draw_prior(n, generator)[:, 0]

    def active_units(
        self,
        x: Shaped[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        above: float = 1e-2,
    ) -> int:
        """How many code dimensions vary with x: the variance of their posterior mean exceeds `above` (Burda et al.)."""
        return int((self._center(x, condition).var(0) > above).sum())

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Shaped[Tensor, "{n} *event"]:
        self.check_condition(n, condition)
        return self.likelihood.draw(self.outputs(self.draw_prior(n, generator)[:, 0], condition), generator)

    def draw_prior(self, n: int, generator: Streams, k: int = 1) -> Float[Tensor, "{n} {k} latent"]:
        """k draws of p(z) for each of n streams."""
        z = generator.normal(k, self.latent)
        if self.prior_logits is not None and self.prior_means is not None and self.prior_log_stds is not None:
            pick = categorical_draw(self.prior_logits.expand(n, k, -1), generator.uniform(k))
            z = self.prior_means[pick] + self.prior_log_stds[pick].exp() * z
        return z

    # ── the density of a model of codes ──

    @property
    def volume(self) -> Density:
        return Density.BOUND

    @property
    def random_codes(self) -> bool:
        return True

    def draw_code(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None = None, *, generator: Streams
    ) -> Float[Tensor, "n latent"]:
        self.check_condition(len(x), condition)
        return self.posterior_draws(x, condition, generator.normal(1, self.latent))[0][:, 0]

    def weigh_code(
        self, x: Shaped[Tensor, "n *event"], condition: Condition | None = None, *, generator: Streams
    ) -> tuple[Float[Tensor, "n latent"], Float[Tensor, "n"]]:
        self.check_condition(len(x), condition)
        z, log_q = self.posterior_draws(x, condition, generator.normal(1, self.latent))
        return z[:, 0], (self.log_likelihood(x, condition, z) - log_q)[:, 0]

    def draw_given(
        self, z: Float[Tensor, "n latent"], condition: Condition | None = None, *, generator: Streams
    ) -> Shaped[Tensor, "n *event"]:
        self.check_condition(len(z), condition)
        return self.likelihood.draw(self.outputs(z, condition), generator)

    def importance_weights(
        self,
        x: Shaped[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        particles: int,
        generator: Streams,
    ) -> Float[Tensor, "n {particles}"]:
        self.check_condition(len(x), condition)
        return self.log_weights(x, condition, generator.normal(particles, self.latent))

    def simulate(
        self, n: int, condition: Condition | None = None, *, generator: Streams
    ) -> tuple[Shaped[Tensor, "{n} *event"], Float[Tensor, "{n}"]]:
        self.check_condition(n, condition)
        if self.bend is not None:
            raise Unsupported(
                f"q(z | x) bent by {self.posterior} steps has no density at a given code: posterior=normal"
            )
        z = self.draw_prior(n, generator)[:, 0]
        raw = self.outputs(z, condition)
        x = self.likelihood.draw(raw, generator)
        mean, log_std, _ = self.infer(x, condition)
        log_q = (normal_log_prob((z - mean) / log_std.exp()) - log_std).sum(-1)
        return x, self.likelihood.log_prob(raw, x) + self.log_prior(z) - log_q


def observation_model(event: Continuous | Discrete, kind: str, components: int) -> Observation:
    """The observation model of an event."""
    if isinstance(event, Continuous):
        return Gaussian(event)
    ordered = kind == "logistic" or (kind == "auto" and len(event.shape) == 3 and event.largest >= 8)
    return LogisticMixture(event, components) if ordered else Categorical(event)
