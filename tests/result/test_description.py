"""What is said about a scan is measured on it, and numbers that cannot be patterns are refused."""

import numpy as np
import pytest
import xarray as xr

from cyclestrain.data import Doubt, Quantity, Scan
from cyclestrain.errors import InputError
from cyclestrain.io import check_patterns, check_range, fingerprint, read, sample_patterns, sample_positions
from cyclestrain.result import describe, describe_result


@pytest.fixture
def counts():
    return np.random.default_rng(3).poisson(2.0, (9, 11, 24, 20)).astype(np.uint16)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("gain", [1, 7])
def test_counts_and_their_step(counts, dtype, gain):
    described = describe(read((gain * counts).astype(dtype)))
    assert described.value_step == pytest.approx(gain)
    assert described.electrons_per_pattern == pytest.approx(960, rel=0.05)
    assert described.n_sampled == 64
    assert described.n_bytes == counts.size * np.dtype(dtype).itemsize
    assert (described.lowest, described.negative_share, described.n_nan) == (0, 0, 0)
    assert ("steps of 7" in " ".join(described.assumptions)) == (gain == 7)


def test_float_gain_is_seen(counts):
    assert describe(read(0.37 * counts)).value_step == pytest.approx(0.37)


def test_read_noise_is_no_ladder(counts):
    noisy = counts + np.random.default_rng(0).normal(0, 0.2, counts.shape)
    described = describe(read(noisy))
    assert described.value_step is None
    assert 0 < described.negative_share < 0.2
    assert any("read noise" in sentence for sentence in described.assumptions)


def test_assumptions_name_what_is_missing(counts):
    bare = " ".join(describe(read(counts)).assumptions)
    assert "drawn in positions" in bare
    assert "--scan-rotation" in bare
    known = Scan(counts, "known", "", Quantity(2.0, "nm"), Quantity(0.1, "1/nm"), 0.5)
    told = " ".join(describe(known).assumptions)
    assert "drawn in positions" not in told
    assert "--scan-rotation" not in told
    rows = dict(describe(known).rows())
    assert rows["probe step"] == "2 nm"
    assert rows["scan"] == "9 x 11 positions (rows x columns)"


def test_nan_and_zero_scans_can_be_described(counts):
    spoiled = counts.astype(np.float32)
    spoiled[0, 0, 0, 0] = np.nan
    assert describe(read(spoiled)).n_nan == 1
    assert describe(read(np.full_like(spoiled, np.nan))).counts_per_pattern == 0
    assert describe(read(np.zeros_like(counts))).value_step is None


def test_sample_is_spread_and_bounded(counts):
    scan = read(counts)
    positions = sample_positions(scan)
    assert (positions[0], positions[-1], len(positions)) == (0, 98, 64)
    np.testing.assert_array_equal(sample_patterns(scan), counts.reshape(99, 24, 20)[positions])
    assert len(sample_positions(read(counts[:2, :3]))) == 6


def test_fingerprint_is_of_the_content(counts, tmp_path):
    np.save(tmp_path / "a.npy", counts)
    np.save(tmp_path / "b.npy", counts.astype(">u2"))
    same = {fingerprint(read(source)) for source in (counts, tmp_path / "a.npy", tmp_path / "b.npy")}
    assert len(same) == 1
    changed = counts.copy()
    changed[-1, -1, -1, -1] += 1
    others = {fingerprint(read(source)) for source in (changed, counts.astype(np.int32), counts.reshape(11, 9, 24, 20))}
    assert len(others) == 3
    assert not same & others


def test_good_patterns_give_their_range(counts):
    stack = counts.reshape(-1, 24, 20)
    whole = check_patterns(stack)
    assert (whole.lowest, whole.highest) == (0, counts.max())
    assert check_patterns(stack[:50]) | check_patterns(stack[50:]) == whole
    assert check_patterns(stack[:0]) | whole == whole
    check_range(whole, "scan")
    check_range(check_patterns(stack - 0.4), "scan")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_found(counts, bad):
    stack = counts.reshape(-1, 24, 20).astype(np.float32)
    stack[5, 2, 3] = stack[7, 0, 0] = bad
    with pytest.raises(InputError, match=r"2 values .* position 105, detector pixel \(2, 3\)"):
        check_patterns(stack, first_position=100)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda counts: 0 * counts, "only zeros"),
        (lambda counts: 0 * counts + 3, "one value 3"),
        (lambda counts: counts.astype(int) - int(counts.max()), "subtract the offset"),
        (lambda counts: counts.astype(float) - counts.mean() * 4, "subtract the offset"),
    ],
)
def test_values_that_are_no_intensities(counts, make, match):
    with pytest.raises(InputError, match=match):
        check_range(check_patterns(make(counts).reshape(-1, 24, 20)), "scan")


def test_reasons_for_doubt_are_told_in_words_with_their_share() -> None:
    doubt = np.zeros((4, 5), np.uint16)
    doubt[0, :2] = Doubt.MISFIT | Doubt.OTHER_STRUCTURE
    doubt[1, 0] = Doubt.ENTRY
    lines = [line for line in describe_result(xr.Dataset({"doubt": (("ry", "rx"), doubt)})) if "doubt," in line]
    shares = {Doubt.MISFIT: 10.0, Doubt.OTHER_STRUCTURE: 10.0, Doubt.ENTRY: 5.0}
    assert lines == [f"doubt, {share:.1f} % of the positions: {flag.meaning}" for flag, share in shares.items()]
