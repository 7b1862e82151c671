"""Results made up for the figures: no physics, but every shape and every kind of gap a real one may have."""

from __future__ import annotations

import numpy as np
import xarray as xr

SIGMA = {"exx": 9e-4, "eyy": 8e-4, "exy": 6e-4, "rotation": 8e-4}


def grain_labels(shape: tuple[int, int], n_grains: int, rng: np.random.Generator) -> np.ndarray:
    """Voronoi cells around random seeds."""
    seeds = rng.uniform(0, 1, (n_grains, 2)) * shape
    grid = np.stack(np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij"), -1)
    return np.argmin(((grid[:, :, None, :] - seeds) ** 2).sum(-1), -1)


def polycrystal_truth(shape: tuple[int, int], rng: np.random.Generator) -> tuple[xr.Dataset, np.ndarray]:
    """Constant strain of -2 to 2 % and any rotation modulo 60 degrees in every grain."""
    labels = grain_labels(shape, max(2, int(np.sqrt(shape[0] * shape[1]) / 4)), rng)
    n = labels.max() + 1
    values = {name: rng.integers(-2, 3, n)[labels] / 100 for name in ("exx", "eyy", "exy")}
    values["rotation"] = np.deg2rad(rng.uniform(-30, 30, n))[labels]
    return xr.Dataset({name: (("ry", "rx"), value) for name, value in values.items()}), labels


def smooth_truth(shape: tuple[int, int]) -> xr.Dataset:
    """A ripple with small rotations."""
    y, x = np.meshgrid(np.linspace(0, 1, shape[0]), np.linspace(0, 1, shape[1]), indexing="ij")
    values = {
        "exx": 0.008 * np.sin(4 * np.pi * x + 2 * y),
        "eyy": -0.005 * np.cos(3 * np.pi * y - x),
        "exy": 0.004 * np.sin(5 * x * y),
        "rotation": np.deg2rad(1.2 * (x - 0.3) * np.cos(4 * y)),
    }
    return xr.Dataset({name: (("ry", "rx"), value) for name, value in values.items()})


def result_from(truth: xr.Dataset, rng: np.random.Generator, *, labels: np.ndarray | None = None) -> xr.Dataset:
    """A noisy result of a given truth, with a vacuum corner and some failed positions."""
    shape = (truth.sizes["ry"], truth.sizes["rx"])
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    sample = (y + x) > -1.6 if min(shape) > 3 else np.ones(shape, dtype=bool)
    valid = sample & (rng.uniform(size=shape) > 0.01)
    quality = 1 + 0.5 * y**2 + 0.3 * rng.uniform(size=shape)
    data = {}
    for name, sigma in SIGMA.items():
        for suffix, scale in (("_raw", 1.0), ("", 0.3)):
            error = sigma * scale * quality
            values = truth[name].values + error * rng.standard_normal(shape)
            data[f"{name}{suffix}"] = np.where(valid, values, np.nan).astype(np.float32)
            data[f"{name}{suffix}_sigma"] = np.where(valid, error, np.nan).astype(np.float32)
    reference = (
        (labels == labels[shape[0] // 2, shape[1] // 2])
        if labels is not None
        else (x > 0.5) & ((y > 0) | (shape[0] == 1))
    )
    data["class"] = np.where(sample, 0, -1).astype(np.int8)
    data["class_confidence"] = np.where(sample, 1 - 0.1 * rng.uniform(size=shape), 0.5).astype(np.float32)
    data |= {"sample": sample, "valid": valid, "reference": reference & valid}
    data["log_likelihood"] = (-0.5 - 0.05 * rng.standard_normal(shape)).astype(np.float32)
    step = 0.5
    return xr.Dataset(
        {name: (("ry", "rx"), value) for name, value in data.items()},
        coords={"ry": np.arange(shape[0]) * step, "rx": np.arange(shape[1]) * step},
        attrs={
            "name": "Simulated polycrystal", "real_step": step, "real_step_unit": "nm", "axes": "detector",
            "scan_rotation_deg": 0.0, "strain_axes_angle_deg": 0.0, "symmetry": [6],
            "reference": "largest coherent area, class 0",
        },
    )  # fmt: skip


def polycrystal(shape: tuple[int, int] = (48, 48), seed: int = 1) -> xr.Dataset:
    """A noisy polycrystal."""
    rng = np.random.default_rng(seed)
    truth, labels = polycrystal_truth(shape, rng)
    return result_from(truth, rng, labels=labels)


def smooth(shape: tuple[int, int] = (40, 40), seed: int = 2) -> xr.Dataset:
    """A noisy smooth field."""
    return result_from(smooth_truth(shape), np.random.default_rng(seed)).assign_attrs(name="Simulated ripple")


def uncalibrated(ds: xr.Dataset) -> xr.Dataset:
    """The same result without a step."""
    return ds.drop_attrs(deep=False).assign_attrs(
        {key: value for key, value in ds.attrs.items() if not key.startswith("real_step")}
    )


def dictionary(n_entries: int = 2, size: int = 128) -> xr.Dataset:
    """Hexagonal and square entries drawn with soft disks, and the probe that drew them."""
    centre, radius, oversampling = (size - 1) / 2, 4.2, 4
    y, x = np.mgrid[:size, :size] - centre
    averages, reflections = [], []
    for entry in range(n_entries):
        angle = np.deg2rad((60 if entry % 2 == 0 else 90) * np.arange(2) + 7 * entry)
        a, b = 0.16 * size * np.stack([np.sin(angle), np.cos(angle)], -1)
        h, k = (index.ravel() for index in np.mgrid[-3:4, -3:4])
        g = h[:, None] * a + k[:, None] * b
        length = np.hypot(*g.T)
        g = g[(length > 0) & (length < 0.46 * size)]
        image = 40 * np.exp(-np.hypot(y, x) / 12) + 2.0
        for gy, gx in g:
            image += 60 * np.exp(-np.hypot(gy, gx) / 20) / (1 + np.exp((np.hypot(y - gy, x - gx) - radius) / 0.4))
        averages.append(image + 3000 / (1 + np.exp((np.hypot(y, x) - radius) / 0.4)))
        reflections.append(g)
    longest = max(map(len, reflections))
    padded = np.full((n_entries, longest, 2), np.nan)
    for entry, g in enumerate(reflections):
        padded[entry, : len(g)] = g
    py, px = (np.mgrid[:53, :53] - 26) / oversampling
    probe = 1 / (1 + np.exp((np.hypot(py, px) - radius) / 0.4))
    return xr.Dataset(
        {
            "average": (("class", "y", "x"), np.stack(averages).astype(np.float32)),
            "reflection_y": (("class", "reflection"), padded[..., 0]),
            "reflection_x": (("class", "reflection"), padded[..., 1]),
            "reflection_intensity": (("class", "reflection"), np.exp(-np.hypot(padded[..., 0], padded[..., 1]) / 20)),
            "probe": (("py", "px"), probe.astype(np.float32), {"oversampling": oversampling}),
        },
        attrs={"centre_y": centre, "centre_x": centre, "symmetry": [6, 4][:n_entries]},
    )
