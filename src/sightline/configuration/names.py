"""Names of sources, policies and Keras parts, and where each one lives.

Strings only: nothing here imports what it names, so that a wrong name is refused
in milliseconds and `sightline models` needs no Keras.
"""

from __future__ import annotations

ACTIVATIONS: dict[str, str] = {
    "relu": "max(0, x); the default since 2012",
    "sigmoid": "squashes to (0, 1); its gradient fades in deep networks",
    "tanh": "squashes to (-1, 1); what LeCun used in 1998",
    "gelu": "a smooth ReLU weighted by the normal distribution",
    "silu": "x * sigmoid(x), a smooth ReLU; also called swish",
}

OPTIMIZERS: dict[str, str] = {
    "sgd": "SGD",
    "adagrad": "Adagrad",
    "rmsprop": "RMSprop",
    "adam": "Adam",
    "adamw": "AdamW",
    "lion": "Lion",
    "muon": "Muon",
}

SCHEDULES: dict[str, str] = {
    "constant": "the same rate throughout",
    "step": "falls by `schedule.decay_factor` at `schedule.num_drops` points, equally far apart",
    "exponential": "falls by the same share at each step, to `schedule.decay_factor` of itself at the end",
    "cosine": "linear warm-up over `schedule.warmup_fraction`, then half a cosine down to zero",
    "one-cycle": "linear up from a 25th over `schedule.warmup_fraction`, then half a cosine down to a 10,000th",
}

LOSSES: dict[str, str] = {
    "sparse_categorical_crossentropy": "cross-entropy with integer labels",
    "categorical_crossentropy": "cross-entropy with one-hot labels; allows label smoothing",
    "categorical_focal_crossentropy": "cross-entropy in which what is already right counts less; one-hot",
    "binary_crossentropy": "of each label by itself, where an image may have several",
    "binary_focal_crossentropy": "of each label by itself, where what is already right counts less",
}
BINARY_LOSSES = frozenset({"binary_crossentropy", "binary_focal_crossentropy"})
FOCAL_LOSSES = frozenset({"categorical_focal_crossentropy", "binary_focal_crossentropy"})
ONE_HOT_LOSSES = frozenset(LOSSES) - {"sparse_categorical_crossentropy"}

PRECISIONS: dict[str, str] = {
    "float32": "throughout",
    "mixed_bfloat16": "computed in bfloat16 and kept in float32; for CPUs and GPUs that multiply in it",
    "mixed_float16": "computed in float16 with a scaled loss and kept in float32; for GPUs",
}

FINETUNE_PARTS: dict[str, str] = {
    "upper": "what stands above the middle, from stored activations: cheap",
    "all": "the whole network, from images: slow without a GPU",
}

RESIZE_RULES: dict[str, str] = {
    "fit": "the whole image, padded",
    "fill": "the centre, cropped",
    "stretch": "the whole image, distorted",
}

NEIGHBOUR_KINDS: dict[str, str] = {
    "names": "those of up to 1,000 train images",
    "thumbnails": "and a picture of each, 96 pixels at most",
    "none": "neither names nor what the network sees of a single one",
}

COLOR_MODES: dict[str, str] = {
    "auto": "what the source has",
    "grey": "one channel",
    "rgb": "three channels",
}

PIXEL_SCALINGS: dict[str, str] = {
    "unit": "0 to 255 becomes 0 to 1, inside the network",
    "none": "the network sees 0 to 255, as the tutorial prints it",
}

AUGMENTATION_PARTS = (
    "rotation_degrees",
    "translation_fraction",
    "zoom_fraction",
    "shear_degrees",
    "crop_fraction",
    "flip",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "erasing_fraction",
    "blur_sigma",
    "randaugment_magnitude",
)
# Each part's largest strength; what a policy does not name is off.
AUGMENTATION_POLICIES: dict[str, dict[str, float | str]] = {
    "none": {},
    "digits": {
        "rotation_degrees": 10.0,
        "translation_fraction": 0.07,
        "zoom_fraction": 0.1,
        "shear_degrees": 6.0,
    },
    "light": {
        "translation_fraction": 0.1,
        "flip": "horizontal",
    },
    "photos": {
        "rotation_degrees": 10.0,
        "translation_fraction": 0.1,
        "zoom_fraction": 0.15,
        "flip": "horizontal",
        "brightness": 0.2,
        "contrast": 0.2,
    },
    "strong": {
        "rotation_degrees": 15.0,
        "crop_fraction": 0.4,
        "flip": "horizontal",
        "brightness": 0.25,
        "contrast": 0.3,
        "saturation": 0.4,
        "hue": 0.05,
        "erasing_fraction": 0.2,
    },
}
POLICY_USES: dict[str, str] = {
    "none": "nothing is changed; to see what augmentation is worth",
    "digits": "digits and letters: turned, moved, zoomed and slanted a little, never flipped",
    "light": "small photographs: moved and flipped",
    "photos": "photographs, the usual choice: turned, moved, zoomed, flipped, lit otherwise",
    "strong": "photographs, where a network learns its train rows by heart (few images, many epochs, a large network): "
    "cropped, coloured otherwise and partly erased as well; wants more epochs, and classes that colour does not tell",
}
FLIPS: dict[str, str] = {"none": "no flip", "horizontal": "left to right", "both": "left to right and top to bottom"}

LABEL_LEVELS: dict[str, str] = {
    "first": "the folder right below the source or its split",
    "last": "the folder that the file lies in",
    "top": "the top folder, even one that is called as a split is",
}

TASKS: dict[str, str] = {
    "single-label": "one class",
    "multi-label": "several, or none: 'cat;dog' in a table, a column of 0 and 1 for each, links in several folders",
}

CLASS_WEIGHTS: dict[str, str] = {
    "none": "each image counts the same",
    "balanced": "each class counts the same: an image of a rare class weighs more",
}

SAMPLINGS: dict[str, str] = {
    "natural": "each image once an epoch",
    "balanced": "images of rare classes are repeated, up to ten times, until the classes are equal",
}

ENSEMBLES: dict[str, str] = {
    "none": "one network",
    "bagging": "each member learns from rows drawn with replacement and is judged on those it did not see",
    "boosting": "each member looks harder at what the ones before it got wrong, with its share of the epochs",
    "deep": "the same rows, other seeds, and other networks if `ensemble.networks` names them",
    "soup": "the weights of members with a common start, averaged: one network's cost to predict",
    "greedy-soup": "a soup that takes in a member only if validation rows like it",
}
SOUPS = frozenset({"soup", "greedy-soup"})

TEST_VIEWS: dict[str, str] = {
    "none": "each image as it is",
    "mirror": "and its mirror image; doubles the cost; not for letters and digits",
    "shifts": "and four copies moved by a pixel; five times the cost; for small images",
    "auto": "mirror where the augmentation flips, else shifts",
}
