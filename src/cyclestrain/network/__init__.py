"""The cycle-consistent spatial-transforming autoencoder: modules, training and inference; all of torch is here.

The functions take a dictionary and patterns with their coarse rotation and return a trained network and its estimates.
"""

from importlib.util import find_spec

from cyclestrain.errors import InputError

if find_spec("torch") is None or find_spec("safetensors") is None:
    raise InputError(
        "the network needs torch, which is not installed here: pip install 'cyclestrain[network]' (without a GPU "
        "first: pip install torch --index-url https://download.pytorch.org/whl/cpu); a map needs it only with "
        "--until network or --model"
    )

from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.infer import encode_block, infer
from cyclestrain.network.log import Epoch, TrainingLog
from cyclestrain.network.model_file import Model, load_model, load_with_fingerprint, save_model
from cyclestrain.network.onnx_graphs import encoder_graphs, save_graph
from cyclestrain.network.prior import with_prior
from cyclestrain.network.scan import applied, train_on_scan
from cyclestrain.network.settings import NetworkSettings, TrainingSettings
from cyclestrain.network.training import Course, Trained, train

__all__ = [
    "Autoencoder",
    "Course",
    "Epoch",
    "Model",
    "NetworkSettings",
    "Trained",
    "TrainingLog",
    "TrainingSettings",
    "applied",
    "encode_block",
    "encoder_graphs",
    "infer",
    "load_model",
    "load_with_fingerprint",
    "save_graph",
    "save_model",
    "train",
    "train_on_scan",
    "with_prior",
]
