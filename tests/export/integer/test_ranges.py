"""Ranges of int8: outliers are cut where, and only where, the rest gains."""

import numpy as np
import pytest

from keras_skd.export.integer.ranges import BINS, FRACTIONS, _best_fraction

LOW, HIGH = -1.0, 3.0


def squared_error(values, fraction):
    """What int8 of a fraction of the range makes of the values, by rounding them."""
    step = (HIGH - LOW) * fraction / 255
    rounded = np.clip(np.round(values / step) * step, LOW * fraction, HIGH * fraction)
    return np.mean((values - rounded) ** 2)


def histogram(values):
    return np.histogram(values, BINS, (LOW, HIGH))[0]


def test_values_that_fill_the_range_keep_it():
    values = np.random.default_rng(0).uniform(LOW, HIGH, 100_000)
    assert _best_fraction(histogram(values), LOW, HIGH) == 1.0


def test_many_outliers_keep_the_range():
    values = np.concatenate([np.zeros(50_000), np.full(50_000, HIGH)])
    assert _best_fraction(histogram(values), LOW, HIGH) > 0.9


@pytest.mark.parametrize("spread", [0.1, 0.2, 0.4])
def test_the_fraction_has_the_least_error(spread):
    """Against rounding the values themselves at every fraction."""
    values = np.random.default_rng(0).laplace(0.5, spread, 100_000).clip(LOW, HIGH)
    fraction = _best_fraction(histogram(values), LOW, HIGH)
    errors = {each: squared_error(values, each) for each in FRACTIONS}
    assert errors[fraction] < 1.05 * min(errors.values())
    if spread == 0.1:
        assert errors[fraction] < 0.7 * errors[1.0]
