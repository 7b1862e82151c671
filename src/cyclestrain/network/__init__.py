"""The cycle-consistent spatial-transforming autoencoder: modules, training and inference; all of torch is here.

The functions take a dictionary and patterns with their coarse rotation and return a trained network and its estimates.
"""

from importlib.util import find_spec

from cyclestrain.errors import InputError

if find_spec("torch") is None or find_spec("safetensors") is None:
    raise InputError(
        "the network needs torch, which is not installed here: pip install 'cyclestrain[network]' (without a GPU "
        "first: pip install torch --index-url https://download.pytorch.org/whl/cpu); a map needs it only with "
        "--until network"
    )

from cyclestrain.network.anatomy import Followed, anatomy, follow
from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.hyperparameters import SPACE, HyperParameters
from cyclestrain.network.infer import encode_block, infer
from cyclestrain.network.log import Epoch, TrainingLog
from cyclestrain.network.model_file import Model, load_model, model_of, save_model
from cyclestrain.network.onnx_graphs import encoder_graphs, save_graph
from cyclestrain.network.prior import with_prior
from cyclestrain.network.scan import applied, course_of, fit_on_scan, train_on_scan
from cyclestrain.network.settings import NetworkSettings, TrainingSettings
from cyclestrain.network.training import Course, Trained, train
from cyclestrain.network.tuned import Tuned
from cyclestrain.network.tuning import Search, Start, check_study, check_tuning, tune

__all__ = [
    "SPACE",
    "Autoencoder",
    "Course",
    "Epoch",
    "Followed",
    "HyperParameters",
    "Model",
    "NetworkSettings",
    "Search",
    "Start",
    "Trained",
    "TrainingLog",
    "TrainingSettings",
    "Tuned",
    "anatomy",
    "applied",
    "check_study",
    "check_tuning",
    "course_of",
    "encode_block",
    "encoder_graphs",
    "fit_on_scan",
    "follow",
    "infer",
    "load_model",
    "model_of",
    "save_graph",
    "save_model",
    "train",
    "train_on_scan",
    "tune",
    "with_prior",
]
