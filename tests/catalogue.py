"""The bijectors of this package, each with the shape of a leaf that it fits."""

import numpy as np

import bijectree as bt

CATALOGUE = {
    "real": (bt.real, (2, 3)),
    "positive": (bt.positive, (2, 3)),
    "positive_softplus": (lambda: bt.positive(via="softplus"), (2, 3)),
    "positive_scaled": (lambda: bt.positive(via="softplus", scale=2.0), (2, 3)),
    "greater_than": (lambda: bt.greater_than(1.0), (2, 3)),
    "less_than": (lambda: bt.less_than(1.0), (2, 3)),
    "interval": (lambda: bt.interval(-1.0, 2.0), (2, 3)),
    "interval_arrays": (lambda: bt.interval(np.zeros(3), [1.0, 2.0, np.inf]), (2, 3)),
    "interval_normal_cdf": (lambda: bt.interval(-1.0, 2.0, via="normal_cdf"), (2, 3)),
    "unit_interval": (bt.unit_interval, (2, 3)),
    "affine": (lambda: bt.affine(1.0, 2.0), (2, 3)),
    "sinh_arcsinh": (
        lambda: bt.sinh_arcsinh(1.0, 2.0, skewness=-0.7, tailweight=1.3),
        (2, 3),
    ),
    "ordered_vector": (bt.ordered_vector, (2, 3)),
    "positive_ordered_vector": (bt.positive_ordered_vector, (2, 3)),
    "ordered_softplus": (lambda: bt.ordered_vector(via="softplus"), (2, 3)),
    "positive_ordered_softplus": (
        lambda: bt.positive_ordered_vector(via="softplus"),
        (2, 3),
    ),
    "simplex": (bt.simplex, (2, 3)),
    "stick_breaking": (lambda: bt.simplex(via="stick_breaking"), (2, 3)),
    "additive_log_ratio": (lambda: bt.simplex(via="additive_log_ratio"), (2, 3)),
    "simplex_ordered": (
        lambda: bt.simplex(via="stick_breaking", order=(2, 0, 1)),
        (2, 3),
    ),
    "simplex_columns": (lambda: bt.simplex(axis=-2), (2, 3)),
    "simplex_far": (lambda: bt.simplex(axis=-3), (4, 2, 3)),
    "zero_sum": (bt.zero_sum, (2, 3)),
    "zero_sum_columns": (lambda: bt.zero_sum(axis=-2), (3, 2)),
    "zero_sum_matrix": (lambda: bt.zero_sum(axis=(-2, -1)), (2, 3, 4)),
    "sphere": (bt.sphere, (2, 3)),
    "circular": (bt.circular, (2, 3)),
    "circular_degrees": (lambda: bt.circular(period=360.0), (2, 3)),
    "corr_cholesky": (bt.corr_cholesky, (2, 3, 3)),
    "corr_cholesky_spherical": (lambda: bt.corr_cholesky(via="spherical"), (2, 3, 3)),
    "corr_matrix": (bt.corr_matrix, (2, 3, 3)),
    "lower_cholesky": (bt.lower_cholesky, (2, 3, 3)),
    "lower_cholesky_tall": (lambda: bt.lower_cholesky(shape=(4, 2)), (2, 4, 2)),
    "positive_definite": (bt.positive_definite, (2, 3, 3)),
}
