"""An estimator for scikit-learn; this package alone needs it, and says so where it is missing."""

from sightline.errors import MissingPackage, require

_INSTALL = "sightline[scikit-learn]"
_OLDEST = (1, 6)  # before it, what an estimator is given was checked in another way

_version = require("sklearn", purpose="SightlineClassifier", install=_INSTALL).__version__
if tuple(map(int, _version.split(".")[:2])) < _OLDEST:
    raise MissingPackage(
        f"SightlineClassifier needs scikit-learn {'.'.join(map(str, _OLDEST))} or newer; {_version} is installed. "
        f"Run: pip install -U '{_INSTALL}'"
    )

# Behind what says in a sentence that it cannot be had.
from sightline.integrations.scikit_learn.estimator import (  # noqa: E402
    SightlineClassifier as SightlineClassifier,
)
