"""timm's networks and ours with random weights, layer scales and statistics."""

import jax
import jax.numpy as jnp
import numpy as np


def random_variables(model, seed=0):
    """Returns numpy variables for one of our models, drawn without compiling anything."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    random = np.random.default_rng(seed)

    def value(path, leaf):
        noise = random.normal(size=leaf.shape)
        name = path[-1].key
        if name == "var":
            noise = np.exp(0.1 * noise)
        elif name == "kernel":
            noise /= np.sqrt(np.prod(leaf.shape[:-1]))
        else:
            noise = 0.1 * noise + (name in ("gamma", "scale"))
        return noise.astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(value, shapes)


def randomised(timm, name, num_classes=1000, seed=0, **options):
    """Returns timm's twin of one of our models in evaluation mode.

    timm's initial values (gamma 1e-6, statistics 0 and 1) would hide a wrong block.
    """
    import torch

    torch.manual_seed(seed)
    names = {"inceptionnext_base_384": "inception_next_base"}
    theirs = names.get(name, name.replace("inceptionnext", "inception_next"))
    model = timm.create_model(theirs, num_classes=num_classes, **options)
    return randomise(model)


def randomise(model):
    """Redraws in place a PyTorch model's values that begin as 0 or 1; returns it in evaluation."""
    import torch

    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith("gamma") or key.endswith("running_mean"):
                value.normal_()
            elif key.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif value.is_floating_point() and value.ndim == 1:
                value.add_(0.2 * torch.randn_like(value))
    return model.eval()


def images(shape, seed=1):
    """Returns [N, H, W, 3] float32 noise."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def to_nchw(x):
    """Returns a PyTorch tensor of NHWC images."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def state(model):
    """Returns copies of a PyTorch model's arrays."""
    return {key: value.detach().numpy().copy() for key, value in model.state_dict().items()}


def relative_error(ours, theirs):
    """Returns the largest difference over the largest value of theirs."""
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


def logits_of(model, x):
    """Returns a PyTorch model's output for NHWC images."""
    import torch

    with torch.no_grad():
        return model(to_nchw(x)).numpy()
