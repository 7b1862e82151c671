from __future__ import annotations

import numpy as np

from cyclestrain.display.outlines import edge_segments


def test_reference_outline_follows_pixel_edges() -> None:
    mask = np.zeros((4, 5), dtype=bool)
    mask[1:3, 2:5] = True
    segments = edge_segments(mask)
    assert len(segments) == 4
    np.testing.assert_array_equal(segments.min((0, 1)), [1.5, 0.5])
    np.testing.assert_array_equal(segments.max((0, 1)), [4.5, 2.5])
    assert np.abs(np.diff(segments, axis=1)).sum() == mask[1:3, 2:5].shape[0] * 2 + mask[1:3, 2:5].shape[1] * 2
    assert edge_segments(np.zeros((3, 3), dtype=bool)).shape == (0, 2, 2)
