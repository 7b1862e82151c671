"""A result with a different number everywhere, so that a swapped axis, sign or map cannot pass."""

import numpy as np
import xarray as xr

SHAPE = (5, 7)


def made_up_result(step: float | None = 0.5) -> xr.Dataset:
    rng = np.random.default_rng(4)
    dims, maps = ("ry", "rx"), {}
    for scale, name in enumerate(("exx", "eyy", "exy", "rotation"), 1):
        for suffix in ("", "_raw"):
            maps[f"{name}{suffix}"] = (dims, scale * 1e-3 + rng.normal(0, 1e-4, SHAPE), {"long_name": f"map of {name}"})
            maps[f"{name}{suffix}_sigma"] = (dims, rng.uniform(1e-5, 1e-4, SHAPE))
    maps["class"] = (dims, rng.integers(0, 2, SHAPE).astype(np.int8))
    maps["class_confidence"] = (dims, rng.uniform(0.5, 1, SHAPE))
    valid = np.ones(SHAPE, bool)
    valid[1, 2] = valid[4, 0] = False
    maps["sample"] = maps["valid"] = (dims, valid)
    attrs = {"axes": "detector", "reference": "the region given", "seed": 3, "symmetry": np.array([6, 4])}
    if step is not None:
        attrs |= {"real_step": step, "real_step_unit": "nm"}
    return xr.Dataset(maps, attrs=attrs)
