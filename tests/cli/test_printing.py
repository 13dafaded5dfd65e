"""An ensemble in a few lines."""

from __future__ import annotations

from sightline.cli.printing import ensemble_lines


def _member(vote: float, accuracy: float | None) -> dict:
    return {"vote": vote, "test": None if accuracy is None else {"accuracy": accuracy}}


def test_members_are_counted_and_their_mean_told() -> None:
    members = [_member(1.0, 0.9), _member(1.0, 0.8)]
    assert ensemble_lines({"kind": "deep", "members": members, "out_of_bag": None}) == [
        "ensemble   deep of 2 members, each alone 0.8500 on test (from 0.8000 to 0.9000)"
    ]


def test_who_is_not_in_a_soup_is_told() -> None:
    members = [_member(1.0, None), _member(0.0, None), _member(1.0, None)]
    assert ensemble_lines({"kind": "greedy-soup", "members": members, "out_of_bag": None}) == [
        "ensemble   greedy-soup of 2 of 3 members"
    ]


def test_figures_out_of_the_bag_have_their_interval() -> None:
    bag = {"accuracy": 0.75, "accuracy_interval": [0.7, 0.8], "num_images": 1200}
    lines = ensemble_lines({"kind": "bagging", "members": [_member(1.0, None)] * 2, "out_of_bag": bag})
    assert lines[1] == (
        "out of bag accuracy 0.7500 [0.7000, 0.8000] on 1,200 train images, each judged by members that did not see it"
    )
