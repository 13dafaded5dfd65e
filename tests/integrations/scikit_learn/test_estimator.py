from __future__ import annotations

import copy
import csv
import gc
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import sightline
from sightline import SightlineClassifier
from sightline.errors import InvalidBundle, InvalidValue, MissingPackage, SightlineError, UnknownName
from sightline.integrations.scikit_learn.kept import new_place

# In so few steps AdamW learns something.
QUICK = {"model.name": "mlp", "optimizer.name": "adamw", "training.epochs": 2}
NUM_IMAGES = 240


def quick(settings=None, **parameters):
    return SightlineClassifier("fast", settings={**QUICK, **(settings or {})}, **parameters)


GROUPS = np.arange(NUM_IMAGES) // 4


def splits_of_groups(estimator):
    """The splits of its run, none of which has a group in two of them."""
    with (estimator.run_.path / "splits.csv").open(encoding="utf-8") as stream:
        places = {(line["group"], line["split"]) for line in csv.DictReader(stream)}
    assert len(places) == len({group for group, _ in places}) == NUM_IMAGES / 4
    return {split for _, split in places}


@pytest.fixture(scope="module")
def X():  # noqa: N802  # as scikit-learn calls it
    return sightline.load("mnist").images[:NUM_IMAGES]


@pytest.fixture(scope="module")
def y():
    return np.array(["even", "odd"])[sightline.load("mnist").labels[:NUM_IMAGES] % 2]


@pytest.fixture(scope="module")
def fitted(X, y):
    return quick(random_state=3).fit(X, y)


@pytest.fixture(scope="module")
def paths(X, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images") / "ö 图"
    folder.mkdir()
    found = [folder / f"{row} é.png" for row in range(NUM_IMAGES)]
    for path, image in zip(found, X, strict=True):
        Image.fromarray(image[:, :, 0]).save(path)
    return found


class Pictured(SightlineClassifier):
    """Draws the numbers of a matrix as small pictures, so that what feeds matrices feeds trainings and bundles."""

    def _read(self, X, *, is_fit):
        given = super()._read(X, is_fit=is_fit)
        if isinstance(given, list) or given.ndim != 2:
            return given
        greys = np.rint(255 / (1 + np.exp(-given))).astype(np.uint8)
        return np.tile(greys, (1, 16))[:, :16].reshape(-1, 4, 4, 1)


Pictured.__name__ = "SightlineClassifier"


def assert_passes_all_checks(estimator):
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert len(results) > 50
    failed = [(one["check_name"], one["exception"]) for one in results if one["status"] in ("failed", "xfail")]
    assert not failed
    # What is skipped needs what is not there, for whichever estimator.
    skipped = [str(one["exception"]) for one in results if one["status"] == "skipped"]
    assert [why for why in skipped if "is not installed" not in why and "SCIPY_ARRAY_API is not set" not in why] == []


@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_finds_no_fault():
    assert_passes_all_checks(SightlineClassifier())


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_finds_no_fault_where_each_of_its_matrices_is_learned_by_a_run():
    settings = {
        "model.name": "mlp",
        "optimizer.name": "adamw",
        "optimizer.learning_rate": 0.01,
        "augmentation.policy": "none",
        "training.epochs": 12,
        "training.batch_size": 8,
        "data.validation_fraction": 0,
        "data.calibration_fraction": 0,
    }
    assert_passes_all_checks(Pictured(settings=settings))


@pytest.mark.slow
def test_it_says_what_the_bundle_of_its_run_says(fitted, X, y):
    answers = sightline.predict(fitted.run_, list(X), progress=False)
    assert fitted.predict(X).tolist() == list(answers.predicted)
    np.testing.assert_allclose(fitted.predict_proba(X).max(axis=1), answers.confidences, atol=1e-6)
    np.testing.assert_array_equal(fitted.decision_function(X) > 0, fitted.predict(X) == "odd")
    assert fitted.classes_.tolist() == ["even", "odd"] == list(fitted.run_.bundle.class_names)
    assert fitted.score(X, y) > 0.7
    assert fitted.run_.recipe["seed"] == 3
    assert not hasattr(fitted, "n_features_in_")
    assert fitted.evaluation_ is None
    assert {len(fitted.run_.splits.rows(name)) for name in ("train", "validation", "calibration")} == {216, 12}


@pytest.mark.slow
def test_it_keeps_rows_for_a_test_of_its_own_where_that_is_asked_for_and_parts_no_group(X, y):
    # No class of a run can be called so; to who asks they are what they were.
    labels = np.where(y == "even", "", " a\n")
    estimator = quick({"data.test_fraction": 0.25, "training.epochs": 1}).fit(X, labels, groups=GROUPS)
    assert estimator.evaluation_.num_images == len(estimator.run_.splits.test) > NUM_IMAGES / 5
    assert estimator.evaluation_.class_names == ("''", " a\\n")
    assert set(estimator.predict(X).tolist()) <= {"", " a\n"}
    assert splits_of_groups(estimator) == {"train", "validation", "calibration", "test"}


@pytest.mark.slow
def test_paths_arrays_and_flat_rows_of_the_same_images_get_the_same_answers(fitted, X, y, paths):
    expected = fitted.predict_proba(X)
    column = np.array(list(map(str, paths)), object)[:, None]
    for given in (paths, list(map(str, paths)), np.array(list(map(str, paths))), column, X[..., 0]):
        np.testing.assert_array_equal(fitted.predict_proba(given), expected)
    flat = quick(random_state=3, image_shape=(28, 28), pixel_range=(0, 1)).fit(X.reshape(len(X), -1) / 255, y)
    assert flat.n_features_in_ == 784
    np.testing.assert_array_equal(flat.predict_proba(X.reshape(len(X), -1) / 255), expected)
    np.testing.assert_array_equal(flat.predict_proba(paths), expected)
    with pytest.raises(ValueError, match="X has 64 features, but SightlineClassifier is expecting 784 features"):
        flat.predict(np.zeros((1, 64)))


@pytest.mark.slow
def test_a_search_over_keys_of_the_recipe_in_a_pipeline_on_paths(paths, y):
    steps = Pipeline([("absolute", FunctionTransformer(lambda rows: [Path(row).absolute() for row in rows]))])
    steps.steps.append(("learn", quick()))
    halves = ShuffleSplit(1, test_size=0.4, random_state=0)
    search = GridSearchCV(steps, {"learn__training.epochs": [1]}, cv=halves, error_score="raise").fit(paths, y)
    assert search.best_params_ == {"learn__training.epochs": 1}
    best = search.best_estimator_.named_steps["learn"]
    assert best.settings == {**QUICK, "training.epochs": 1}
    assert len(best.run_.history) == 1
    assert steps.named_steps["learn"].settings == QUICK
    assert set(search.predict(paths[:5])) <= {"even", "odd"}


@pytest.mark.slow
def test_folds_fitted_in_threads_leave_a_run_each_which_is_opened_where_it_lies(X, y, tmp_path):
    import joblib

    with joblib.parallel_backend("threading", n_jobs=2):
        folds = cross_validate(quick(out=tmp_path / "runs"), X, y, cv=2, return_estimator=True, error_score="raise")
    place = tmp_path / "runs" / "run-001"
    assert sorted(tmp_path.joinpath("runs").iterdir()) == [place, place.with_name("run-002")]
    estimator = next(one for one in folds["estimator"] if one.run_.path == place)
    content, expected = pickle.dumps(estimator), estimator.predict_proba(X)
    assert pickle.loads(content).run_.path == place
    place.rename(tmp_path / "moved")
    moved = pickle.loads(content)
    np.testing.assert_array_equal(moved.predict_proba(X), expected)
    assert moved.run_.path != place
    with pytest.raises(InvalidBundle, match=r"run-001: the run of this estimator is no longer there\. Fit it again\."):
        pickle.dumps(estimator)
    assert sightline.reopen(tmp_path / "moved").history == estimator.run_.history


def test_a_random_state_gives_the_seed(fitted, X, y):
    dataset = sightline.load({"x_train": X, "y_train": (y == "odd").astype(int)})
    states = (0, np.random.RandomState(3), None)
    seeds = [clone(fitted).set_params(random_state=state)._recipe_for(dataset).seed for state in states]
    assert seeds == [0, np.random.RandomState(3).randint(2**31 - 1), sightline.recipe("fast").seed]


def test_a_pickle_takes_the_run_along_and_leaves_nothing_behind(fitted, X, tmp_path):
    content = pickle.dumps(fitted)
    copies = [pickle.loads(content), copy.deepcopy(fitted)]
    assert pickle.loads(pickle.dumps(pickle.loads(content)))._kept._run is None  # as long as nobody asks
    for one in copies:
        np.testing.assert_array_equal(one.predict_proba(X), fitted.predict_proba(X))
        assert one.run_.history == fitted.run_.history
    places = {fitted.run_.path, *(one.run_.path for one in copies)}
    assert len(places) == 3
    del one
    copies.clear()
    gc.collect()
    assert {place for place in places if place.exists()} == {fitted.run_.path}


def test_folders_are_counted_up_and_images_are_left_alone(tmp_path):
    assert [new_place(tmp_path / "a")[0].name for _ in range(3)] == ["run-001", "run-002", "run-003"]
    (tmp_path / "images").mkdir()
    with pytest.raises(InvalidValue, match="which is never changed"):
        new_place(tmp_path / "images" / "runs", keep=[tmp_path / "images"])
    assert list((tmp_path / "images").iterdir()) == []


@pytest.mark.slow
def test_a_failed_fit_leaves_the_one_before_and_no_folder(fitted, X, y, tmp_path):
    before = fitted.predict_proba(X[:9])
    one = copy.deepcopy(fitted).set_params(out=tmp_path / "runs")
    with pytest.raises(SightlineError, match="4 images are too few"):
        one.fit(X[:4], y[:4])
    np.testing.assert_array_equal(one.predict_proba(X[:9]), before)
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_files_that_cannot_be_read_are_told_and_never_guessed(paths, y, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n123")
    with pytest.warns(UserWarning, match=r"1 of 241 images were not learned from; the first is .*broken\.png: "):
        estimator = quick({"training.epochs": 1}).fit([*paths, broken], [*y, "odd"], groups=[*GROUPS, 0])
    with pytest.raises(InvalidValue, match=r"1 of 2 images cannot be read; the first is .*broken\.png: damaged PNG\."):
        estimator.predict([paths[0], broken])
    assert splits_of_groups(estimator) == {"train", "validation", "calibration"}


@pytest.mark.parametrize("labels", [[False, True], [-1.0, 2.0], [3, 7], ["", " a\n"]])
def test_labels_of_any_type_come_back_as_they_are(labels):
    given = np.array(labels)[[1, 0, 1, 0]]
    estimator = SightlineClassifier().fit([[1.0], [0.0], [1.1], [0.1]], given)
    assert estimator.classes_.tolist() == labels
    assert estimator.predict([[1.0], [0.0]]).tolist() == labels[::-1]
    assert estimator.predict([[1.0]]).dtype == given.dtype


def test_clones_keep_every_parameter_and_share_none():
    one = SightlineClassifier("tutorial", settings={"training": {"epochs": 3}}, image_shape=(8, 8), pixel_range=(0, 16))
    one.set_params(out="a", backend="jax", random_state=5, verbose=True)
    other = clone(one)
    assert other.get_params() == one.get_params()
    assert other.get_params(deep=False)["settings"] == {"training": {"epochs": 3}}
    assert other.set_params(**{"training.batch_size": 8}).get_params()["training.batch_size"] == 8
    assert other.settings == {"training.epochs": 3, "training.batch_size": 8}
    assert one.get_params(deep=False)["settings"] == {"training": {"epochs": 3}}
    texts = clone(SightlineClassifier(settings=["training.epochs=1"])).set_params(seed=4)
    assert texts.settings == {"training.epochs": 1, "seed": 4}


@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        (
            {"training.epoch": 3},
            UnknownName,
            r"no recipe key is called 'training.epoch'. Did you mean 'training.epochs'",
        ),
        ({"epochs": 3}, ValueError, "Invalid parameter 'epochs' for estimator SightlineClassifier"),
    ],
)
def test_parameters_that_there_are_none_of_are_refused_at_once(parameters, error, words):
    one = SightlineClassifier()
    with pytest.raises(error, match=words):
        one.set_params(**parameters)
    assert one.get_params() == SightlineClassifier().get_params()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"recipe": "fats"}, "no recipe is called 'fats'. Did you mean 'fast'?"),
        ({"recipe": 3}, "no recipe is called 3"),
        ({"settings": {"training.epochs": "ten"}}, "training.epochs must be a whole number of at least 1; got 'ten'"),
        ({"settings": "training.epochs=3"}, "settings are a mapping or a list of key=value texts; got 'training"),
        ({"settings": 3}, "settings are a mapping or a list of key=value texts; got 3"),
        ({"backend": "tensorflo"}, "no backend is called 'tensorflo'"),
        ({"random_state": "a"}, "'a' cannot be used to seed"),
        ({"image_shape": 28}, r"image_shape must be \(height, width\) or \(height, width, 1 or 3\); got 28"),
        ({"image_shape": (28, 28, 2)}, r"image_shape must be .* got \(28, 28, 2\)"),
        ({"image_shape": (28.0, 28)}, r"image_shape must be .* got \(28\.0, 28\)"),
        ({"pixel_range": (1, 0)}, r"pixel_range must be two numbers, black below white, as \(0, 1\); got \(1, 0\)"),
        ({"pixel_range": 255}, "pixel_range must be two numbers, .* got 255"),
        ({"pixel_range": (0, float("nan"))}, "pixel_range must be two numbers"),
        ({"pixel_range": (0, 100)}, r"X holds the pixel 1\d\d, outside of pixel_range=\(0, 100\)"),
    ],
)
def test_parameters_out_of_range_are_told_as_they_were_typed(parameters, words, X, y):
    with pytest.raises(ValueError, match=words):
        SightlineClassifier(**{"recipe": "fast", **parameters}).fit(X, y)


IMAGES = np.zeros((4, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (IMAGES, None, "requires y to be passed, but the target y is None"),
        (IMAGES, [1, 1, 1, 1], r"y holds one class only \(1, 4 times\); a classifier needs two"),
        (IMAGES, [0.1, 0.2, 0.3, 0.4], "Unknown label type: continuous"),
        (IMAGES, [0, 1, float("nan"), 1], "Input y contains NaN"),
        (IMAGES, [[0, 1]] * 4, "y should be a 1d array"),
        (IMAGES, [0, 1], r"inconsistent numbers of samples: \[4, 2\]"),
        (IMAGES[:0], [], r"X holds no images; got \(0, 8, 8\)"),
        (IMAGES / 2, [0, 1, 0, 1], r"pixels must be uint8, 0 to 255; got float64.* pixel_range=\(0, 1\)"),
        (IMAGES.astype(str), [0, 1, 0, 1], "pixels must be uint8, 0 to 255; got <U"),
        (np.zeros((4, 3, 8, 8), np.uint8), [0, 1, 0, 1], r"got \(4, 3, 8, 8\)\. If the channels come first"),
        (np.zeros((4, 8, 8, 4), np.uint8), [0, 1, 0, 1], r"1 or 3\); got \(4, 8, 8, 4\)"),
        ([IMAGES[0], IMAGES[0, :4]], [0, 1], "X is a list of parts of unequal shape"),
        (["no.png", "none.png"], [0, 1], r"2 of 2 paths lead to no file; the first is no\.png: no such file"),
        (["."] * 2, [0, 1], "is a folder or a device, not an image file"),
        (["a\0b", "c"], [0, 1], r"the first is a\\x00b: no such file"),
        ([".", None], [0, 1], r"X\[1\] is no path: None"),
        ([".", ""], [0, 1], r"X\[1\] is no path: ''"),
        (np.array([None, "a"], object), [0, 1], r"X\[0\] is no path: None"),
        (np.array([[float("nan")], ["a"]], object), [0, 1], r"X\[0\] is no path: nan"),
        (["https://a.example/1.png"] * 2, [0, 1], "is an address, and nothing is downloaded"),
        ([], [], "Expected 2D array, got 1D array"),
    ],
)
def test_what_cannot_be_learned_from_is_told_before_anything_is_learned(images, labels, words):
    with pytest.raises(ValueError, match=words):
        SightlineClassifier("fast").fit(images, labels)


def test_numbers_without_an_order_are_learned_as_well_as_by_logistic_regression():
    numbers, labels = (part[:600] for part in load_digits(return_X_y=True))
    numbers = numbers + np.random.default_rng(0).normal(0, 3, numbers.shape)
    usual = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    ours = cross_val_score(SightlineClassifier(), numbers, labels, cv=3).mean()
    assert ours > cross_val_score(usual, numbers, labels, cv=3).mean() - 0.01
    estimator = SightlineClassifier().fit(numbers, labels)
    assert estimator.run_ is estimator.evaluation_ is None
    assert estimator.head_.how.endswith("chosen on 5 folds of train images")
    assert estimator.n_features_in_ == 64


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1.0, 1e9, 1e307])
def test_no_scale_of_the_numbers_changes_what_is_learned(scale):
    rng = np.random.default_rng(1)
    labels = np.arange(60) % 3
    numbers = np.column_stack([rng.normal(size=(60, 4)) + labels[:, None], np.zeros(60), np.full(60, 3.0)])
    plain = SightlineClassifier().fit(numbers, labels).predict_proba(numbers)
    scaled = SightlineClassifier().fit(numbers * scale, labels)
    np.testing.assert_allclose(scaled.predict_proba(numbers * scale), plain, atol=1e-4)
    assert np.isfinite(scaled.predict_proba(np.full((1, 6), 1.7e308))).all()


def test_groups_of_numbers_choose_the_head():
    rng = np.random.default_rng(2)
    labels, groups = np.arange(80) % 2, np.arange(80) // 8
    # Each group lies where it lies, far apart: only copies of itself tell its class.
    numbers = rng.normal(size=(10, 30))[groups] * 10 + rng.normal(size=(80, 30)) + labels[:, None]
    alone = SightlineClassifier().fit(numbers, labels)
    together = SightlineClassifier().fit(numbers, labels, groups=groups)
    assert not np.array_equal(alone.predict_proba(numbers), together.predict_proba(numbers))
    with pytest.raises(InvalidValue, match="groups must have a name for each of the 80 rows; got 3"):
        alone.fit(numbers, labels, groups=[1, 2, 3])


def test_rows_that_look_like_flat_images_are_told(X, y):
    flat = X.reshape(len(X), -1)[:, ::49]  # 4 x 4 is too few to be one
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SightlineClassifier().fit(flat, y)
    with pytest.warns(UserWarning, match=r"X has 784 columns of whole numbers from 0 to 255, .*image_shape=\(28, 28\)"):
        estimator = SightlineClassifier().fit(X.reshape(len(X), -1), y)
    with pytest.raises(InvalidValue, match="X holds images, and this estimator learned from a matrix of 784 numbers"):
        estimator.predict(X)
    with pytest.raises(InvalidValue, match=r"image_shape=\(8, 8\) has 64 pixels; X has 784 columns"):
        SightlineClassifier(image_shape=(8, 8)).fit(X.reshape(len(X), -1), y)


def test_a_matrix_is_not_taken_for_an_image_by_who_learned_from_images(fitted, X):
    with pytest.raises(InvalidValue, match="X is a matrix of numbers, and this estimator learned from images"):
        fitted.predict(X.reshape(len(X), -1))


def test_keras_is_not_imported_before_it_learns_from_images(python):
    answer = python(
        "import sys, numpy as np, sightline\n"
        "labels = np.arange(9) % 3\n"
        "sightline.SightlineClassifier().fit(np.eye(9), labels).predict(np.eye(9))\n"
        "sys.exit(' '.join({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)) or 0)"
    )
    assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    ("beforehand", "words"),
    [
        ("sys.modules['sklearn'] = None", "needs the package 'sklearn', which is not installed"),
        ("import sklearn; sklearn.__version__ = '1.5.2'", "needs scikit-learn 1.6 or newer; 1.5.2 is installed"),
    ],
)
def test_without_scikit_learn_only_the_estimator_is_missing(beforehand, words, python):
    answer = python(
        f"import sys\n{beforehand}\nfrom sightline import *\nprint(train.__name__)\nimport sightline\n"
        "try: sightline.SightlineClassifier\n"
        "except sightline.SightlineError as error: print(type(error).__name__, error)"
    )
    assert answer.out.startswith("train\n" + MissingPackage.__name__), answer.err
    assert words in answer.out
    assert "pip install" in answer.out
    assert "'sightline[scikit-learn]'" in answer.out
