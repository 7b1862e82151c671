"""Accuracy of a result: errors against a known truth, and the bound set by counting statistics.

In go a result and the truth it was made from, out come figures of merit; or a pattern, out comes its Cramer-Rao bound.
"""

from cyclestrain.evaluation.accuracy import Accuracy, compare
from cyclestrain.evaluation.bound import BoundTable, tabulate
from cyclestrain.evaluation.truth import classes_found, error_map, relative_truth, renamed

__all__ = [
    "Accuracy",
    "BoundTable",
    "classes_found",
    "compare",
    "error_map",
    "relative_truth",
    "renamed",
    "tabulate",
]
