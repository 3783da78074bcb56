"""A model of the AUROCs that trials reported: what each value of a parameter does to them.

    AUROC[t, s, k] = mean[s, k] + share[s] * own[value of k's parameter in t]
                     + loading[k] * (share[s] * common[values of t] + slopes @ numbers[t] + trial[t] + stage[t, s])
                     + noise[k] * (observation[t, k] + scatter[t, s, k])

of trial t and observation k at stage s. Stages are the reports after which trials ended, and the AUROCs are those of
the weights that a trial keeps at that stage. A trial that ended early has no values at later stages. Pruning decides
from what was reported, so these values are missing at random, and the likelihood of the others is unbiased, unlike the
mean of the trials that finished (Anderson 1957; Little & Rubin 2019, ch. 7).

The effects of values at the last stage, `own` and `common`, are what the model is for. At an earlier stage they are a
`share` of that, and differ from it at random, as slopes do; common effects and slopes also differ at random between
observations. All random terms are normal. Their standard deviations, the shares, loadings and noises are those with the
highest restricted likelihood (Patterson & Thompson 1971) under weak priors.

The covariance of AUROCs on the same patients is not used to weight the trials: it is estimated from the same labels,
and is smaller where an AUROC is higher, so that weights from it would halve the effects.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from search.analysis.trial_terms import Term, TermLikelihood

UNIT = 0.01
"""The model counts AUROC in this unit."""
SCATTER = {"trial": 0.5, "stage": 0.25, "observation": 0.5, "scatter": 0.5}
DEVIATIONS = {"early slopes": 0.1, "by observation": 0.1, "early effects": 0.2}
"""Medians of the priors of standard deviations, in UNIT; each is lognormal with LOG_WIDTH."""
LOG_WIDTH, LOADING_WIDTH, NOISE_WIDTH, SHARE_WIDTH = 1.0, 0.3, 0.4, 0.5
EFFECT_MEDIAN = 1.0
SHARE_LOGIT = 1.2
"""The logit of the prior's median share of an effect at an early stage."""
SLOPE_DEVIATION = 5.0
ITERATIONS = 40


def fit_trial_model(aurocs: np.ndarray, terms: Sequence[Term]) -> TermLikelihood:
    """Fits the model to `aurocs`, float (T, S, K): NaN at the stages that a trial did not reach.

    Every trial has reached the first stage, and all later ones up to its last.
    """
    model = _Model(aurocs / UNIT, terms)
    with torch.enable_grad():
        model.optimize()
    return model.likelihood()


@dataclass(frozen=True)
class _Columns:
    """All columns of the design, and what each is multiplied by."""

    values: torch.Tensor
    """float (T, S K, C)."""
    loaded: torch.Tensor
    """bool (C,): multiplied by the observation's loading."""
    shared: torch.Tensor
    """bool (C,): multiplied by the stage's share."""
    kind: tuple[str, ...]
    """(C,): `mean`, `last mean`, `slope`, `effect`, or a name in DEVIATIONS."""


class _Model:
    """State: the parameters that `optimize` changes."""

    def __init__(self, aurocs: np.ndarray, terms: Sequence[Term]):
        self.terms = tuple(terms)
        _, self.stages, self.observations = aurocs.shape
        cells = aurocs.reshape(len(aurocs), -1)
        self.known = torch.tensor(~np.isnan(cells), dtype=torch.float64)
        self.target = torch.tensor(np.nan_to_num(cells)[:, :, None], dtype=torch.float64)
        self.stage_of = torch.arange(self.stages).repeat_interleave(self.observations)
        self.observation_of = torch.arange(self.observations).repeat(self.stages)
        self.columns = self._columns()
        many = {"stage": self.stages > 1, "observation": True}
        names = [name for name in SCATTER if self.observations > 1 or name not in many]
        names = [name for name in names if many.get(name, True)]
        self.random = [*names, *(name for name in DEVIATIONS if name in self.columns.kind)]
        medians = SCATTER | DEVIATIONS
        self.prior = torch.tensor([medians[name] for name in self.random], dtype=torch.float64).log()
        self.log_deviations = self.prior.clone().requires_grad_()
        self.log_effect = torch.tensor(EFFECT_MEDIAN, dtype=torch.float64).log().requires_grad_()
        self.log_loadings = torch.zeros(self.observations, dtype=torch.float64, requires_grad=True)
        self.log_noises = torch.zeros(self.observations, dtype=torch.float64, requires_grad=True)
        self.share_logits = torch.zeros(self.stages - 1, dtype=torch.float64, requires_grad=True)

    def optimize(self) -> None:
        """Maximizes the restricted likelihood times the priors."""
        moved = [self.log_deviations, self.log_effect, self.log_loadings, self.log_noises, self.share_logits]
        optimizer = torch.optim.Adam(moved)
        for iteration in range(ITERATIONS):
            optimizer.param_groups[0]["lr"] = 0.2 * (1 - iteration / ITERATIONS) + 0.01
            optimizer.zero_grad()
            loss = self._loss()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    @torch.no_grad()
    def likelihood(self) -> TermLikelihood:
        product, projected, _, _ = self._products()
        product = product + torch.diag(self._precision(effects=0.0))
        kept = torch.tensor([kind in ("last mean", "slope", "effect") for kind in self.columns.kind])
        rest = ~kept
        solved = torch.linalg.solve(product[rest][:, rest], product[rest][:, kept])
        information = product[kept][:, kept] - product[kept][:, rest] @ solved
        score = projected[kept] - solved.T @ projected[rest]
        deviations = {
            name: float(each) * UNIT for name, each in zip(self.random, self.log_deviations.exp(), strict=True)
        }
        return TermLikelihood(
            self.terms,
            information.numpy() / UNIT**2,
            score.numpy() / UNIT,
            deviations,
            self._loadings().numpy(),
            self._shares().numpy(),
            self._final_aurocs().numpy() * UNIT,
        )

    def _final_aurocs(self) -> torch.Tensor:
        """Returns float (T,): the mean AUROC at the last stage, as expected from the stages that a trial reached."""
        product, projected, _, _ = self._products()
        fitted = self._design() @ torch.linalg.solve(product + torch.diag(self._precision()), projected)
        covariance = self._covariance(self._loadings()[self.observation_of])
        last = self.stage_of == self.stages - 1
        expected = torch.empty(len(fitted), dtype=torch.float64)
        for trial, known in enumerate(self.known.bool()):
            rest = (self.target[trial, :, 0] - fitted[trial])[known]
            gain = torch.linalg.solve(covariance[known][:, known], rest)
            expected[trial] = (fitted[trial, last] + covariance[last][:, known] @ gain).mean()
        return expected

    def _columns(self) -> _Columns:
        trials, cells = self.known.shape
        blocks: list[tuple[np.ndarray, bool, bool, str]] = []
        stage_of, observation_of = self.stage_of.numpy(), self.observation_of.numpy()
        for cell in range(cells):
            kind = "last mean" if stage_of[cell] == self.stages - 1 else "mean"
            blocks.append((np.tile(np.arange(cells) == cell, (trials, 1)), False, False, kind))
        for term in self.terms:
            acts = np.ones(cells) if term.observation is None else observation_of == term.observation
            kind = "effect" if term.is_effect else "slope"
            loaded = term.observation is None
            blocks.append((term.column[:, None] * acts, loaded, term.is_effect, kind))
            for stage in range(self.stages - 1):
                then = term.column[:, None] * (acts * (stage_of == stage))
                blocks.append((then, loaded, False, "early effects" if term.is_effect else "early slopes"))
            if loaded and self.observations > 1:
                for k in range(self.observations):
                    there = term.column[:, None] * (observation_of == k)
                    blocks.append((there, False, term.is_effect, "by observation"))
        values, loaded_, shared, kinds = zip(*blocks, strict=True)
        return _Columns(
            torch.tensor(np.stack(values, axis=2), dtype=torch.float64),
            torch.tensor(loaded_),
            torch.tensor(shared),
            kinds,
        )

    def _loadings(self) -> torch.Tensor:
        loadings = self.log_loadings.exp()
        return loadings / loadings.mean()

    def _shares(self) -> torch.Tensor:
        return torch.cat([torch.sigmoid(self.share_logits + SHARE_LOGIT), torch.ones(1, dtype=torch.float64)])

    def _precision(self, effects: float | None = None) -> torch.Tensor:
        """Returns float (C,): the precision of each column's prior; `effects` in place of that of effects."""
        by_kind = dict.fromkeys(("mean", "last mean"), torch.tensor(1e-8))
        by_kind["slope"] = torch.tensor(SLOPE_DEVIATION**-2.0)
        by_kind["effect"] = (-2 * self.log_effect).exp() if effects is None else torch.tensor(effects)
        by_kind |= {name: (-2 * each).exp() for name, each in zip(self.random, self.log_deviations, strict=True)}
        return torch.stack([by_kind[kind].double() for kind in self.columns.kind])

    def _design(self) -> torch.Tensor:
        """Returns float (T, S K, C): the columns, multiplied by loadings and shares."""
        loadings, shares = self._loadings()[self.observation_of], self._shares()[self.stage_of]
        one = torch.ones(1, dtype=torch.float64)
        weights = torch.where(self.columns.loaded, loadings[:, None], one)
        return self.columns.values * weights * torch.where(self.columns.shared, shares[:, None], one)

    def _products(self) -> tuple[torch.Tensor, ...]:
        """Returns the columns' products and their products with the target, whitened by the covariance of a trial.

        Also returns the target's own product, and the logarithm of the determinant of the covariance of all trials.
        """
        lower = torch.linalg.cholesky(self._covariance(self._loadings()[self.observation_of]))
        both = torch.cat([self._design(), self.target], dim=2)
        white = torch.linalg.solve_triangular(lower, both, upper=False) * self.known[:, :, None]
        flat = white.reshape(-1, white.shape[2])
        products = flat.T @ flat
        logarithm = (self.known * lower.diagonal().log()).sum()
        return products[:-1, :-1], products[:-1, -1], products[-1, -1], logarithm

    def _covariance(self, loadings: torch.Tensor) -> torch.Tensor:
        """Returns float (S K, S K): the covariance of a trial's AUROCs at all stages.

        That of the first stages is its leading part, because the cells are in the order of the stages.
        """
        stage = (self.stage_of[:, None] == self.stage_of[None]).double()
        observation = (self.observation_of[:, None] == self.observation_of[None]).double()
        early = stage * (self.stage_of < self.stages - 1)[:, None]
        both = loadings[:, None] * loadings[None]
        alone = observation * (2 * (self.log_noises - self.log_noises.mean())).exp()[self.observation_of]
        parts = {
            "trial": both,
            "stage": both * early,
            "observation": alone,
            "scatter": alone * stage,
        }
        variances = {name: (2 * each).exp() for name, each in zip(self.random, self.log_deviations, strict=True)}
        summed = torch.stack([variances[name] * part for name, part in parts.items() if name in variances]).sum(dim=0)
        return summed + 1e-6 * torch.eye(len(stage), dtype=torch.float64)

    def _loss(self) -> torch.Tensor:
        product, projected, square, logarithm = self._products()
        precision = self._precision()
        lower = torch.linalg.cholesky(product + torch.diag(precision))
        explained = (torch.linalg.solve_triangular(lower, projected[:, None], upper=False) ** 2).sum()
        restricted = (square - explained) / 2 + logarithm + lower.diagonal().log().sum() - precision.log().sum() / 2
        widths = (
            (self.log_deviations - self.prior) / LOG_WIDTH,
            (self.log_effect - np.log(EFFECT_MEDIAN)) / LOG_WIDTH,
            self.log_loadings / LOADING_WIDTH,
            self.log_noises / NOISE_WIDTH,
            self.share_logits / SHARE_WIDTH,
        )
        return restricted + sum((each**2).sum() / 2 for each in widths)
