"""CycleGAN: translation between two sets of images of which no pairs are known.

Zhu, Park, Isola and Efros, 2017, arXiv 1703.10593. Two translators, A → B and B → A, each against a critic of patches
(least squares), must undo each other (equation 2); an image that is in the target set already must stay as it is
(section 5.2); critics see a pool of earlier translations beside the present ones (section 4). The event is B, and A is
both the condition and the code: `sample` translates A to B, `encode` B to A, and cycle consistency is reconstruction.
Where the condition is no image, A is noise of the shape of the event.

Nothing in these losses names the translation that is meant: any exchange of items that leaves both sets as they are has
the same value. So translators start near the simplest one, which is a choice of ours: the image itself, after the
symmetry of the square and the sign that bring both sets nearest to each other (`maths.symmetries`).
"""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from pofx.core.event import Bounded, Condition, Continuous, Event
from pofx.core.model import Batch, Encoding, Phase
from pofx.core.options import NonNegative, Range, Width
from pofx.core.random import Streams
from pofx.families.gan.health import UNGUIDED, symptoms
from pofx.maths.adversarial import LOSSES
from pofx.maths.symmetries import nearest_symmetry, turned, turned_back
from pofx.nets.image.synthesis import SLOPE
from pofx.nets.image.translation import PatchFeatures, Translator
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner

DUEL = LOSSES["least-squares"]
STARTS = 1000  # images of each set whose symmetry is compared
MENDS = {
    "collapse": "Raise cycle, pass identity where both sets have the same colours, or train longer",
    "divergence": "Lower lr, or raise cycle",
    "critic": "Lower lr, or raise pool",
}


class CycleGAN(Encoding):
    """Images A to images B and back, learned without pairs.

    Args:
        width: channels of the translators and critics.
        cycle: weight of the absolute difference after A → B → A and B → A → B.
        identity: weight of the change of images that are in the target set already, where channels agree: for sets of
            the same colours, since it holds translations near copies.
        pool: earlier translations among which critics are shown half of theirs.
        residual: translators add to the image.
        grey: also where the other set has another number of channels, to the image as grey.
        align: they begin with the symmetry and the sign of A that are most like B.
    """

    name, source = "cyclegan", "Zhu et al., 2017, arXiv 1703.10593"
    events = (Bounded, Continuous)
    ranks = (3,)
    conditions = CONDITIONS
    lossless = False
    exempt = {"reconstruction": "cycle consistency is a loss, so x is recovered only roughly"}
    unstated: ClassVar = {"residual": False, "grey": False, "align": False}
    small: ClassVar[dict[str, Any]] = {"width": 16, "pool": 0}
    trains_with: ClassVar[dict[str, Any]] = {
        "batch_size": 16,
        "lr": 5e-4,
        "betas": [0.5, 0.999],
        "clip": 0.0,
        "precision": "auto",
    }
    filled: Tensor
    symmetry: Tensor
    sign: Tensor

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: Width = 48,
        cycle: NonNegative = 10.0,
        identity: NonNegative = 0.0,
        pool: Annotated[int, Range(0, 4096)] = 50,
        residual: bool = True,
        grey: bool = True,
        align: bool = True,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.width, self.cycle, self.identity, self.pool = width, cycle, identity, pool
        self.residual, self.grey, self.align = residual, grey, align
        pictured = isinstance(condition, Continuous) and len(condition.shape) == 3
        self.given = condition if pictured else None
        a: Continuous = condition if pictured else Continuous(event.shape)  # type: ignore[assignment]
        self.code = a
        self.conditioner = Conditioner(None if pictured else condition, width)
        self.forth = Translator(
            event.shape, a.shape[0], width, context=self.conditioner.width, bounded=isinstance(event, Bounded)
        )
        self.back = Translator(
            a.shape, event.shape[0], width, context=self.conditioner.width, bounded=isinstance(a, Bounded)
        )
        named = None if pictured else condition
        self.critics = nn.ModuleDict({k: _PatchCritic(e.shape[0], width, named) for k, e in (("a", a), ("b", event))})
        for name, of in (("a", a), ("b", event)):
            self.register_buffer(f"pool_{name}", torch.zeros(pool, *of.shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        if align and pictured:
            self.register_buffer("symmetry", torch.zeros((), dtype=torch.int64))
            self.register_buffer("sign", torch.ones(()))
        self.latest: dict[str, Tensor] = {}
        self.made: dict[str, Tensor] = {}  # translations of the step, which its critics are shown too

    def phases(self) -> tuple[Phase, ...]:
        translators = (*self.forth.parameters(), *self.back.parameters(), *self.conditioner.parameters())
        return (
            Phase("translation", translators, self.translation_loss),
            Phase("critics", tuple(self.critics.parameters()), self.critics_loss),
        )

    @property
    def reads_condition(self) -> bool:
        """An image as the condition is the code itself."""
        return self.given is None

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Find the symmetry and the sign by which translators begin."""
        batch = take(STARTS)
        if self.align and self.given is not None and len(batch) > 1:
            assert isinstance(batch.condition, Tensor)
            signed = isinstance(self.event, Bounded) and isinstance(self.given, Bounded)
            symmetry, sign = nearest_symmetry(batch.condition, batch.x, signed=signed)
            self.symmetry.fill_(symmetry)
            self.sign.fill_(sign)

    def _to_b(self, a: Tensor, context: Tensor | None) -> Tensor:
        """A → B without noise."""
        if self.align and self.given is not None:
            a = self.sign * turned(a, int(self.symmetry))
        return self._translated(self.forth, a, context)

    def _to_a(self, b: Tensor, context: Tensor | None) -> Tensor:
        """B → A without noise."""
        if not self.align or self.given is None:
            return self._translated(self.back, b, context)
        return self._translated(self.back, self.sign * turned_back(b, int(self.symmetry)), context)

    def _translated(self, net: Translator, x: Tensor, context: Tensor | None) -> Tensor:
        """What a net makes of images, with itself added to them where it can be."""
        added = self.residual and self.given is not None and (self.grey or self.forth.given == self.back.given)
        y = net(x.new_zeros(len(x), net.inputs), context, x, plus=x if added else None)
        return y.float()  # type: ignore[no-any-return]

    def _both(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """A, in an order of its own, B, and the context."""
        b = batch.x.float()
        if self.given is None:
            return torch.randn_like(b), b, self.conditioner(batch.condition)
        assert isinstance(batch.condition, Tensor)
        a = batch.condition.float()
        return (a[torch.randperm(len(a), device=a.device)] if self.training else a), b, None

    def translation_loss(self, batch: Batch) -> dict[str, Tensor]:
        a, b, context = self._both(batch)
        fake_b, fake_a = self._to_b(a, context), self._to_a(b, context)
        named = None if self.given is not None else batch.condition
        duel = [DUEL.generator(x, x) for x in (self.critics["b"](fake_b, named), self.critics["a"](fake_a, named))]
        cycle = (self._to_a(fake_b, context) - a).abs().mean() + (self._to_b(fake_a, context) - b).abs().mean()
        parts = {"duel": duel[0] + duel[1], "cycle": self.cycle * cycle}
        if self.identity and self.given is not None and a.shape[1:] == b.shape[1:]:
            same = (self._to_b(b, context) - b).abs().mean() + (self._to_a(a, context) - a).abs().mean()
            parts["identity"] = self.identity * same
        self.latest = {"cycle error": cycle.detach() / 2}
        reused = self.training and self.given is not None  # without images those of a label would be another's
        self.made = {"a": fake_a.detach(), "b": fake_b.detach()} if reused else {}
        return parts

    def critics_loss(self, batch: Batch) -> dict[str, Tensor]:
        a, b, context = self._both(batch)
        with torch.no_grad():
            fake, self.made = self.made, {}
            if not self.training or len(fake.get("a", ())) != len(b):
                fake = {"a": self._to_a(b, context), "b": self._to_b(a, context)}
            if self.pool and self.training and self.given is not None:
                fake = self._shown(fake)
        named = None if self.given is not None else batch.condition
        parts = {}
        for name, real in (("a", a), ("b", b)):
            high, low = self.critics[name](real, named), self.critics[name](fake[name], named)
            parts[f"critic {name}"] = DUEL.critic(high, low)
            self.latest |= {f"D(real) {name}": high.detach().mean(), f"D(fake) {name}": low.detach().mean()}
        return parts

    def _shown(self, fake: dict[str, Tensor]) -> dict[str, Tensor]:
        """Translations with, once the pool is full, half of them exchanged for earlier ones, which they replace."""
        n, device = min(len(fake["a"]), self.pool), self.filled.device
        if int(self.filled) + n <= self.pool:
            places = torch.arange(int(self.filled), int(self.filled) + n, device=device)
            for name, x in fake.items():
                getattr(self, f"pool_{name}")[places] = x[:n]
            self.filled += n
            return fake
        places, swapped = torch.randperm(self.pool, device=device)[:n], torch.rand(n, device=device) < 0.5
        places = torch.where(places < int(self.filled), places, places % int(self.filled))
        shown = {}
        for name, x in fake.items():
            pool = getattr(self, f"pool_{name}")
            old = pool[places[swapped]].clone()
            pool[places[swapped]] = x[:n][swapped]
            shown[name] = x.clone()
            shown[name][:n][swapped] = old
        return shown

    def telemetry(self) -> dict[str, Tensor]:
        return self.latest

    def health(self, numbers: Any) -> dict[str, str]:
        alone = {} if self.condition is not None else {"condition": UNGUIDED}
        return {**alone, **symptoms(numbers, MENDS)}

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        """The translations of images A, which are the condition; of noise where it is no image."""
        self.check_condition(n, condition)
        assert isinstance(self.event, Continuous)
        a = generator.normal(*self.event.shape) if self.given is None else condition
        return self.decode(a, condition)  # type: ignore[arg-type]

    def encode(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *code"]:
        """B → A; an image as the condition is not read."""
        context = None if self.given is not None else self.conditioner(condition)
        return self._to_a(x, context)

    def decode(self, z: Float[Tensor, "n *code"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """A → B; an image as the condition is not read."""
        context = None if self.given is not None else self.conditioner(condition)
        x = self._to_b(z, context)
        return x.clamp(-1, 1) if isinstance(self.event, Bounded) else x


class _PatchCritic(nn.Module):
    """(n, channels, H, W), condition (n, …) → logits of patches, by projection of the condition where there is one."""

    def __init__(self, channels: int, width: int, condition: Event | None) -> None:
        super().__init__()
        self.features, self.score = PatchFeatures(channels, width), nn.Linear(width, 1)
        self.embed = Conditioner(condition, width)

    def forward(
        self, x: Float[Tensor, "n channels H W"], condition: Condition | None = None
    ) -> Float[Tensor, "logits"]:
        h = leaky_relu(self.features(x), SLOPE)
        logits = self.score(h)[..., 0]
        embedded = self.embed(condition)
        if embedded is not None:
            logits = logits + (h * embedded[:, None]).sum(2)
        return logits.flatten().float()  # type: ignore[no-any-return]
