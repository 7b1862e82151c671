"""Accuracy of a result: errors against a known truth, and the bound set by counting statistics."""

from cyclestrain.evaluation.accuracy import Accuracy, compare, relative_truth
from cyclestrain.evaluation.bound import BoundTable, tabulate

__all__ = ["Accuracy", "BoundTable", "compare", "relative_truth", "tabulate"]
