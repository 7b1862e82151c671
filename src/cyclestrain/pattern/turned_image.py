"""Images that turn with the crystal, looked up between their nodes inside compiled loops."""

from __future__ import annotations

from typing import Any

import numpy as np

from cyclestrain.loops import part

__all__ = ["add_image", "between_nodes", "image_at", "nodes_around", "turn_of"]


@part()
def turn_of(affine: Any) -> Any:  # pragma: no cover
    """Cosine and sine of the rotation in ``A_yy, A_yx, A_xy, A_xx``, see `cyclestrain.affine.left_polar`."""
    cosine, sine = affine[0] + affine[3], affine[1] - affine[2]
    length = np.hypot(cosine, sine)
    return np.float32(cosine / length), np.float32(sine / length)


@part(fastmath=True)
def nodes_around(image: Any, y: Any, x: Any, turn: Any) -> Any:  # pragma: no cover
    """First of the four nodes of an image around a place, and the weights of all four; the last ones beyond its edge.

    Parameters
    ----------
    image
        Centred, shape ``(n, n, layer)``.
    y, x
        Offset from its middle on the detector, nodes.
    turn
        Of `turn_of`: the image turns with the crystal.
    """
    middle, last, one = np.float32(image.shape[0] // 2), np.float32(image.shape[0] - 1.001), np.float32(1.0)
    u = min(max(turn[0] * y - turn[1] * x + middle, np.float32(0.0)), last)
    v = min(max(turn[0] * x + turn[1] * y + middle, np.float32(0.0)), last)
    i, j = int(u), int(v)
    e, f = u - np.float32(i), v - np.float32(j)
    return i, j, ((one - e) * (one - f), (one - e) * f, e * (one - f), e * f)


@part(fastmath=True)
def between_nodes(image: Any, i: int, j: int, weights: Any, layer: int) -> Any:  # pragma: no cover
    """Value of a layer of an image between four nodes, of `nodes_around`.

    Parameters
    ----------
    image
        Shape ``(n, n, layer)``.
    i, j, weights
        First node, and weights of all.
    layer
        Which.
    """
    low = weights[0] * image[i, j, layer] + weights[1] * image[i, j + 1, layer]
    return low + weights[2] * image[i + 1, j, layer] + weights[3] * image[i + 1, j + 1, layer]


@part(fastmath=True)
def image_at(image: Any, y: Any, x: Any, turn: Any) -> Any:  # pragma: no cover
    """An image and its derivatives with respect to the place of the disk in y and x, on the detector.

    Parameters
    ----------
    image
        Of `cyclestrain.pattern.DiskImages.tables`, of one reflection.
    y, x, turn
        As for `nodes_around`.
    """
    i, j, weights = nodes_around(image, y, x, turn)
    along, across = between_nodes(image, i, j, weights, 1), between_nodes(image, i, j, weights, 2)
    value = between_nodes(image, i, j, weights, 0)
    return value, turn[0] * along + turn[1] * across, turn[0] * across - turn[1] * along


@part(fastmath=True)
def add_image(window: Any, image: Any, nodes: float, affine: Any, fy: float, fx: float) -> None:  # pragma: no cover
    """Add to the disk and its derivatives what this reflection shows in all patterns, turned with the crystal.

    Parameters
    ----------
    window
        `Window`, of which `shape` is filled.
    image
        Of `cyclestrain.pattern.DiskImages.tables`, of this reflection.
    nodes
        Of the image in a pixel.
    affine
        From the entry to the pattern, ``A_yy, A_yx, A_xy, A_xx``: its rotation turns the image.
    fy, fx
        How far the disk is off the central pixel.
    """
    disk, dy, dx, rows, columns = window.shape[0], window.shape[1], window.shape[2], window.grid[0], window.grid[1]
    turn, scale, y0, x0 = turn_of(affine), np.float32(nodes), np.float32(fy), np.float32(fx)
    for k in range(disk.shape[0]):
        value, by_y, by_x = image_at(image, (rows[k] - y0) * scale, (columns[k] - x0) * scale, turn)
        disk[k] += value
        dy[k] += by_y
        dx[k] += by_x
