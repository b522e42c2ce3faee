"""The bars of the token models, measured: one function per bar, one JSON line per result.

    POFX_DATA=… python bench/tokens.py recipe                     GPT-2 by nanoGPT's settings for a CPU: nats and time
    POFX_DATA=… python bench/tokens.py shakespeare --minutes 3    gpt on running text, nats per character
    POFX_DATA=… python bench/tokens.py names --minutes 3          gpt on distinct names, nats per character with the end
    POFX_DATA=… python bench/tokens.py names --model masked-diffusion --minutes 5
    POFX_DATA=… python bench/tokens.py infilling --minutes 4      holes filled from both sides, and by gpt from one
    POFX_DATA=… python bench/tokens.py pairs --minutes 3          the same text by byte pairs, a bound
    python bench/tokens.py training generating                    against 🤗 transformers' GPT-2, in turn, one thread

Results go to <out>/tokens.jsonl. Needs the extra `bench`. Every text is scored so that each character counts once; the
test text of tinyshakespeare is the last tenth of its characters, as nanoGPT has it.
"""

import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from harness import in_turn, listed, measure, parser
from torch import nn
from vision import declare

import pofx
from pofx.core.config import build
from pofx.core.event import Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.data.dataset import dataset
from pofx.data.sources import load

DATA = Path(os.environ.get("POFX_DATA", "."))
PLAYS, NAMES = DATA / "tinyshakespeare.txt", DATA / "names.txt"


def shakespeare(args):
    """gpt on tinyshakespeare: nats per character of the last tenth, each given at least half a window before it."""
    yield _running(args, batch_size=16, length=args.length)


def pairs(args):
    """The same by byte pairs: a bound, for one segmentation of many; per character and per byte of UTF-8."""
    yield _running(args, batch_size=16, represent="bpe", vocabulary=args.vocabulary, length=args.length)


def _running(args, **options):
    data = load(PLAYS)
    began = time.process_time()
    run = pofx.fit(data, "gpt", minutes=args.minutes, seed=args.seed, progress=args.shown, **options, **args.options)
    spent = time.process_time() - began
    score, passages = run.score(data.test.values), data.test.values
    characters = np.array([len(p) for p in passages])
    nats = -score.value.sum() / characters.sum()
    error = float(np.std(score.value + nats * characters) * len(passages) ** 0.5 / characters.sum())
    for prefix in ("ROMEO:", "\n"):
        print(run.sample(1, seed=0, prefix=prefix)[0], end="\n---\n")
    if args.keep:
        run.save(args.out / args.keep)
    return {
        "data": "tinyshakespeare",
        "options": {**options, **args.options},
        "seed": args.seed,
        "minutes": args.minutes,
        "cpu_minutes": round(spent / 60, 2),
        "steps": run.card["training"]["steps"],
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "nats_per_character": round(float(nats), 4),
        "nats_per_byte": round(float(-score.value.sum() / len(passages.text.encode())), 4),
        "stderr": round(error, 4),
        "density": score.density.name.lower(),
        "validation_window": round(run.card["training"]["best_validation"], 4),
        "bar": "1.75 at the recipe's time, 1.65 in 10 minutes",
    }


def names(args):
    """gpt on the distinct names: nats per character, the end of each name being one, of a test tenth.

    With --repeats as makemore splits them: repeats stay, 1,000 random names to test, some of which were trained on.
    """
    data = with_repeats(NAMES, args.seed) if args.repeats else load(NAMES)
    began = time.process_time()
    plain = {"batch_size": 128, "lr": 2e-3, "dropout": 0.2} if args.model == "gpt" else {}
    options = {**plain, **args.options}
    run = pofx.fit(data, args.model, minutes=args.minutes, seed=args.seed, progress=args.shown, **options)
    spent = time.process_time() - began
    value = run.log_prob(data.test.values)
    symbols = np.array([len(v) + 1 for v in data.test.values])
    nats = -value.sum() / symbols.sum()
    print(run.sample(20, seed=0))
    known = {*data.train.values, *data.validation.values}
    new = np.array([v not in known for v in data.test.values])
    inside = {}
    if "bound_orders" in run.model.adjustable:
        tighter = run.using(bound_orders=args.orders).log_prob(data.test.values)
        inside = {f"nats_per_character, {args.orders} orders": round(float(-tighter.sum() / symbols.sum()), 4)}
    yield {
        "data": "names, with repeats" if args.repeats else "names, distinct",
        "nats_of_new_names": round(float(-value[new].sum() / symbols[new].sum()), 4),
        "new_names": int(new.sum()),
        "removed": data.card.facts.get("repeats_removed", 0),
        "n": dict(data.card.sizes),
        "options": options,
        "seed": args.seed,
        "minutes": args.minutes,
        "cpu_minutes": round(spent / 60, 2),
        "steps": run.card["training"]["steps"],
        "best_step": run.card["training"]["best_step"],
        "nats_per_character": round(float(nats), 4),
        **inside,
        "stderr": round(float(np.std(value + nats * symbols) * len(value) ** 0.5 / symbols.sum()), 4),
        "floor_4gram": round(_ngram(data, 4), 4),
        "model": args.model,
        "kind": run.density.name.lower(),
        "bar": 2.0 if args.model == "gpt" else 2.05,
    }


def infilling(args):
    """tinyshakespeare: holes of 8 characters in windows of 128, filled by a masked diffusion, that sees both sides, and
    by gpt, prompted by what comes before: the share of characters that are as they were, of four draws and of the most
    frequent character at each place; the share of holes that are as they were. As many minutes for each."""
    data, hole, window = load(PLAYS), 8, 128
    text = "".join(data.test.values)
    starts = np.random.default_rng(0).choice(len(text) - window, args.holes, replace=False)
    at = np.random.default_rng(1).integers(32, window - 32 - hole, args.holes)
    windows = [text[i : i + window] for i in starts]
    wanted = np.array([list(w[a : a + hole]) for w, a in zip(windows, at, strict=True)])
    for name in args.models or ("masked-diffusion", "gpt"):
        began = time.process_time()
        own = {"batch_size": 16, **args.options} if name == "gpt" else {"batch_size": 32, **args.options}
        run = pofx.fit(data, name, minutes=args.minutes, seed=args.seed, progress=args.shown, length=window, **own)
        spent = time.process_time() - began
        known = run.representation.characters
        keep = [k for k, w in enumerate(windows) if not set(w) - set(known)]
        if name == "gpt":
            prompts = [windows[k][: at[k]] for k in keep]
        else:
            prompts = [(windows[k][: at[k]], hole, windows[k][at[k] + hole :]) for k in keep]
        draws = []
        for seed in range(4):
            made = run.sample(len(keep), seed=seed, prefix=prompts)
            cut = [m[at[k] : at[k] + hole].ljust(hole, "\0")[:hole] for k, m in zip(keep, made, strict=True)]
            draws.append([list(c) for c in cut])
        drawn, truth = np.array(draws), wanted[keep]
        agree = (drawn[:, None] == drawn[None]).sum(0)
        usual = np.take_along_axis(drawn, agree.argmax(0)[None], 0)[0]
        for k in range(3):
            print(repr(windows[keep[k]][: at[keep[k]]]), [repr("".join(d[k])) for d in drawn], repr("".join(truth[k])))
        yield {
            "model": name,
            "minutes": args.minutes,
            "cpu_minutes": round(spent / 60, 2),
            "steps": run.card["training"]["steps"],
            "holes": len(keep),
            "characters_right": round(float((drawn == truth).mean()), 4),
            "stderr": round(float((drawn == truth).mean((0, 2)).std() / len(keep) ** 0.5), 4),
            "characters_right_of_the_most_frequent": round(float((usual == truth).mean()), 4),
            "holes_right": round(float((drawn == truth).all(2).mean()), 4),
            "bar": "masked-diffusion above gpt",
        }


def with_repeats(path, seed):
    """All names, 1,000 random ones to test and 500 to validate."""
    names = [line for line in Path(path).read_text().splitlines() if line]
    order = np.random.default_rng(seed).permutation(len(names))
    test, validation, train = (pofx.texts([names[i] for i in at]) for at in np.split(order, (1000, 1500)))
    return dataset(train, validation, test, "names", source="file", licence="unknown", count_overlaps=False)


def _ngram(data, order):
    """Interpolated counts of orders 0 to `order` - 1 (Witten and Bell, 1991), nats per character with the end."""
    counts = [{} for _ in range(order)]
    alphabet = len({c for v in data.train.values for c in v}) + 2

    def pieces(text):
        text = "\x02" * (order - 1) + text + "\x03"
        return [(text[i - order + 1 : i], text[i]) for i in range(order - 1, len(text))]

    for value in data.train.values:
        for past, c in pieces(value):
            for k in range(order):
                seen = counts[k].setdefault(past[len(past) - k :], {})
                seen[c] = seen.get(c, 0) + 1
    total, symbols = 0.0, 0
    for value in data.test.values:
        for past, c in pieces(value):
            p = 1 / alphabet
            for k in range(order):
                seen = counts[k].get(past[len(past) - k :])
                if seen:
                    n, kinds = sum(seen.values()), len(seen)
                    p = (seen.get(c, 0) + kinds * p) / (n + kinds)
            total -= math.log(p)
            symbols += 1
    return total / symbols


def _peer(classes, length, width=128, layers=4, heads=4, expansion=4.0):
    declare()
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=classes, n_positions=length, n_embd=width, n_layer=layers, n_head=heads,
        n_inner=int(width * expansion), resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0,
        eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def recipe(args):
    """nanoGPT's settings for a CPU with a plain GPT-2: 4 layers, 4 heads, 128 wide, block 64, batch 12, 2,000 steps."""
    text = load(PLAYS)
    whole = "".join(items.values.text for items in text.splits().values())
    characters = sorted(set(whole))
    index = {c: i for i, c in enumerate(characters)}
    data = torch.tensor([index[c] for c in whole])
    cut = int(0.9 * len(data))
    train, test = data[:cut], data[cut:]
    torch.manual_seed(args.seed)
    model, block, batch, steps, lr = _peer(len(characters), 64).train(), 64, 12, args.steps, 1e-3
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), fused=True)
    began, cpu = time.perf_counter(), time.process_time()
    for step in range(steps):
        share = (step - 100) / (steps - 100)
        now = lr * (step + 1) / 101 if step < 100 else 1e-4 + 0.5 * (1 + math.cos(math.pi * share)) * (lr - 1e-4)
        for group in optimiser.param_groups:
            group["lr"] = now
        at = torch.randint(len(train) - block, (batch,))
        x = torch.stack([train[i : i + block] for i in at])
        y = torch.stack([train[i + 1 : i + 1 + block] for i in at])
        loss = nn.functional.cross_entropy(model(x).logits.flatten(0, 1), y.flatten())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    model.eval()
    with torch.no_grad():
        rows, first, half = [], [], block // 2
        for a in range(1, len(test), half):  # the first character of the test text has no past in this model
            b = min(a + half, len(test))
            begin = max(0, b - 1 - block)
            rows.append(torch.stack((test[begin : begin + block], test[begin + 1 : begin + 1 + block])))
            first.append((a - 1 - begin, b - 1 - begin))
        nats = []
        for i in range(0, len(rows), 100):
            x, y = torch.stack(rows[i : i + 100]).unbind(1)
            each = nn.functional.cross_entropy(model(x).logits.flatten(0, 1), y.flatten(), reduction="none")
            nats += [v[a:b] for v, (a, b) in zip(each.view(len(x), -1), first[i : i + 100], strict=True)]
        slid = torch.cat(nats)
        at = torch.randint(len(test) - block, (1000,), generator=torch.Generator().manual_seed(0))
        x, y = (torch.stack([test[i + k : i + k + block] for i in at]) for k in (0, 1))
        blocks = nn.functional.cross_entropy(model(x).logits.flatten(0, 1), y.flatten())
    assert len(slid) == len(test) - 1
    yield {
        "model": "GPT-2 of transformers, nanoGPT's CPU recipe",
        "seed": args.seed,
        "steps": steps,
        "wall_minutes": round(wall / 60, 2),
        "cpu_minutes": round(cpu / 60, 2),
        "nats_per_character": round(float(slid.mean()), 4),
        "as_nanogpt_in_random_blocks": round(float(blocks), 4),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def _pair(classes=65, length=256):
    """Ours and theirs, 4 layers of 128, with as many parameters: their places are a table, ours none."""
    torch.manual_seed(0)
    theirs = _peer(classes, length)
    ours = build("gpt", Discrete((length,), classes), width=128, layers=4, heads=4, expansion=4.25)
    sizes = [sum(p.numel() for p in m.parameters()) for m in (ours, theirs)]
    assert abs(sizes[0] / sizes[1] - 1) < 0.02, sizes
    return ours, theirs, sizes


def _ratio(ours, theirs, rounds):
    """Ratios of the medians of CPU time, which other work on the machine disturbs least, and of the clock's."""
    found, rows = in_turn({"ours": ours, "theirs": theirs}, rounds), {"rounds": rounds}
    for k, kind in enumerate(("cpu", "wall")):
        sides = [times[:, k] for times in found.values()]
        low, middle, high = np.quantile(sides[0] / sides[1], (0.25, 0.5, 0.75))
        rows[f"ratio_{kind}"] = round(float(middle), 3)
        rows[f"quartiles_{kind}"] = [round(float(low), 3), round(float(high), 3)]
        rows[f"ms_{kind}"] = [round(1e3 * float(np.median(side)), 1) for side in sides]
    return rows


def training(args):
    """One training step, forward, backward and AdamW: 16 sequences of 256 of 65 classes."""
    ours, theirs, sizes = _pair()
    x = torch.randint(65, (16, 256))
    for precision in ("fp32", "bf16"):
        cast = lambda p=precision: torch.autocast("cpu", torch.bfloat16, enabled=p == "bf16")  # noqa: E731

        def step(model, loss, cast=cast):
            optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

            def run():
                with cast():
                    value = loss()
                optimiser.zero_grad(set_to_none=True)
                value.backward()
                optimiser.step()

            return run

        mine = step(ours.train(), lambda: ours.loss(Batch(x)))
        other = step(theirs.train(), lambda: theirs(x, labels=x).loss)
        yield {"precision": precision, "parameters": sizes, **_ratio(mine, other, args.rounds), "bar": 0.7}


def generating(args):
    """16 sequences of 256, drawn from the start with cached keys and values."""
    for precision in ("fp32", "bf16"):
        ours, theirs, sizes = _pair()
        if precision == "bf16":
            ours, theirs = ours.bfloat16(), theirs.bfloat16()
        ours.eval(), theirs.eval()
        start = torch.zeros(16, 1, dtype=torch.int64)
        seeds = iter(range(1000))

        def other(theirs=theirs, start=start):
            return theirs.generate(
                start, attention_mask=torch.ones_like(start), max_new_tokens=255, min_new_tokens=255, do_sample=True,
                top_k=0, use_cache=True,
            )  # fmt: skip

        def mine(ours=ours, seeds=seeds):
            with torch.inference_mode():
                return ours.sample(16, generator=Streams(next(seeds), 16))

        assert mine().shape == other().shape == (16, 256)
        yield {"precision": precision, "parameters": sizes, **_ratio(mine, other, args.rounds), "bar": 0.4}


BARS = {
    "recipe": recipe,
    "shakespeare": shakespeare,
    "names": names,
    "infilling": infilling,
    "pairs": pairs,
    "training": training,
    "generating": generating,
}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--minutes", type=float, default=3.0)
    options.add_argument("--steps", type=int, default=2000, help="of the recipe")
    options.add_argument("--length", type=int, default=128)
    options.add_argument("--vocabulary", type=int, default=512)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--model", default="gpt", help="of names")
    options.add_argument("--models", type=listed, help="of infilling")
    options.add_argument("--orders", type=int, default=16, help="of names by masked diffusion, inside the logarithm")
    options.add_argument("--holes", type=int, default=400, help="of infilling")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--options", type=json.loads, default={}, help="JSON of further options of fit")
    options.add_argument("--repeats", action="store_true", help="of names: as makemore splits them")
    options.add_argument("--keep", default="", help="folder under --out for the artifact")
    args = options.parse_args()
    torch.set_num_threads(1)
    measure("tokens", BARS, args)


if __name__ == "__main__":
    main()
