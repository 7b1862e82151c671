"""Strain by py4DSTEM's disk detection; runs inside the environment of `environments.py py4dstem`.

The template is a vacuum disk of the true radius with the trench that py4DSTEM's tutorials subtract, or a vacuum image
of the probe with the wider one that they take for patterned probes; spacing, border and number of peaks fit the data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lattice_fit import Told, parser, run
from py4DSTEM.braggvectors import Probe
from py4DSTEM.braggvectors.diskdetection import _find_Bragg_disks_single
from scipy import ndimage

EDGE = 1.0
"""Width of the disks' edge, pixels."""


def template(shape: tuple[int, int], radius: float, mode: str) -> np.ndarray:
    """Conjugate Fourier transform of the correlation kernel."""
    probe = Probe.generate_synthetic_probe(radius, EDGE, shape)
    origin = np.array(shape) / 2
    if mode == "sigmoid":
        kernel = probe.get_kernel(mode="sigmoid", origin=origin, radii=(radius, 2 * radius), bilinear=False)
    else:
        kernel = probe.get_kernel(mode="flat", origin=origin)
    return np.conj(np.fft.fft2(kernel))


def recorded_template(image: np.ndarray, radius: float) -> np.ndarray:
    """The same of a vacuum image; in the tutorials of patterned probes the trench reaches from 0 to 4 radii."""
    probe = Probe(image.astype(float))
    origin = ndimage.center_of_mass(image)
    return np.conj(np.fft.fft2(probe.get_kernel(mode="sigmoid", origin=origin, radii=(0.0, 4 * radius), bilinear=True)))


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--probe", type=Path, help="vacuum image of the probe, .npy")
    arguments.add_argument("--subpixel", choices=["poly", "multicorr"], default="poly")
    arguments.add_argument("--kernel", choices=["sigmoid", "flat"], default="sigmoid")
    arguments.add_argument("--sigma-cc", type=float, default=0.0)
    arguments.add_argument("--corr-power", type=float, default=1.0)
    arguments.add_argument("--upsample-factor", type=int, default=16)
    given = arguments.parse_args()
    kernel: dict[tuple[int, int], np.ndarray] = {}

    def detect(patterns: np.ndarray, told: Told) -> list[np.ndarray]:
        shape = patterns.shape[1:]
        if shape not in kernel:
            kernel[shape] = (
                recorded_template(np.load(given.probe), told.radius)
                if given.probe
                else template(shape, told.radius, given.kernel)
            )
        found = []
        for pattern in patterns:
            peaks = _find_Bragg_disks_single(
                pattern.astype(float),
                kernel[shape],
                corrPower=given.corr_power,
                sigma_cc=given.sigma_cc,
                subpixel=given.subpixel,
                upsample_factor=given.upsample_factor,
                minPeakSpacing=0.4 * told.spacing,
                edgeBoundary=max(2, round(told.radius)),
                maxNumPeaks=2 * len(told.reflections) + 1,
                _template_space="fourier",
            ).data
            found.append(np.column_stack([peaks["qx"], peaks["qy"], peaks["intensity"]]))  # theirs: x is the row
        return found

    run(given, detect)


if __name__ == "__main__":
    main()
