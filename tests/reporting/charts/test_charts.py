"""Learning curves and the confusion matrix: what they show, refuse, and leave alone."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sightline.errors import InvalidValue
from sightline.metrics.calibration.reliability import Reliability
from sightline.metrics.history import settled_accuracy, smooth
from sightline.records import Evaluation, Figure
from sightline.reporting.charts.canvas import VERMILLION
from sightline.reporting.charts.confusion import confusion_png, draw_confusion, shown_classes
from sightline.reporting.charts.curves import curves_png, draw_curves
from sightline.reporting.charts.overlay import COLORS, Course, draw_overlay, overlay_png, spread
from sightline.reporting.charts.reliability import draw_reliability, reliability_png

matplotlib = pytest.importorskip("matplotlib")

WIDTHS = (901, 902)  # matplotlib 3.9 rounds 8.2 inches down, 3.10 up


# Too sure at 0.95, of which 0.8 are right; at 0.75 by chance alone.
CONFIDENCES = np.where(np.arange(200) < 150, 0.95, 0.75)


def history(num_epochs: int) -> list[dict[str, float]]:
    random = np.random.default_rng(0)
    return [
        {
            "epoch": epoch,
            "loss": float(0.01 + np.exp(-epoch)),
            "accuracy": float(0.99 - 0.5 * np.exp(-epoch)),
            "validation_loss": float(0.03 + 0.5 * np.exp(-epoch)),
            "validation_accuracy": float(0.985 - 0.2 * np.exp(-epoch) + random.normal(0, 0.001)),
            "learning_rate": 0.001,
            "seconds": 1.0,
        }
        for epoch in range(1, num_epochs + 1)
    ]


def evaluation(counts: np.ndarray, names: list[str] | None = None) -> Evaluation:
    num_classes, num_images, num_correct = len(counts), int(counts.sum()), int(np.trace(counts))
    accuracy, some = num_correct / max(num_images, 1), np.full(num_classes, 0.5)
    return Evaluation(
        class_names=tuple(names or [f"class {label}" for label in range(num_classes)]),
        num_images=num_images,
        num_correct=num_correct,
        num_unreadable=0,
        figures={"accuracy": Figure("accuracy", accuracy, (accuracy - 0.01, accuracy + 0.005))},
        confusion=counts,
        precision=some,
        recall=some,
        f1=some,
        most_confused=(),
        reliability=Reliability(CONFIDENCES, np.arange(200) % 5 > 0),
    )


def opened(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        assert image.info["Software"] == "Sightline"  # neither the library nor its version
        return np.asarray(image.convert("RGB"))


def color_is_in(picture: np.ndarray, color: str) -> bool:
    wanted = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    return bool((picture == wanted).all(axis=2).any())


@pytest.mark.parametrize("num_epochs", [1, 2, 7, 8, 500])
def test_curves_of_any_length_are_drawn(num_epochs):
    picture = opened(curves_png(history(num_epochs), chosen_epoch=num_epochs))
    assert picture.shape in {(825, width, 3) for width in WIDTHS}
    assert color_is_in(picture, VERMILLION)


def test_the_chosen_epoch_is_named_with_its_values():
    records = history(6)
    figure = draw_curves(records, chosen_epoch=4)
    expected = f"training {records[3]['accuracy']:.4f}, validation {records[3]['validation_accuracy']:.4f}"
    assert figure.axes[0].get_title(loc="right") == f"chosen epoch 4: {expected}"


def test_a_short_history_is_not_smoothed_and_a_long_one_says_how():
    texts = [
        [text.get_text() for text in draw_curves(history(num), chosen_epoch=1).legends[0].get_texts()]
        for num in (7, 60)
    ]
    assert texts[0] == ["training", "validation"]
    assert texts[1][2:] == ["as measured", "moving average over 5 epochs, fewer at the start"]


def test_without_validation_and_learning_rate_two_panels_remain():
    records = [{key: record[key] for key in ("epoch", "loss", "accuracy")} for record in history(9)]
    figure = draw_curves(records, chosen_epoch=9)
    assert len(figure.axes) == 2
    assert not color_is_in(opened(curves_png(records, chosen_epoch=9)), VERMILLION)


def test_the_accuracy_axis_spends_its_room_on_the_settled_epochs_and_says_so():
    panel = draw_curves(history(40), chosen_epoch=40).axes[0]
    lower, upper = panel.get_ylim()
    assert 0.97 < lower < 0.985
    assert upper < 1.01
    assert max(panel.get_yticks()) <= 1
    assert panel.get_title(loc="left").startswith("the axis begins at 0.9")


def test_a_loss_that_was_not_a_number_leaves_a_gap_and_no_crash():
    records = history(10)
    records[4]["loss"] = float("nan")
    records[5]["validation_loss"] = float("inf")
    opened(curves_png(records, chosen_epoch=5))
    for record in records:
        record.update(loss=float("nan"), accuracy=float("nan"), validation_loss=float("nan"))
    opened(curves_png(records, chosen_epoch=5))


def test_smoothing_is_the_weighted_mean_of_its_definition():
    values = np.random.default_rng(1).random(30)
    values[7] = np.nan
    expected = []
    for here in range(30):
        span = min(5, max(1, (here + 1) / 4))
        factor = 1 - 2 / (span + 1)
        pairs = [(factor ** abs(there - here), values[there]) for there in range(30) if there != 7]
        expected.append(sum(w * v for w, v in pairs) / sum(w for w, _ in pairs))
    expected[7] = np.nan
    np.testing.assert_allclose(smooth(values, 5), expected, rtol=1e-12)


def test_smoothing_leaves_a_constant_and_does_not_shift_a_line():
    np.testing.assert_allclose(smooth(np.full(50, 0.7), 9), 0.7)
    line = np.arange(400.0)
    np.testing.assert_allclose(smooth(line, 9)[60:-60], line[60:-60], atol=1e-4)


def test_a_span_below_one_is_refused():
    for span in (0.0, float("nan")):
        with pytest.raises(InvalidValue, match="span must be at least 1"):
            smooth(np.zeros(3), span)


def test_an_accuracy_axis_never_begins_below_zero_nor_above_a_settled_value():
    random = np.random.default_rng(2)
    for _ in range(50):
        values = random.random(20)
        lower = settled_accuracy([values])
        assert 0 <= lower <= values[5:].min()


@pytest.mark.parametrize(
    ("records", "chosen_epoch", "message"),
    [
        ([], 1, "history must hold at least one epoch"),
        ([{"epoch": 1, "loss": 1.0}], 1, r"history\[0\] must have the key 'accuracy'; got epoch, loss"),
        (history(3)[::-1], 1, "count up from 1"),
        ([{**history(1)[0], "epoch": 0}], 0, "count up from 1"),
        (history(3), 4, "chosen_epoch must be one of the history's 3 epochs; got 4"),
    ],
)
def test_a_history_that_cannot_be_drawn_is_refused(records, chosen_epoch, message):
    with pytest.raises(InvalidValue, match=message):
        curves_png(records, chosen_epoch=chosen_epoch)


def test_every_count_up_to_twenty_classes_is_written_and_no_zero():
    panel = draw_confusion(evaluation(np.array([[1200, 3, 0], [0, 50, 1], [0, 0, 7]]))).axes[0]
    assert sorted(text.get_text() for text in panel.texts) == ["1", "1,200", "3", "50", "7"]


def test_rows_are_given_and_columns_predicted_classes():
    panel = draw_confusion(evaluation(np.array([[5, 4], [0, 6]]), ["cat", "dog"])).axes[0]
    written = {text.get_text(): text.get_position() for text in panel.texts}
    assert written["4"] == (1, 0)
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("predicted class", "given class")
    assert [tick.get_text() for tick in panel.get_yticklabels()] == ["cat", "dog"]


def test_one_error_in_a_thousand_is_coloured():
    clean, flawed = np.diag([1000, 1000]), np.array([[999, 1], [0, 1000]])
    pictures = [opened(confusion_png(evaluation(counts))).astype(int) for counts in (clean, flawed)]
    hues = [(picture[:, :, 0] - picture[:, :, 2] > 30) for picture in pictures]
    # The colour bar is alike in both; the cell is not.
    assert hues[1].sum() > hues[0].sum() + 1000


def test_more_than_twenty_classes_have_no_counts_and_more_than_two_hundred_only_the_most_confused():
    assert len(draw_confusion(evaluation(np.eye(21, dtype=np.int64))).axes[0].texts) == 0
    counts = np.diag(np.full(300, 10))
    counts[7, 211] = 4
    counts[211, 9] = 2
    assert shown_classes(counts).tolist() == [7, 9, 211]
    heading = draw_confusion(evaluation(counts)).axes[0].get_title(loc="left")
    assert heading.endswith("the 3 most confused of 300 classes; 6 of 6 errors lie between them")


def test_at_most_fifty_classes_are_shown_and_some_even_without_errors():
    random = np.random.default_rng(3)
    assert len(shown_classes(random.integers(0, 3, (250, 250)))) == 50
    assert shown_classes(np.eye(250, dtype=np.int64)).tolist() == list(range(50))
    assert len(shown_classes(random.integers(0, 3, (200, 200)))) == 200


@pytest.mark.parametrize(
    "names",
    [["猫", "Käfer", "🙂"], ["US$5", "$x^2$ \\frac{", "_"], ["x\udc80", "a\nb", ""], ["long " * 50, "", "ق"]],
)
def test_any_class_name_is_drawn(names):
    opened(confusion_png(evaluation(np.eye(3, dtype=np.int64), names)))


@pytest.mark.parametrize("counts", [np.zeros((3, 3), np.int64), np.array([[4]]), np.array([[0, 0], [3, 2]])])
def test_empty_rows_and_single_classes_are_drawn(counts):
    opened(confusion_png(evaluation(counts)))


def test_points_of_the_reliability_diagram_are_bins_and_those_beyond_chance_are_marked():
    upper, lower = draw_reliability(evaluation(np.eye(2, dtype=np.int64))).axes
    seen = {line.get_label(): line.get_xydata().round(4).tolist() for line in upper.lines}
    assert seen["seen, as chance explains"] == [[0.75, 0.8]]
    assert seen["seen, further off"] == [[0.95, 0.8]]
    assert [text.get_text() for text in lower.texts] == ["50", "150"]
    assert len(upper.patches) == 2  # where perfect confidences would lie
    assert upper.get_title(loc="left").startswith(
        "calibration error 0.1250, p = 0.001\na perfectly calibrated model: 0.0"
    )


def test_one_image_and_certain_answers_have_a_reliability_diagram():
    for confidences, correct in (([0.5], [True]), ([1.0] * 5, [True] * 5)):
        found = replace(evaluation(np.eye(2, dtype=np.int64)), reliability=Reliability(confidences, correct))
        opened(reliability_png(found))


def test_where_all_points_are_as_chance_explains_the_panels_keep_their_place():
    found = Reliability([0.53, 0.56, 0.73, 0.9, 0.98, 0.985], [True] * 6)
    figure = draw_reliability(replace(evaluation(np.eye(2, dtype=np.int64)), reliability=found))
    figure.draw_without_rendering()
    upper, lower = (panel.get_position() for panel in figure.axes)
    assert upper.height + lower.height > 0.7
    assert upper.y0 - lower.y1 < 0.05


def test_an_evaluation_without_confidences_has_no_reliability_diagram():
    with pytest.raises(InvalidValue, match="reliability must be known"):
        draw_reliability(replace(evaluation(np.eye(2, dtype=np.int64)), reliability=None))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.zeros((2, 3), np.int64), "a row and a column for each of 2 class names"),
        (np.array([[1, -1], [0, 1]]), "counts of at least 0"),
        (np.eye(2), "counts of at least 0; got float64"),
    ],
)
def test_a_matrix_that_is_none_is_refused(counts, message):
    with pytest.raises(InvalidValue, match=message):
        confusion_png(evaluation(counts))


def test_the_same_input_gives_the_same_bytes_whatever_the_style_of_the_program():
    counts = np.array([[5, 4], [0, 6]])
    charts = [
        lambda: curves_png(history(9), chosen_epoch=3),
        lambda: confusion_png(evaluation(counts)),
        lambda: reliability_png(evaluation(counts)),
    ]
    plain = [draw() for draw in charts]
    style = {
        "axes.facecolor": "black",
        "figure.facecolor": "black",
        "text.color": "white",
        "axes.grid": True,
        "grid.linestyle": ":",
        "font.family": "serif",
        "font.size": 30,
        "lines.linewidth": 9,
        "lines.marker": "x",
        "savefig.dpi": 30,
        "savefig.bbox": "tight",
        "image.interpolation": "bilinear",
        "image.origin": "lower",
        "axes.edgecolor": "white",
        "xtick.color": "white",
        "legend.fontsize": 30,
        "legend.frameon": True,
    }
    with matplotlib.rc_context(style):
        styled = [draw() for draw in charts]
    assert styled == plain


def test_drawing_changes_no_setting_and_opens_no_figure():
    import sys

    before = dict(matplotlib.rcParams)
    had_pyplot = "matplotlib.pyplot" in sys.modules
    curves_png(history(3), chosen_epoch=3)
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def courses(num_runs: int, num_epochs: int = 12) -> list[Course]:
    return [
        Course(letter, f"runs/run-{letter}", history(num_epochs), num_epochs)
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:num_runs]
    ]


@pytest.mark.parametrize("num_epochs", [1, 2, 7, 8, 100])
def test_curves_of_several_runs_share_a_picture(num_epochs):
    picture = opened(overlay_png([*courses(2, num_epochs), Course("C", "a longer run", history(30), 20)]))
    assert all(color_is_in(picture, color) for color in COLORS[2:3])
    assert picture.shape[1] in WIDTHS


def test_each_of_24_runs_has_a_line_of_its_own_and_its_letter_in_both_panels():
    figure = draw_overlay(courses(24))
    looks = set()
    for panel in figure.axes:
        assert sorted(text.get_text() for text in panel.texts) == sorted("ABCDEFGHIJKLMNOPQRSTUVWX")
        assert all(0 <= text.get_position()[1] <= 1 for text in panel.texts)
        looks |= {(line.get_color(), str(line._dash_pattern)) for line in panel.lines if line.get_linewidth() == 2.2}
    assert len(looks) == 24
    for wrong in ([], courses(25)):
        with pytest.raises(InvalidValue, match=f"from 1 to 24 runs can be drawn in one picture; got {len(wrong)}"):
            draw_overlay(wrong)


@pytest.mark.parametrize("letter", ["W", "i", "\u732b"])
@pytest.mark.parametrize("num_runs", [2, 8])
def test_the_legend_of_several_runs_stays_inside_the_picture_however_long_their_names(letter, num_runs):
    long = [Course(course.letter, letter * 300, course.history, 12) for course in courses(num_runs)]
    figure = draw_overlay(long)
    figure.canvas.draw()
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


def test_a_run_without_validation_rows_is_drawn_by_its_training():
    alone = [{key: row[key] for key in ("epoch", "loss", "accuracy")} for row in history(3)]
    figure = draw_overlay([Course("A", "a", history(3), 3), Course("B", "b", alone, 3)])
    thick = [line for line in figure.axes[0].lines if line.get_linewidth() == 2.2]
    assert thick[1].get_ydata().tolist() == [row["accuracy"] for row in alone]


def test_letters_are_moved_no_further_than_needed():
    assert spread([0.1, 0.5, 0.9]) == [0.1, 0.5, 0.9]
    assert spread([]) == []
    assert spread([0.99]) == [0.97]
    random = np.random.default_rng(0)
    for num_letters in range(1, 25):
        heights = sorted(random.normal(0.8, 0.05, num_letters).tolist())
        placed = spread(heights)
        assert all(0.03 - 1e-12 <= height <= 0.97 + 1e-12 for height in placed)
        gap = min(0.062, 0.94 / max(1, num_letters - 1))
        assert all(np.diff(placed) >= gap - 1e-9)


def test_letters_in_the_middle_keep_their_mean():
    heights = [0.50, 0.51, 0.52]
    assert np.mean(spread(heights)) == pytest.approx(0.51)
    assert np.diff(spread(heights)) == pytest.approx([0.062, 0.062])
