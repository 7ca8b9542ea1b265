"""TensorFlow Datasets, imported only when asked for."""

import contextlib

import numpy as np

from ganlib.data.container import Images
from ganlib.data.errors import DataError, NoSplitError
from ganlib.data.fit import fit

IMAGE_KEYS = ("image", "hr")  # "hr": the high-resolution image of a pair, as in div2k
TRIMAP, BACKGROUND = {1, 2, 3}, 2  # as in oxford_iiit_pet: the pet, what is around it, its border


def load_tfds(name, split=None, size=None, channels=None, masks=False):
    """Downloads (once) and loads a set of TensorFlow Datasets, in its stored order; see `load`."""
    split = split or "train"
    builder = prepared(name)
    count(builder, split)
    features = builder.info.features
    key = next((key for key in IMAGE_KEYS if key in features), None)
    if key is None or (masks and "segmentation_mask" not in features):
        missing = "masks" if key else "image"
        raise DataError(f"TFDS {name!r} has no {missing}. Received: features {sorted(features)}")
    labelled = "label" in features and features["label"].shape == ()
    images, labels, planes = [], [], []
    with _errors(name, "cannot be read"):
        import tensorflow_datasets

        stored = builder.as_dataset(split=split, shuffle_files=False)
        for example in tensorflow_datasets.as_numpy(stored):
            # One by one: only small images need memory. A mask is resized with its image, later.
            images.append(fit(example[key], None if masks else size, channels))
            labels.append(example["label"] if labelled else None)
            planes.append(np.asarray(example["segmentation_mask"])[..., 0] if masks else None)
    if masks and set().union(*(np.unique(mask).tolist() for mask in planes)) <= TRIMAP:
        planes = [mask != BACKGROUND for mask in planes]
    name = builder.info.full_name
    facts = {"name": name, "origin": f"TensorFlow Datasets, {name}."}
    facts["names"] = [f"{split} {i}" for i in range(len(images))]
    return Images(images, planes if masks else None, labels if labelled else None, **facts)


def prepared(name):
    """The TFDS builder of a set, once the set is downloaded and prepared."""
    with _errors(name, "is unknown or cannot be set up (https://www.tensorflow.org/datasets)"):
        import tensorflow_datasets

        builder = tensorflow_datasets.builder(name)
    with _errors(name, "cannot be downloaded or prepared"):
        builder.download_and_prepare()
    return builder


def count(builder, split):
    """How many examples a split has; a `NoSplitError` where there is none."""
    try:
        return builder.info.splits[split].num_examples
    except Exception as error:
        raise NoSplitError(
            f"TFDS {builder.info.full_name!r} has no such split; it has "
            f"{sorted(builder.info.splits)}. Received: split={split!r} ({error})"
        ) from error


@contextlib.contextmanager
def _errors(name, what):
    """Whatever goes wrong in TFDS as one `DataError` that says what to do."""
    try:
        yield
    except Exception as error:
        remedy = "check the internet connection and the disk, or give an .npz or a folder"
        if isinstance(error, ModuleNotFoundError):
            remedy = f"pip install {error.name} (of TFDS itself also tensorflow)"
        first = (str(error).strip().splitlines() or [""])[0]
        raise DataError(
            f"TFDS {name!r} {what}: {remedy}. Received: {type(error).__name__}: {first}"
        ) from error
