"""Five steps of each kind, for other backends and devices: `python tests/parity.py FILE`.

Leaves the losses of each step and the weights after the last. On several devices of JAX it spreads
each batch over them.
"""

import sys

import keras
import numpy as np
from helpers import LATENT, arrays, fit, fixed_random, images, make_gan

from ganlib.content import ContentLoss

ADAM = {"class_name": "Adam", "config": {"learning_rate": 1e-2, "beta_1": 0.5}}
SGD = {"class_name": "SGD", "config": {"learning_rate": 0.1}}
SETUPS = {
    "alternating": (ADAM, {"d_steps": 2, "loss": "non_saturating", "ema": 0.9}),
    "alternating, WGAN-GP": (SGD, {"loss": "wasserstein", "gradient_penalty": 1.0}),
    "shared": (SGD, {"update": "shared", "loss": "least_squares", "batch_norm": True}),
    "shared, R1": (ADAM, {"update": "shared", "r1": 1.0, "batch_norm": True}),
    "joint": (SGD, {"update": "joint", "loss": "non_saturating", "instance_noise": 0.2}),
    "joint, WGAN-GP": (ADAM, {"update": "joint", "loss": "wasserstein", "batch_norm": True}),
    "pairs": (ADAM, {"update": "shared", "content": ContentLoss(0.5, "l2")}),
}
devices = keras.distribution.list_devices() if keras.backend.backend() == "jax" else []
if len(devices) > 1:
    parallel = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    keras.distribution.set_distribution(parallel)
results = {}
for name, (optimizer, options) in SETUPS.items():
    with fixed_random():
        both = {name: keras.optimizers.get(optimizer) for name in ("d_optimizer", "g_optimizer")}
        gan = make_gan(**both, **options)
        logs = []
        for step in range(5):
            inputs = np.random.default_rng(step).normal(size=(4, LATENT)).astype("float32")
            pair = {"data": inputs, "y": images(4, step)}
            logs.append(fit(gan, **(pair if gan.content else {"data": images(4, step)})))
    for key in ("d_loss", "g_loss"):
        results[f"{name}: {key}"] = np.array([log[key][0] for log in logs])
    for i, weight in enumerate(arrays(gan.weights)):
        results[f"{name}: weight {i}"] = weight
np.savez(sys.argv[1], devices=len(devices), images_seen=int(gan.images_seen), **results)
