"""How good a result is: errors against a known truth, and the bound that counting statistics allow."""

from cyclestrain.evaluation.accuracy import Accuracy, compare, relative_truth
from cyclestrain.evaluation.bound import BoundTable, tabulate

__all__ = ["Accuracy", "BoundTable", "compare", "relative_truth", "tabulate"]
