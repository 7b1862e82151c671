"""Inference: class and pose of every pattern from the trained network, fast enough to keep up with a detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cyclestrain.affine import rotation
from cyclestrain.data import Block, BoolArray, FloatArray, IntArray
from cyclestrain.estimation import BlockFit, chunks, first_look, fit_from_start
from cyclestrain.learning import Knowledge
from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.transform import affine_of
from cyclestrain.network.views import Counts
from cyclestrain.pattern import Start

__all__ = ["Inferred", "encode_block", "infer"]

BATCH = 512
"""Patterns that are encoded at once by default."""


@dataclass(frozen=True)
class Inferred:
    """Estimates of the network for some patterns.

    Attributes
    ----------
    label
        Dictionary entry, shape ``(n,)``.
    confidence
        Probability of a crystal of this entry, as the network states it, shape ``(n,)``.
    is_vacuum
        Patterns in which the network sees no crystal, shape ``(n,)``.
    start
        Affine, beam centre, gain and background level, from which a fit can start.
    affine_covariance
        Covariance of ``(A_yy, A_yx, A_xy, A_xx)`` from the network's own information, shape ``(n, 4, 4)``.
    """

    label: IntArray
    confidence: FloatArray
    is_vacuum: BoolArray
    start: Start
    affine_covariance: FloatArray


def infer(
    network: Autoencoder,
    patterns: FloatArray,
    good: BoolArray,
    theta: FloatArray,
    centre: FloatArray,
    *,
    batch: int = BATCH,
) -> Inferred:
    """Run the encoder over patterns.

    Parameters
    ----------
    network
        Trained network.
    patterns
        Counts, shape ``(n, qy, qx)``, any real type.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    theta
        Coarse rotation from each entry of the dictionary, radians, shape ``(n, class)``.
    centre
        Calibrated beam centres ``(y, x)``, pixels, shape ``(n, 2)``.
    batch
        Patterns that are encoded at once.
    """
    source = Counts.of_patterns(patterns, good)
    network.eval()
    with torch.inference_mode():
        parts = [
            _infer_batch(network, source, np.arange(start, min(start + batch, len(source))), theta, centre)
            for start in range(0, len(source), batch)
        ]
    starts = [part.start for part in parts]
    return Inferred(
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.is_vacuum for part in parts]),
        Start(
            np.concatenate([start.affine for start in starts]),
            np.concatenate([start.centre for start in starts]),
            np.concatenate([start.gain for start in starts]),
            np.concatenate([start.level for start in starts]),
        ),
        np.concatenate([part.affine_covariance for part in parts]),
    )


def _infer_batch(
    network: Autoencoder, source: Counts, rows: IntArray, theta: FloatArray, centre: FloatArray
) -> Inferred:
    encoding = network.encode(source, rows, theta[rows], centre[rows])
    label = encoding.label
    probability = encoding.logits.softmax(-1)
    confidence = probability.gather(1, label[:, None])[:, 0]
    angle = torch.from_numpy(theta[rows]).to(label.device).gather(1, label[:, None])[:, 0]
    pose = encoding.pose.double()
    affine = affine_of(angle, pose)
    turn = rotation(angle + pose[:, 3])
    shift = (turn @ pose[:, 4:, None])[..., 0].cpu().numpy()
    units = torch.stack([geometry.units for geometry in (network.of_class(k) for k in range(network.n_classes))])[label]
    covariance = torch.linalg.inv(encoding.looks[-1].information.double()) * (units[:, :, None] * units[:, None, :])
    jacobian = _affine_jacobian(turn, affine)
    return Inferred(
        label.cpu().numpy(),
        confidence.double().cpu().numpy(),
        (encoding.logits[:, -1] > encoding.logits[:, :-1].max(-1).values).cpu().numpy(),
        Start(
            affine.cpu().numpy(),
            centre[rows] + shift,
            encoding.gain.double().cpu().numpy(),
            encoding.level.double().cpu().numpy(),
        ),
        (jacobian @ covariance[:, :4, :4] @ jacobian.transpose(-1, -2)).cpu().numpy(),
    )


def _affine_jacobian(turn: Tensor, affine: Tensor) -> Tensor:
    """Derivative of ``(A_yy, A_yx, A_xy, A_xx)`` by (scale y, scale x, shear, rotation), shape ``(n, 4, 4)``."""
    unit = torch.eye(2, dtype=turn.dtype, device=turn.device)
    generators = torch.stack([torch.outer(unit[0], unit[0]), torch.outer(unit[1], unit[1]), unit.flip(0)])
    stretched = turn[:, None] @ generators
    # R(rho)' = K R(rho) with the generator K of rotations in (y, x) order.
    turned = (torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=turn.dtype, device=turn.device) @ affine)[:, None]
    return torch.cat([stretched, turned], 1).flatten(2).transpose(-1, -2)


def encode_block(block: Block, knowledge: Knowledge, network: Autoencoder) -> BlockFit:
    """Fits of a block by the network; the likelihood only measures how well these explain the patterns.

    Parameters
    ----------
    block
        Positions and patterns.
    knowledge
        What was learned of the scan.
    network
        Trained network.
    """
    seen = first_look(block, knowledge)
    inferred = infer(network, block.patterns, knowledge.calibration.good, seen.alignment.thetas, seen.centre)
    everywhere = np.arange(len(block.positions))
    fit = BlockFit.unknown(block.positions).with_values(everywhere, beam=seen.centre, confidence=inferred.confidence)
    for k, entry in enumerate(knowledge.dictionary.entries):
        for part in chunks(np.flatnonzero(inferred.label == k), block.patterns):
            start = inferred.start.only(part)
            explained = fit_from_start(block.patterns[part], seen.centre[part], start, entry, knowledge, iterations=0)
            covariance = inferred.affine_covariance[part] * explained.inflation[:, None, None]
            fit = fit.with_fits(part, explained, k).with_values(part, covariance=covariance)
    return fit.with_values(everywhere, label=inferred.label).with_values(
        np.flatnonzero(inferred.is_vacuum), significance=0.0
    )
