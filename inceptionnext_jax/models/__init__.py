"""The networks. Importing this package fills the registry."""

from inceptionnext_jax.models import ablations as _ablations  # noqa: F401
from inceptionnext_jax.models import bit as _bit  # noqa: F401
from inceptionnext_jax.models import convnext as _convnext  # noqa: F401
from inceptionnext_jax.models import efficientnet as _efficientnet  # noqa: F401
from inceptionnext_jax.models import focalnet as _focalnet  # noqa: F401
from inceptionnext_jax.models import inceptionnext as _inceptionnext  # noqa: F401
from inceptionnext_jax.models import isotropic as _isotropic  # noqa: F401
from inceptionnext_jax.models import poolformer as _poolformer  # noqa: F401
from inceptionnext_jax.models import pvt as _pvt  # noqa: F401
from inceptionnext_jax.models import regnet as _regnet  # noqa: F401
from inceptionnext_jax.models import resnet as _resnet  # noqa: F401
from inceptionnext_jax.models import roadmap as _roadmap  # noqa: F401
from inceptionnext_jax.models import swin as _swin  # noqa: F401
from inceptionnext_jax.models import t2t_vit as _t2t_vit  # noqa: F401
from inceptionnext_jax.models import tnt as _tnt  # noqa: F401
from inceptionnext_jax.models import vanillanet as _vanillanet  # noqa: F401
from inceptionnext_jax.models import vit as _vit  # noqa: F401
from inceptionnext_jax.models.dense import detection_systems as _detectors  # noqa: F401
from inceptionnext_jax.models.dense import systems as _systems  # noqa: F401
from inceptionnext_jax.models.deploy import deploy
from inceptionnext_jax.models.registry import (
    ModelInfo,
    create_model,
    list_models,
    model_info,
    register_model,
)

__all__ = [
    "ModelInfo",
    "create_model",
    "deploy",
    "list_models",
    "model_info",
    "register_model",
]
