"""State of a training on disk, in one file of the run folder that is replaced atomically."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.log import Epoch, TrainingLog
from cyclestrain.storage import RunFolder

__all__ = ["Checkpoint"]


class Checkpoint:
    """Everything that a training needs to resume: weights, optimiser, random generator, masks, log, best weights.

    Parameters
    ----------
    network, optimizer, rng
        Objects whose state is kept, and restored in place.
    """

    NAME = "training"

    def __init__(self, network: Autoencoder, optimizer: torch.optim.Optimizer, rng: np.random.Generator) -> None:
        self.network, self.optimizer, self.rng = network, optimizer, rng
        self.epochs: list[Epoch] = []
        self.mask_radius = float(network.decoder.reach)
        self.best = 0
        self._best_weights: dict[str, Tensor] = {}
        self._best_held_out = torch.zeros(0)

    @property
    def epoch(self) -> int:
        """Number of epochs done."""
        return len(self.epochs)

    @property
    def log(self) -> TrainingLog:
        """Log of the epochs done."""
        return TrainingLog(tuple(self.epochs), self.best)

    @property
    def held_out(self) -> Tensor:
        """Misfit of every held-out pattern in the best epoch, nats, shape ``(n,)``."""
        return self._best_held_out

    def is_stale(self, patience: int) -> bool:
        """Whether each of the last `patience` epochs was worse than one before them."""
        return self.epoch - 1 - self.best >= patience

    def record(self, epoch: Epoch, held_out: Tensor) -> None:
        """Add an epoch and keep its weights, unless an earlier one was better beyond doubt.

        Parameters
        ----------
        epoch
            Log of the epoch.
        held_out
            Misfit of each held-out pattern, shape ``(n,)``. The same patterns are judged every time, so their noise
            cancels in the difference; what counts as worse is a mean difference above one standard error, or a misfit
            that is no number where it was one.
        """
        self.epochs.append(epoch)
        if self.epoch > 1 and _is_worse(held_out, self._best_held_out):
            return
        self.best = self.epoch - 1
        self._best_held_out = held_out
        self._best_weights = {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def restore_best(self) -> None:
        """Load the best weights into the network."""
        if self._best_weights:
            self.network.load_state_dict(self._best_weights)

    def save(self, run: RunFolder) -> None:
        """Keep the state; a crash leaves the state before or the state after, never half of one."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self._best_weights.items()}
        tensors["held_out"] = self._best_held_out
        for index, entry in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in entry.items()}
        state = {
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "best": self.best,
            "mask_radius": self.mask_radius,
            "generator": json.dumps(self.rng.bit_generator.state),
        }
        # One file holds everything, so replacing it is one atomic step.
        run.save(self.NAME, {"tensors": {name: value.cpu().numpy() for name, value in tensors.items()}, "state": state})

    def load(self, run: RunFolder) -> None:
        """Restore the state; where there is none, or a damaged one, training starts at the beginning."""
        kept = run.load(self.NAME, ())
        if kept is None:
            return
        start = copy.deepcopy((self.network.state_dict(), self.optimizer.state_dict(), self.rng.bit_generator.state))
        try:
            self._restore({name: torch.from_numpy(array) for name, array in kept["tensors"].items()}, kept["state"])
        except Exception as error:  # whatever torch says of tensors that do not fit
            run.refuse(self.NAME, error)
            self.network.load_state_dict(start[0])
            self.optimizer.load_state_dict(start[1])
            self.rng.bit_generator.state = start[2]

    def _restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        best, mask_radius, held_out = int(state["best"]), float(state["mask_radius"]), tensors["held_out"]
        self.network.load_state_dict(_part(tensors, "network."))
        optimizer = self.optimizer.state_dict()
        for name, value in _part(tensors, "optimizer.").items():
            index, key = name.split(".")
            optimizer["state"].setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(optimizer)
        self.rng.bit_generator.state = json.loads(state["generator"])
        self.epochs, self.best, self.mask_radius = epochs, best, mask_radius
        self._best_weights, self._best_held_out = _part(tensors, "best."), held_out


def _is_worse(held_out: Tensor, best: Tensor) -> bool:
    """Whether held-out patterns are misfitted worse than in the best epoch, beyond doubt."""
    if not (held_out.isfinite().all() and best.isfinite().all()):
        return bool(best.isfinite().all())
    difference = held_out - best
    return len(difference) > 1 and bool(difference.mean() > difference.std() / len(difference) ** 0.5)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
