from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

import sightline
from sightline.configuration.consistency import KEY_CONDITIONS, num_epochs, recipe_of_each
from sightline.configuration.recipes import RECIPES, keys, override, parse_recipe, read_recipe
from sightline.configuration.schema import (
    DataRecipe,
    EnsembleRecipe,
    LossRecipe,
    ModelRecipe,
    OptimizerRecipe,
    Recipe,
    ScheduleRecipe,
    TrainingRecipe,
)
from sightline.errors import InvalidValue, SightlineError, UnknownName

KEYS = keys()
DEFAULT = sightline.Recipe()


def default_of(key: str):
    value = DEFAULT
    for part in key.split("."):
        value = getattr(value, part)
    return value


NUMBERS = [key for key, entry in KEYS.items() if "low" in entry.metadata]
WHOLE_NUMBERS = [key for key in NUMBERS if "int" in str(KEYS[key].type)]
NAMES = [key for key, entry in KEYS.items() if "known" in entry.metadata]
FLAGS = [key for key in KEYS if isinstance(default_of(key), bool)]
TEXTS = [key for key in KEYS if key not in {*NUMBERS, *NAMES, *FLAGS}]
OPTIONAL = [key for key in KEYS if default_of(key) is None]

# What makes a key matter that is refused on its own.
PRETRAINED = {"model.name": "efficientnet-lite0"}
USEFUL = {
    "schedule.warmup_fraction": {"schedule.name": "cosine"},
    "schedule.decay_factor": {"schedule.name": "step"},
    "schedule.num_drops": {"schedule.name": "step"},
    "optimizer.momentum": {"optimizer.name": "sgd"},
    "optimizer.nesterov": {"optimizer.name": "sgd"},
    "loss.focal_gamma": {"loss.name": "categorical_focal_crossentropy"},
    "training.finetune_epochs": PRETRAINED,
    "training.feature_variants": PRETRAINED,
    "training.finetune_part": {**PRETRAINED, "training.finetune_epochs": 2},
    "optimizer.lowest_rate_share": {**PRETRAINED, "training.finetune_epochs": 2},
    "training.epochs": {"model.name": "lenet5"},
    "model.activation": {"model.name": "convnet"},
    "model.pixel_scaling": {"model.name": "mlp"},
    "augmentation.randaugment_operations": {"augmentation.randaugment_magnitude": 0.5},
    "ensemble.members": {"ensemble.kind": "bagging"},
    "ensemble.networks": {"ensemble.kind": "deep"},
    "model.name": {},
    "model.dropout": {"model.name": "convnet"},
    "data.keep_classes": {"model.weights": "runs/first"},
}
OTHERS = {
    "schedule.warmup_fraction": (0.2, {"schedule.name": "constant"}, "with schedule.name=cosine or one-cycle"),
    "schedule.decay_factor": (0.5, {"schedule.name": "cosine"}, "with schedule.name=step or exponential"),
    "schedule.num_drops": (5, {"schedule.name": "exponential"}, "with schedule.name=step"),
    "optimizer.momentum": (0.5, {"optimizer.name": "adam"}, "with optimizer.name=sgd, rmsprop or muon"),
    "optimizer.nesterov": (True, {"optimizer.name": "rmsprop"}, "with optimizer.name=sgd"),
    "loss.focal_gamma": (1.0, {"loss.name": "categorical_crossentropy"}, "categorical_focal_crossentropy"),
    "training.finetune_epochs": (3, {"model.name": "lenet5"}, "for a pretrained network"),
    "training.feature_variants": (3, {**PRETRAINED, "model.weights": "random"}, "for a pretrained network"),
    "training.finetune_part": ("all", PRETRAINED, "with training.finetune_epochs above 0"),
    "optimizer.lowest_rate_share": (0.1, PRETRAINED, "with training.finetune_epochs above 0"),
    "training.epochs": (20, PRETRAINED, "training.finetune_epochs=20; to learn from scratch, --recipe photos"),
    "model.activation": ("gelu", {**PRETRAINED, "model.weights": "random"}, "without a backbone"),
    "model.pixel_scaling": ("none", PRETRAINED, "without a backbone"),
    "augmentation.randaugment_operations": (3, {"augmentation.randaugment_magnitude": 0}, "Here augmentation.rand"),
    "ensemble.members": (7, {}, "with ensemble.kind other than none"),
    "model.name": ("convnet", {"ensemble.kind": "deep", "ensemble.networks": "lenet5,mlp"}, "without ensemble.n"),
    "ensemble.networks": ("lenet5,mlp", {"ensemble.kind": "bagging"}, "with ensemble.kind=deep"),
    "model.dropout": (0.5, {"model.name": "custom"}, "for a network that Sightline builds"),
    "data.keep_classes": (True, {"model.weights": "random"}, "where a training begins with a run (--from RUN)"),
}


@pytest.mark.parametrize("key", KEY_CONDITIONS)
def test_a_key_that_would_change_nothing_is_refused_with_what_it_needs(key: str) -> None:
    value, others, words = OTHERS[key]
    section, _, name = key.partition(".")
    with pytest.raises(InvalidValue, match=f"{key}=.* would change nothing: it matters only ") as refusal:
        parse_recipe({key: value, **others})
    assert words in str(refusal.value)
    useful = parse_recipe({key: value, **USEFUL[key]})
    assert getattr(getattr(useful, section), name) == value
    default = default_of(key)
    assert getattr(getattr(parse_recipe({key: default, **others}), section), name) == default, (
        "a default is no conflict"
    )


def test_what_a_recipe_was_started_with_is_no_conflict_and_is_gone_where_it_has_no_use() -> None:
    start = parse_recipe({"schedule": {"name": "cosine", "warmup_fraction": 0.2}, "optimizer.learning_rate": 0.5})
    changed = override(start, ["schedule.name=constant"])
    assert (changed.schedule.warmup_fraction, changed.optimizer.learning_rate) == (0.3, 0.5)
    assert parse_recipe(changed.to_dict()) == changed
    assert override(start, ["schedule.name=one-cycle"]).schedule.warmup_fraction == 0.2
    with pytest.raises(InvalidValue, match=r"schedule\.warmup_fraction=0\.1 would change nothing"):
        override(start, ["schedule.warmup_fraction=0.1", "schedule.name=constant"])


def test_what_decides_that_a_key_has_no_use_is_named_as_it_is_now() -> None:
    with pytest.raises(InvalidValue, match=r"Here model\.name is efficientnet-lite0 and model\.weights is random"):
        parse_recipe({"training.finetune_epochs": 3, **PRETRAINED, "model.weights": "random"})
    with pytest.raises(InvalidValue, match=r"and training\.finetune_epochs is 0\. Change that"):
        parse_recipe({"training.finetune_part": "all", **PRETRAINED})


def test_typed_epochs_of_a_pretrained_network_are_refused_at_their_default_too_but_not_in_a_file() -> None:
    pretrained = parse_recipe(PRETRAINED)
    with pytest.raises(InvalidValue, match=r"training\.epochs=6 would change nothing"):
        override(pretrained, ["training.epochs=6"])
    assert parse_recipe(pretrained.to_dict()) == pretrained


def test_typed_members_without_an_ensemble_are_refused_at_their_default_too_but_not_in_a_file() -> None:
    with pytest.raises(InvalidValue, match=r"ensemble\.members=5 would change nothing: .* Here ensemble\.kind is none"):
        override(Recipe(), ["ensemble.members=5"])
    assert parse_recipe(Recipe().to_dict()) == Recipe()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"training.time_budget_seconds": 60}, r"time_budget_seconds is for one network; got ensemble\.kind=deep"),
        ({"ensemble.networks": "lenet5,efficientnet-lite0"}, "some start from pretrained weights and some from noth"),
        ({"ensemble.networks": "lenet6"}, r"no model is called 'lenet6'\. Did you mean 'lenet5'"),
        ({"ensemble.networks": "lenet5,,mlp"}, r"ensemble\.networks must be names of models,.* got 'lenet5,,mlp'"),
        ({"ensemble.networks": ""}, r"ensemble\.networks must be names of models,.* got ''"),
        (
            {"ensemble.networks": "mlp,lenet5,convnet", "ensemble.members": 2},
            r"names 3 networks, and ensemble\.members=2 trains only the first 2 of them\. Set ensemble\.members=3",
        ),
        (
            {"ensemble.kind": "soup", "data.validation_fraction": 0},
            r"=soup judges weights on validation rows; got data\.",
        ),
        ({"ensemble.kind": "greedy-soup", "data.validation_fraction": 0.0}, "Leave it out, or take ensemble"),
        ({"ensemble.kind": "bag"}, "'bag'"),
        ({"ensemble.test_views": "flip"}, "'flip'"),
        ({"ensemble.members": 1}, r"ensemble\.members must be"),
        ({"ensemble.members": 1001}, r"ensemble\.members must be"),
        ({"ensemble.members": math.nan}, r"ensemble\.members must be"),
        ({"ensemble.members": "ten"}, r"ensemble\.members must be"),
    ],
)
def test_an_ensemble_that_cannot_be_is_refused_before_anything_is_opened(settings: dict, told: str) -> None:
    with pytest.raises((InvalidValue, UnknownName), match=told):
        parse_recipe({"ensemble.kind": "deep"} | settings)


def test_ensembles_that_can_be_are_let_pass() -> None:
    assert parse_recipe({"ensemble.kind": "deep", "data.validation_fraction": 0}).ensemble.kind == "deep"
    soup = {"ensemble.kind": "soup", "data.validation_fraction": 0, "data.splits_file": "splits.csv"}
    assert parse_recipe(soup).ensemble.kind == "soup"
    assert parse_recipe({"ensemble.kind": "deep", "ensemble.networks": "lenet5, mlp"}).ensemble.members == 5


def test_of_several_networks_the_first_decides_which_keys_matter() -> None:
    networks = {"ensemble.kind": "deep", "ensemble.networks": "mobilenet-v2,efficientnet-lite0"}
    recipe = parse_recipe(networks | {"training.finetune_epochs": 2}, start=parse_recipe(PRETRAINED))
    assert (recipe.model.name, recipe.training.finetune_epochs) == ("auto", 2)
    assert parse_recipe(recipe.to_dict()) == recipe


@pytest.mark.parametrize("key", ["training.epochs", "seed", "data.image_size", "augmentation.blur_sigma"])
def test_a_number_larger_than_any_float_is_refused_as_out_of_range(key: str) -> None:
    for refusing in (lambda: override(DEFAULT, [f"{key}={10**400}"]), lambda: parse_recipe({key: 10**400})):
        with pytest.raises(InvalidValue, match=f"{key} must be a "):
            refusing()


@pytest.mark.parametrize("seconds", [1, 15])
def test_a_budget_below_what_comes_after_the_last_epoch_is_refused_at_once(seconds: float) -> None:
    with pytest.raises(InvalidValue, match=f"training.time_budget_seconds={seconds} leaves no time to learn"):
        parse_recipe({"training.time_budget_seconds": seconds})
    assert parse_recipe({"training.time_budget_seconds": 16}).training.time_budget_seconds == 16


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("null", None)])
def test_a_time_is_read_in_seconds_minutes_or_hours(text: str, seconds: float | None) -> None:
    assert override(Recipe(), [f"training.time_budget_seconds={text}"]).training.time_budget_seconds == seconds


@pytest.mark.parametrize("text", ["1.2.3m", "m", "-5m", "0", "5 m", "nan"])
def test_what_is_no_time_is_refused_by_its_key(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"training\.time_budget_seconds must be"):
        override(Recipe(), [f"training.time_budget_seconds={text}"])


def test_every_key_falls_into_exactly_one_kind() -> None:
    assert len(NUMBERS) + len(NAMES) + len(FLAGS) + len(TEXTS) == len(KEYS)
    assert all("str" in str(KEYS[key].type) for key in TEXTS)
    assert all(entry.metadata.get("doc") for key, entry in KEYS.items() if key != "name")


def test_the_keys_that_the_design_names_exist() -> None:
    promised = """seed data.validation_fraction data.calibration_fraction data.test_fraction data.image_size
    data.color_mode data.resize model.name model.activation model.dropout augmentation.policy
    augmentation.rotation_degrees optimizer.name optimizer.learning_rate optimizer.weight_decay optimizer.momentum
    schedule.name schedule.warmup_fraction loss.name loss.label_smoothing training.epochs training.batch_size
    training.early_stopping_patience"""
    assert set(promised.split()) <= set(KEYS)


def test_the_fractions_default_to_what_the_design_says() -> None:
    assert (DEFAULT.data.validation_fraction, DEFAULT.data.calibration_fraction, DEFAULT.data.test_fraction) == (
        0.1,
        0.1,
        0.2,
    )


@pytest.mark.parametrize("key", KEYS)
def test_every_default_is_accepted_when_it_is_given(key: str) -> None:
    assert parse_recipe({key: default_of(key)}) == DEFAULT


@pytest.mark.parametrize("key", KEYS)
def test_every_default_is_accepted_as_text(key: str) -> None:
    default = default_of(key)
    text = "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
    # Whoever types --members means an ensemble.
    start = override(DEFAULT, ["ensemble.kind=deep"]) if key == "ensemble.members" else DEFAULT
    assert override(start, [f"{key}={text}"]) == start


def test_a_recipe_survives_json() -> None:
    recipe = parse_recipe(
        {
            "seed": 7,
            "training": {"epochs": 3, "early_stopping_patience": 2},
            "augmentation": {"policy": "digits", "rotation_degrees": 4.5, "flip": "none"},
            "data.image_size": 32,
        }
    )
    assert parse_recipe(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_a_recipe_survives_its_file(tmp_path: Path) -> None:
    recipe = sightline.recipe("tutorial", {"seed": 5})
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe.to_dict()), encoding="utf-8")
    assert read_recipe(path) == recipe
    assert sightline.recipe(path) == recipe
    assert sightline.recipe(str(path)) == recipe


def test_a_recipe_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT.training.epochs = 1  # type: ignore[misc]


def test_what_is_left_out_keeps_the_value_of_the_start() -> None:
    start = parse_recipe({"training.epochs": 9, "seed": 3})
    assert parse_recipe({"training.batch_size": 32}, start=start).training.epochs == 9
    assert override(start, ["training.batch_size=32"]).seed == 3


@pytest.mark.parametrize("text", ["false", "False", "FALSE"])
def test_the_text_false_is_false(text: str) -> None:
    started = parse_recipe({"optimizer.name": "sgd", "optimizer.nesterov": True})
    assert override(started, [f"optimizer.nesterov={text}"]).optimizer.nesterov is False


@pytest.mark.parametrize("key", FLAGS)
@pytest.mark.parametrize("text", ["0", "1", "yes", "", "null"])
def test_a_flag_takes_true_and_false_alone(key: str, text: str) -> None:
    with pytest.raises(InvalidValue, match=f"{key} must be true or false"):
        override(DEFAULT, [f"{key}={text}"])


@pytest.mark.parametrize("key", FLAGS)
@pytest.mark.parametrize("value", [0, 1, "true", None, 1.0])
def test_a_flag_in_json_is_a_boolean(key: str, value: object) -> None:
    with pytest.raises(InvalidValue, match=key):
        parse_recipe({key: value})


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, [], [1], "ten", ""])
def test_a_number_is_finite_and_a_number(key: str, value: object) -> None:
    with pytest.raises(InvalidValue, match=key):
        parse_recipe({key: value})


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "true", "ten", "", "1e999", "1,5", "0x10"])
def test_a_number_in_text_is_finite_and_a_number(key: str, text: str) -> None:
    with pytest.raises(InvalidValue, match=key):
        override(DEFAULT, [f"{key}={text}"])


@pytest.mark.parametrize("key", NUMBERS)
def test_a_number_below_its_range_is_refused(key: str) -> None:
    metadata = KEYS[key].metadata
    below = metadata["low"] if metadata.get("above") else metadata["low"] - 1
    with pytest.raises(InvalidValue, match=f"{key} must be") as refusal:
        parse_recipe({key: below})
    assert f"; got {below!r}." in str(refusal.value)


@pytest.mark.parametrize("key", NUMBERS)
def test_a_number_above_its_range_is_refused(key: str) -> None:
    with pytest.raises(InvalidValue, match=f"{key} must be"):
        parse_recipe({key: KEYS[key].metadata["high"] * 2 + 1})


@pytest.mark.parametrize("key", WHOLE_NUMBERS)
@pytest.mark.parametrize("text", ["5.5", "5.0000001"])
def test_a_whole_number_is_not_rounded(key: str, text: str) -> None:
    with pytest.raises(InvalidValue, match=f"{key} must be a whole number"):
        override(DEFAULT, [f"{key}={text}"])


@pytest.mark.parametrize("key", WHOLE_NUMBERS)
def test_a_whole_number_may_be_written_as_a_float(key: str) -> None:
    changed = parse_recipe({key: 5.0, **USEFUL.get(key, {})}).to_dict()
    section, _, name = key.rpartition(".")
    value = (changed[section] if section else changed)[name]
    assert value == 5
    assert type(value) is int


@pytest.mark.parametrize("key", NAMES)
def test_an_unknown_name_is_refused_with_the_known_ones(key: str) -> None:
    with pytest.raises(UnknownName, match="Known: ") as refusal:
        parse_recipe({key: "no-such-name"})
    assert key in str(refusal.value)
    assert all(name in str(refusal.value) for name in KEYS[key].metadata["known"])


@pytest.mark.parametrize("key", NAMES)
@pytest.mark.parametrize("value", [1, 0.5, True, ["relu"]])
def test_a_name_is_a_text(key: str, value: object) -> None:
    with pytest.raises(InvalidValue, match=key):
        parse_recipe({key: value})


@pytest.mark.parametrize("key", TEXTS)
@pytest.mark.parametrize("value", [1, 0.5, True, ["a"]])
def test_a_text_is_a_text(key: str, value: object) -> None:
    with pytest.raises(InvalidValue, match=f"{key} must be a text"):
        parse_recipe({key: value})


@pytest.mark.parametrize("key", [key for key in KEYS if key not in OPTIONAL])
def test_null_is_taken_only_where_it_means_something(key: str) -> None:
    with pytest.raises(InvalidValue, match=key):
        parse_recipe({key: None})


@pytest.mark.parametrize("key", OPTIONAL)
def test_null_switches_an_optional_key_back_off(key: str) -> None:
    assert override(DEFAULT, [f"{key}=null"]) == DEFAULT


def test_none_is_a_flip_of_its_own() -> None:
    assert override(DEFAULT, ["augmentation.flip=none"]).augmentation.flip == "none"
    assert override(DEFAULT, ["augmentation.flip=null"]).augmentation.flip is None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("training.epoch", "training.epochs"),
        ("optimizer.lr", "optimizer."),
        ("optimiser.name", "optimizer.name"),
        ("data.batch_size", "data."),
        ("sed", "seed"),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(typed: str, meant: str) -> None:
    with pytest.raises(UnknownName, match=f"no recipe key is called '{typed}'") as refusal:
        parse_recipe({typed: 1})
    assert meant in str(refusal.value)


def test_an_unknown_section_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"no recipe key is called 'trainig\.epochs'"):
        parse_recipe({"trainig": {"epochs": 3}})


def test_a_section_cannot_be_a_plain_value() -> None:
    with pytest.raises(UnknownName, match="no recipe key is called 'training'"):
        parse_recipe({"training": 3})


@pytest.mark.parametrize("assignment", ["training.epochs", "training.epochs:3", ""])
def test_an_assignment_without_an_equals_sign_is_refused(assignment: str) -> None:
    with pytest.raises(InvalidValue, match="--set takes key=value"):
        override(DEFAULT, [assignment])


def test_a_misspelt_word_for_the_image_size_is_refused() -> None:
    with pytest.raises(
        InvalidValue, match=r"data\.image_size must be a whole number .*; got 'big'\. 'auto' is allowed"
    ):
        override(DEFAULT, ["data.image_size=big"])


def test_epochs_ten_gets_the_sentence_of_the_design() -> None:
    with pytest.raises(InvalidValue, match=r"epochs must be a whole number of at least 1; got 'ten'\."):
        override(DEFAULT, ["training.epochs=ten"])


MIXED = {"augmentation.mixup_alpha": 0.2, "loss.name": "categorical_crossentropy"}


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"data.validation_fraction": 0.6, "data.calibration_fraction": 0.4}, "at least 5 %"),
        ({"training.early_stopping_patience": 2, "data.validation_fraction": 0}, "needs validation rows"),
        ({"loss.label_smoothing": 0.1}, "loss.name=categorical_crossentropy"),
        ({"augmentation.mixup_alpha": 0.2}, "augmentation.mixup_alpha: .* Set loss.name=categorical_crossentropy"),
        ({"augmentation.cutmix_alpha": 1.0}, "augmentation.cutmix_alpha: .* Set loss.name=categorical_crossentropy"),
        ({**MIXED, "training.batch_size": 1}, "within a batch; got training.batch_size=1"),
        ({**MIXED, "model.name": "efficientnet-lite0"}, "training.finetune_epochs=0 fits a head"),
        (
            {**MIXED, "model.name": "efficientnet-lite0", "training.finetune_epochs": "auto"},
            "stored activations, which are not mixed. Set training.finetune_part=all",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(settings: dict[str, object], part: str) -> None:
    with pytest.raises(InvalidValue, match=part):
        parse_recipe(settings)


@pytest.mark.parametrize(
    "settings",
    [
        MIXED,
        {"augmentation.mixup_alpha": 0, "augmentation.cutmix_alpha": 0},
        {**MIXED, "model.name": "efficientnet-lite0", "model.weights": "random"},
        {
            **MIXED,
            "model.name": "efficientnet-lite0",
            "training.finetune_epochs": "auto",
            "training.finetune_part": "all",
        },
        # No stored activations: its whole is fine-tuned anyway.
        {**MIXED, "model.name": "convnext", "training.finetune_epochs": 1},
    ],
)
def test_mixing_is_taken_where_a_network_learns_from_images(settings: dict[str, object]) -> None:
    assert parse_recipe(settings).augmentation.mixup_alpha in (0, 0.2)


@pytest.mark.parametrize(
    ("key", "too_much"),
    [
        ("crop_fraction", 0.91),
        ("saturation", 1.1),
        ("hue", 0.51),
        ("erasing_fraction", 0.95),
        ("blur_sigma", 11),
        ("randaugment_magnitude", 1.5),
        ("randaugment_operations", 11),
        ("mixup_alpha", 10.5),
        ("cutmix_alpha", 11),
    ],
)
def test_strengths_out_of_range_are_refused(key: str, too_much: float) -> None:
    for value in (too_much, -1, float("nan")):
        with pytest.raises(InvalidValue, match=f"augmentation.{key} must be a"):
            parse_recipe({f"augmentation.{key}": value})


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "not a JSON file"),
        (b"{", "not a JSON file"),
        (b"\xff\xfe\x00", "not a JSON file"),
        (b"[1]", "a recipe is a JSON object"),
        (b'{"training": {"epochs": 0}}', "training.epochs must be"),
        (b'{"training": {"epochs": NaN}}', "NaN is no finite number"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "nested more than 32 deep"),
        (b'{"trainings": {}, "seeed": 1}', "no recipe key is called 'seeed'"),
    ],
)
def test_a_bad_recipe_file_is_refused(content: bytes, part: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(content)
    with pytest.raises(InvalidValue, match=part):
        sightline.recipe(path)


def test_a_missing_recipe_file_is_refused_by_name() -> None:
    with pytest.raises(InvalidValue, match=r"nowhere\.json: cannot be read as a recipe"):
        sightline.recipe("nowhere.json")


def test_an_unknown_recipe_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"no recipe is called 'fats'\. Did you mean 'fast'"):
        sightline.recipe("fats")


def test_one_text_is_no_list_of_settings() -> None:
    with pytest.raises(InvalidValue, match="settings are a mapping or a list"):
        sightline.recipe("fast", "training.epochs=3")


@pytest.mark.parametrize("name", [row["name"] for row in sightline.recipes()])
def test_every_named_recipe_is_valid_and_bears_its_name(name: str) -> None:
    recipe = sightline.recipe(name)
    assert recipe.name == name
    assert parse_recipe(recipe.to_dict()) == recipe


def test_the_tutorial_recipe_is_what_the_tutorial_prints() -> None:
    recipe = sightline.recipe("tutorial")
    assert (recipe.model.name, recipe.model.pixel_scaling, recipe.model.activation) == ("lenet5", "none", "relu")
    assert (recipe.optimizer.name, recipe.optimizer.learning_rate) == ("adam", 0.001)
    assert (recipe.loss.name, recipe.schedule.name) == ("sparse_categorical_crossentropy", "constant")
    assert (recipe.training.epochs, recipe.training.batch_size) == (50, 128)
    assert (recipe.data.validation_fraction, recipe.augmentation.policy) == (0.2, "none")


REFUSED_CALLS = (
    "sightline.recipe('fast', {'training.epochs': 'ten'})",
    "sightline.recipe('fast', ['trainig.epochs=3'])",
    "sightline.recipe('fats')",
    "sightline.train('mnits')",
    "sightline.train('mnist', recipe='fats')",
    "sightline.train('mnist', backend='tensorfow')",
    "sightline.train('mnist', log_every=0)",
    "sightline.train('mnist', out='/')",
    "sightline.evaluate('nowhere')",
    "sightline.predict('nowhere', ['a.png'])",
)


def test_refusals_come_before_anything_heavy_is_imported(python) -> None:
    program = f"""
import sys, sightline
for call in {REFUSED_CALLS!r}:
    try:
        eval(call)
    except sightline.SightlineError:
        heavy = {{"keras", "tensorflow", "jax", "torch", "matplotlib"}} & set(sys.modules)
        print(call, *heavy) if heavy else None
    else:
        print(call, "was not refused")
"""
    answer = python(program)
    assert (answer.code, answer.out) == (0, ""), answer.err


def test_every_error_of_the_house_is_a_sightline_error() -> None:
    from sightline import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 5
    assert all(issubclass(kind, SightlineError) for kind in kinds)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: TrainingRecipe(epochs=-3), r"training\.epochs must be a whole number of at least 1; got -3\."),
        (
            lambda: OptimizerRecipe(name="adamz"),
            r"optimizer\.name: no optimizer is called 'adamz'\. Did you mean",
        ),
        (
            lambda: OptimizerRecipe(learning_rate=math.nan),
            r"optimizer\.learning_rate must be a number above 0.* nan",
        ),
        (lambda: DataRecipe(validation_fraction=2.0), r"data\.validation_fraction must be .* at most 0\.9; got 2\.0"),
        (lambda: DataRecipe(identity="yes"), r"data\.identity must be true or false; got 'yes'"),
        (lambda: ModelRecipe(dropout="some"), r"model\.dropout must be a number"),
        (lambda: EnsembleRecipe(members=2.5), r"ensemble\.members must be a whole number"),
        (lambda: Recipe(seed=-1), r"seed must be a whole number of at least 0; got -1"),
        (lambda: Recipe(name=3), r"name must be a text; got 3"),
        (lambda: Recipe(training={"epochs": 3}), r"training must be a TrainingRecipe; got \{'epochs': 3\}"),
        (lambda: Recipe(training=OptimizerRecipe()), r"training must be a TrainingRecipe; got OptimizerRecipe"),
        (lambda: Recipe(loss=LossRecipe(label_smoothing=0.1)), r"loss\.label_smoothing=0\.1 needs labels"),
        (lambda: dataclasses.replace(TrainingRecipe(), batch_size=0), r"training\.batch_size must be"),
        (
            lambda: dataclasses.replace(Recipe(), data=DataRecipe(validation_fraction=0.6, calibration_fraction=0.5)),
            r"together must leave at least 5 % to train on",
        ),
    ],
)
def test_a_recipe_made_in_python_is_checked_as_one_that_is_typed(make, told: str) -> None:
    with pytest.raises((InvalidValue, UnknownName), match=told):
        make()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: Recipe(schedule=ScheduleRecipe(decay_factor=0.5)),
            r"^schedule\.decay_factor=0\.5 would change nothing: it matters only with schedule\.name=step",
        ),
        (
            lambda: Recipe(ensemble=EnsembleRecipe(members=3)),
            r"^ensemble\.members=3 would change nothing: .* Here ensemble\.kind is none",
        ),
        (
            lambda: dataclasses.replace(sightline.recipe("transfer"), training=TrainingRecipe(epochs=9)),
            r"^training\.epochs=9 would change nothing: .* --set training\.finetune_epochs=9",
        ),
        (
            lambda: Recipe().changed({"optimizer.name": "adam", "optimizer.momentum": 0.5}),
            r"^optimizer\.momentum=0\.5 would change nothing",
        ),
        (
            lambda: sightline.recipe("fast").changed({"model.activation": "tanh", "model.name": "mobilenet-v2"}),
            r"^model\.activation=tanh would change nothing",
        ),
    ],
)
def test_a_key_without_effect_is_refused_in_python_as_where_it_is_typed(make, told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        make()


def test_what_has_lost_its_use_goes_back_to_its_default_when_a_recipe_is_changed() -> None:
    warm = sightline.recipe("fast", {"schedule.warmup_fraction": 0.1})
    still = warm.changed({"schedule.name": "constant"})
    assert still.schedule == ScheduleRecipe()
    assert warm.schedule.warmup_fraction == 0.1
    deep = Recipe(ensemble=EnsembleRecipe(kind="deep", members=2, networks="lenet5,convnet"))
    alone = deep.changed({"ensemble.kind": "none", "model.name": "convnet"})
    assert alone == Recipe(model=ModelRecipe(name="convnet"))
    tuned = sightline.recipe("transfer", {"training.finetune_part": "all"})
    assert tuned.changed({"model.name": "lenet5"}).training.finetune_part == "upper"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"schedule": {"num_drops": 5}}', r"old\.json: schedule\.num_drops=5 would change nothing"),
        ('{"seeds": 5}', r"old\.json: no recipe key is called 'seeds'"),
        ('{"training": {"epochs": 0}}', r"old\.json: training\.epochs must be"),
    ],
)
def test_what_is_wrong_in_a_recipe_file_is_told_with_its_name(content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(content)
    with pytest.raises(SightlineError, match=told):
        sightline.recipe(tmp_path / "old.json")


@pytest.mark.parametrize("key", ["sead", "training.epoch", "trainings.epochs", "data.section", "to_dict", "training"])
def test_a_recipe_is_not_changed_in_what_is_no_key_of_it(key: str) -> None:
    with pytest.raises(SightlineError):
        Recipe().changed({key: 3})


@pytest.mark.parametrize("name", RECIPES)
def test_each_network_of_an_ensemble_has_a_recipe_of_its_own(name: str) -> None:
    recipe = sightline.recipe(name)
    assert recipe_of_each(recipe) == {recipe.model.name: recipe}


def test_a_pretrained_network_learns_from_images_for_the_epochs_of_its_fine_tuning() -> None:
    tuned = {"training.finetune_epochs": 4}
    assert num_epochs(sightline.recipe("transfer", tuned)) == 4
    assert num_epochs(sightline.recipe("transfer", {"model.weights": "random", "training.epochs": 5})) == 5


def test_a_recipe_made_in_python_is_the_one_that_is_parsed() -> None:
    made = Recipe(seed=3.0, training=TrainingRecipe(epochs=4.0), optimizer=OptimizerRecipe(learning_rate=1))
    assert made == parse_recipe({"seed": 3, "training.epochs": 4, "optimizer.learning_rate": 1.0})
    assert json.dumps(made.to_dict()) == json.dumps(parse_recipe(made.to_dict()).to_dict())


@pytest.mark.parametrize(
    "make",
    [
        lambda: override(DEFAULT, ["training.epochs=1", "training.epochs=2"]),
        lambda: override(DEFAULT, ["training.epochs=1", " training.epochs = 2"]),
        lambda: parse_recipe({"training": {"epochs": 1}, "training.epochs": 2}),
        lambda: sightline.recipe("photos", {"training.epochs": 1, "training": {"epochs": 2}}),
    ],
)
def test_a_key_with_two_values_is_refused_with_both(make) -> None:
    with pytest.raises(InvalidValue, match=r"^training\.epochs is set twice, to 1 and to 2\. Set it once\.$"):
        make()


def test_a_recipe_file_with_a_key_twice_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"training": {"epochs": 1, "epochs": 2}}', encoding="utf-8")
    with pytest.raises(InvalidValue, match=r"the key 'epochs' is given twice"):
        read_recipe(path)


def test_mixing_is_refused_where_any_of_several_networks_learns_from_stored_activations() -> None:
    several = {
        "ensemble.kind": "deep",
        "ensemble.networks": "convnext,mobilenet-v2",
        "training.finetune_epochs": 2,
    }
    with pytest.raises(InvalidValue, match=r"finetune_part=upper learns from stored activations"):
        parse_recipe({**several, "augmentation.mixup_alpha": 0.2, "loss.name": "categorical_crossentropy"})
