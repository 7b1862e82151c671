"""A row of the table of many scans says no more than its uncertainty allows."""

from __future__ import annotations

from cyclestrain.result.summary import Summary, as_table


def test_numbers_have_the_digits_that_their_sigma_leaves() -> None:
    row = Summary("a.h5", "a.nc", "mapped", exx_percent=1.23456, exx_sigma_percent=0.0123, rotation_deg=2.0)
    words = as_table([row]).splitlines()[1].split()
    assert {"1.235", "0.012"} <= set(words)
    assert not any(word.startswith("2.0") for word in words)  # of unknown uncertainty
