"""What tuning found: every trial, which one is kept, and why, in plain words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.network.hyperparameters import HyperParameters

__all__ = ["Gain", "Trial", "Tuned", "choosing", "judge"]

SURE = 2.0
"""Standard errors by which a trial must be better than the default."""
LEAST_PATTERNS = 8
"""Patterns in each half without which nothing is sure."""
SHOWN = 30
"""Rows of the table at most."""
HEADING = (
    "trial  epochs  held-out  less misfit, nats    rate  channels  features  forward   cycle  choice  sparsity  masks"
)


@dataclass(frozen=True)
class Gain:
    """By how much a network misfits the same patterns less than the default does, nats per pattern, and its error."""

    value: float
    sigma: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} ± {self.sigma:.2f}"

    @property
    def is_sure(self) -> bool:
        """Whether it is positive beyond doubt."""
        return self.value > SURE * self.sigma


@dataclass(frozen=True)
class Trial:
    """A training with some hyper-parameters.

    Attributes
    ----------
    number
        In the order of their beginning.
    hyper
        Its hyper-parameters.
    epochs
        Epochs it went through.
    held_out
        Deviance per pixel of the held-out patterns, 0 where it was ended early.
    misfit
        Of every held-out pattern, nats; empty where it was ended early.
    default
        Whether it has the hyper-parameters from which tuning started.
    """

    number: int
    hyper: HyperParameters
    epochs: int
    held_out: float
    misfit: FloatArray
    default: bool = False

    @property
    def ended(self) -> bool:
        """Whether it was trained to the end."""
        return self.misfit.size > 0

    @property
    def chooses(self) -> FloatArray:
        """Misfit of the patterns that choose among trials."""
        return choosing(self.misfit)

    @property
    def confirms(self) -> FloatArray:
        """Misfit of the others, which tell whether the chosen one is better than the default."""
        return self.misfit[1::2]


@dataclass(frozen=True)
class Tuned:
    """Outcome of tuning.

    Attributes
    ----------
    hyper
        The hyper-parameters to use.
    summary
        How they were found, in one sentence.
    table
        Lines of the table of trials.
    """

    hyper: HyperParameters
    summary: str
    table: tuple[str, ...]

    def to_json(self) -> str:
        """All of it as text."""
        return json.dumps({"hyper": self.hyper.to_json(), "summary": self.summary, "table": self.table})

    @classmethod
    def from_json(cls, text: str) -> Tuned:
        """Read back what `to_json` wrote.

        Parameters
        ----------
        text
            What was written.

        Raises
        ------
        ValueError
            If it is not that.
        """
        try:
            stored = json.loads(text)
            return cls(HyperParameters.from_json(stored["hyper"]), str(stored["summary"]), tuple(stored["table"]))
        except (TypeError, KeyError) as error:
            raise ValueError(f"this is no outcome of tuning: {error}") from error


def choosing(misfit: FloatArray) -> FloatArray:
    """Of the misfit of all held-out patterns that of those that choose among trials: every second one."""
    return misfit[::2]


def judge(trials: Sequence[Trial]) -> Tuned:
    """Choose among trials: the default, unless another one is better beyond doubt.

    Half of the held-out patterns choose the trial, so that its misfit of these is the least by luck as well. The other
    half, which chose nothing, then says whether it is better than the default.

    Parameters
    ----------
    trials
        All of them; the default among them, trained to the end.
    """
    (default, *_) = (trial for trial in trials if trial.default and trial.ended)
    ended = [trial for trial in trials if trial.ended]
    best = min(ended, key=lambda trial: (trial.chooses.mean(), not trial.default))
    gain = _gain(default.confirms, best.confirms)
    said = f"{len(trials)} trials, {len(trials) - len(ended)} of them ended early; "
    judged = "per pattern, judged by held-out patterns that chose nothing"
    kept = default
    if best.default:
        said += "none is better than the default settings, which are kept"
    elif len(default.confirms) < LEAST_PATTERNS or not gain.is_sure:
        said += (
            f"the best, trial {best.number}, is not better than the default beyond doubt ({gain} nats less misfit "
            f"{judged}): the default settings are kept"
        )
    else:
        kept, said = best, said + f"trial {best.number} is kept: {gain} nats less misfit than the default {judged}"
    return Tuned(kept.hyper, said, _table(trials, default, kept))


def _gain(default: FloatArray, other: FloatArray) -> Gain:
    """Both judged the same patterns, whose noise cancels in the difference."""
    if len(default) < 2:
        return Gain(0.0, 0.0)
    difference = default - other
    return Gain(float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference))))


def _table(trials: Sequence[Trial], default: Trial, kept: Trial) -> tuple[str, ...]:
    ranked = sorted(trials, key=lambda trial: (not trial.ended, trial.misfit.mean() if trial.ended else trial.number))
    rows = [_row(trial, default, kept) for trial in ranked[:SHOWN]]
    more = [f"and {len(ranked) - SHOWN} more"] if len(ranked) > SHOWN else []
    return (HEADING, *rows, *more)


def _row(trial: Trial, default: Trial, kept: Trial) -> str:
    held_out = f"{trial.held_out:8.4f}" if trial.ended else "   ended"
    gain = "default" if trial is default else str(_gain(default.misfit, trial.misfit)) if trial.ended else "early"
    h = trial.hyper
    masks = f"{h.mask_margin:.1f} sigma" if h.shrink else "full"
    features = f"{h.glance_features}, {h.gaze_features}"
    row = (
        f"{trial.number:5d}  {trial.epochs:6d}  {held_out}  {gain:>17}  {h.learning_rate:6.4f}  {h.channels:8d}  "
        f"{features:>8}  {h.forward:7.3f}  {h.cycle:6.2f}  {h.choice:6.3f}  {h.sparsity:8.1e}  {masks}"
    )
    return f"{row}, kept" if trial is kept else row
