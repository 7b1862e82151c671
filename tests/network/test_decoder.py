from __future__ import annotations

import numpy as np
import torch

from crystals import CENTRE, DETECTOR, expected_pattern, make_entry
from cyclestrain.affine import rotation
from cyclestrain.network.decoder import Decoder, expected_counts
from cyclestrain.network.imagine import ImaginedRange, Recording, imagine
from cyclestrain.network.transform import affine_of
from cyclestrain.network.views import Counts, cut

ENTRY = make_entry()


def test_a_fresh_decoder_gives_back_its_entries() -> None:
    decoder = Decoder((ENTRY,), ENTRY.probe.half + 1)
    (entry,) = decoder.entries((ENTRY,))
    np.testing.assert_allclose(entry.intensity, ENTRY.intensity, rtol=1e-5)
    np.testing.assert_allclose(entry.background, ENTRY.background, rtol=1e-6)
    np.testing.assert_allclose(entry.probe.values, ENTRY.probe.values, atol=1e-9)


def test_bases_stay_non_negative_and_the_disk_keeps_its_unit_sum() -> None:
    decoder = Decoder((ENTRY,), ENTRY.probe.half + 1)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    (base,) = decoder()
    assert bool((base.intensity >= 0).all())
    assert bool((base.tables >= 0).all())
    assert bool((base.background > 0).all())
    torch.testing.assert_close(base.tables[4, 4].sum(), torch.tensor(1.0), atol=0.1, rtol=0)


def test_expected_counts_are_those_of_disks_drawn_on_the_detector() -> None:
    affine = rotation(0.3) @ np.array([[1.012, 0.004], [0.004, 0.991]])
    pattern = expected_pattern(ENTRY, affine, CENTRE)
    positions = (CENTRE + ENTRY.reflections @ affine.T)[None]
    source = Counts.of_patterns(pattern[None], np.ones(DETECTOR, bool))
    cuts = cut(source, np.array([0]), positions, CENTRE[None], ENTRY, ENTRY.probe.half)
    (base,) = Decoder((ENTRY,), ENTRY.probe.half)()
    fraction = torch.tensor(positions - cuts.origin, dtype=torch.float32)
    one = torch.ones(1)
    drawn = expected_counts(base, fraction, torch.from_numpy(cuts.background), one, one).detach().numpy()
    support = ENTRY.probe.support > 0  # beyond it neighbouring disks show
    assert np.abs(drawn - cuts.counts)[..., support].max() < 0.02 * pattern.max()


def test_imagined_patterns_have_the_expected_counts() -> None:
    ranges = ImaginedRange(strain=0.02, rotation=0.0, factor=1.0, empty=0.0, faint=0.0)
    recording = Recording(DETECTOR, CENTRE[None], centre_sigma=0.1, noise_scale=1.0)
    dream = imagine(ENTRY, 300, recording, half=9, ranges=ranges, rng=np.random.default_rng(0))
    affine = affine_of(torch.from_numpy(dream.theta), torch.from_numpy(dream.pose)).numpy()
    turn = rotation(dream.theta + dream.pose[:, 3])
    centre = dream.centre + np.einsum("nij,nj->ni", turn, dream.pose[:, 4:])
    positions = centre[:, None] + np.einsum("nij,gj->ngi", affine, ENTRY.reflections)
    half = ENTRY.probe.half
    cuts = cut(dream.source, np.arange(300), positions, dream.centre, ENTRY, half)
    (base,) = Decoder((ENTRY,), half)()
    one = torch.ones(300)
    fraction = torch.tensor(positions - cuts.origin, dtype=torch.float32)
    expected = expected_counts(base, fraction, torch.from_numpy(cuts.background), one, one).detach().numpy() * cuts.used
    z = (cuts.counts - expected).sum() / np.sqrt(expected.sum())
    assert abs(z) < 4
    chi = ((cuts.counts - expected) ** 2)[cuts.used > 0].sum() / expected[cuts.used > 0].sum()
    assert abs(chi - 1) < 0.02
