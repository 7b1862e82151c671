"""The fit of a pattern as a user-defined function of LiberTEM, for any of its data sets and live acquisitions."""

from __future__ import annotations

from typing import Any

import numpy as np
from libertem.udf import UDF
from numpy.typing import NDArray

from cyclestrain.data import Block, IntArray
from cyclestrain.estimation import BlockFit
from cyclestrain.estimation.first_pass import SURE_SIGNIFICANCE
from cyclestrain.learning import Knowledge
from cyclestrain.streaming.recording import Record
from cyclestrain.streaming.so_far import fit_block, preview_strain

__all__ = ["FitUDF", "fit_of"]


class FitUDF(UDF):
    """Fit every pattern by itself with what is known of the scan.

    Every result is a buffer of kind ``nav``, those of `cyclestrain.estimation.BlockFit` under the same names (`affine`,
    `covariance`, `label`, ...), and beside them

    ``valid``
        Whether the pattern shows a crystal surely by itself.
    ``strain``
        ``eyy, exx, exy`` as a fraction and the rotation in radians, relative to the dictionary entry, see
        `cyclestrain.streaming.so_far.preview_strain`.

    Parameters
    ----------
    knowledge
        Calibration, templates and dictionary; with None the patterns are only recorded.
    record
        Files that take the patterns and their fits, for who does not wait for LiberTEM; None to record nothing.
    flip
        Whether rows of the detector come in reverse order: so LiberTEM has the patterns of a Merlin, seen from
        `cyclestrain.read`.

    Examples
    --------
    ::

        from libertem.api import Context
        from cyclestrain.streaming.fit_udf import FitUDF

        context = Context()
        found = context.run_udf(dataset=context.load("auto", path="scan.mib"), udf=FitUDF(knowledge, flip=True))
        found["strain"].data
    """

    def __init__(self, knowledge: Knowledge | None = None, record: Record | None = None, flip: bool = False) -> None:
        super().__init__(knowledge=knowledge, record=record, flip=flip)

    def get_preferred_input_dtype(self) -> Any:
        """Patterns in the type of the detector."""
        return self.USE_NATIVE_DTYPE

    def get_backends(self) -> tuple[str]:
        """NumPy arrays alone."""
        return (self.BACKEND_NUMPY,)

    def get_result_buffers(self) -> dict[str, Any]:
        """One number, vector or matrix for every position."""
        shapes = {name: values.shape[1:] for name, values in BlockFit.unknown(np.arange(1)).arrays.items()}
        kinds: dict[str, Any] = {name: np.int64 if name == "label" else np.float64 for name in shapes}
        shapes |= {"valid": (), "strain": (4,)}
        kinds |= {"valid": np.bool_, "strain": np.float64}
        return {name: self.buffer("nav", extra_shape=shape, dtype=kinds[name]) for name, shape in shapes.items()}

    def get_task_data(self) -> dict[str, Any]:
        """What is known; the loops behind it are compiled when this is first unpacked."""
        return {"knowledge": self.params.knowledge}

    def process_partition(self, partition: NDArray[Any]) -> None:
        """Record and fit the patterns of a partition."""
        nav = tuple(self.meta.dataset_shape.nav)
        positions = np.ravel_multi_index(tuple(self.meta.coordinates.T), nav)
        patterns = np.asarray(partition)[:, ::-1] if self.params.flip else np.asarray(partition)
        patterns = np.ascontiguousarray(patterns)
        knowledge, record = self.task_data.knowledge, self.params.record
        if record is not None:
            record.write(positions, patterns, left=knowledge is None)
        fit = BlockFit.unknown(positions) if knowledge is None else fit_block(Block(positions, patterns), knowledge)
        if record is not None and knowledge is not None:
            record.write_fits(fit)
        for name, values in fit.arrays.items():
            getattr(self.results, name)[:] = values
        self.results.valid[:] = (np.nan_to_num(fit.significance) > SURE_SIGNIFICANCE) & np.isfinite(
            fit.covariance[:, 0, 0]
        )
        self.results.strain[:] = preview_strain(fit.affine)


def fit_of(buffers: Any, positions: IntArray) -> BlockFit:
    """What a `FitUDF` found for some positions.

    Parameters
    ----------
    buffers
        Result of a run, or its buffers, by name.
    positions
        Flat positions, ascending, shape ``(n,)``.
    """
    names = BlockFit.unknown(positions[:0]).arrays
    return BlockFit(positions, **{name: np.asarray(buffers[name].raw_data)[positions] for name in names})
