"""Strain by quantem's disk detection; runs inside the environment of `environments.py quantem`."""

from __future__ import annotations

import numpy as np
import torch
from lattice_fit import Told, parser, run
from quantem.diffraction.disk_detection import detect_disks_batch, make_template, synthetic_probe, template_fourier

EDGE = 0.5
"""Half width of the disks' edge, pixels."""


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--subpixel", choices=["parabolic", "upsample"], default="parabolic")
    arguments.add_argument("--sigma-cc", type=float, default=0.0)
    arguments.add_argument("--corr-power", type=float, default=1.0)
    arguments.add_argument("--background-sigma", type=float, default=8.0)
    arguments.add_argument("--keep-mean", action="store_true", help="do not subtract the mean from the template")
    given = arguments.parse_args()
    kernel: dict[tuple[int, int], torch.Tensor] = {}

    def detect(patterns: np.ndarray, told: Told) -> list[np.ndarray]:
        shape = patterns.shape[1:]
        if shape not in kernel:
            middle = (shape[0] // 2, shape[1] // 2)
            probe = synthetic_probe(shape, told.radius, EDGE, center=middle)
            kernel[shape] = template_fourier(make_template(probe, subtract_mean=not given.keep_mean))
        return detect_disks_batch(
            torch.from_numpy(patterns.astype(np.float32)),
            kernel[shape],
            min_spacing=0.4 * told.spacing,
            edge_boundary=max(2, round(told.radius)),
            subpixel=given.subpixel,
            max_num_peaks=2 * len(told.reflections) + 1,
            background_sigma=given.background_sigma,
            corr_power=given.corr_power,
            sigma_cc=given.sigma_cc,
        )

    run(given, detect)


if __name__ == "__main__":
    main()
