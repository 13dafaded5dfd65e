"""What an ensemble needs: refused before its first member is trained where it is not there."""

from __future__ import annotations

import dataclasses

import pytest

from sightline.errors import InvalidValue
from sightline.system.backends import load_keras

load_keras()

from sightline.training.ensembles import member_recipes  # noqa: E402  # the backend is chosen first
from sightline.training.ensembles.member_recipes import check_possible, num_weights  # noqa: E402
from sightline.training.loop.network import new_network  # noqa: E402


def test_weights_are_those_of_every_member(prepared_job) -> None:
    _, data = prepared_job({"ensemble.members": 3, "ensemble.networks": "mlp,lenet5"})
    sizes = []
    for name in ("mlp", "lenet5"):
        _, alone = prepared_job({"model.name": name})
        sizes.append(new_network(alone).count_params())
    # Networks take turns: mlp, lenet5, mlp.
    assert num_weights(data) == 2 * sizes[0] + sizes[1]


def test_more_members_than_memory_holds_are_refused(prepared_job, monkeypatch: pytest.MonkeyPatch) -> None:
    _, data = prepared_job({})
    total = num_weights(data)
    # What the system says is free.
    monkeypatch.setattr(member_recipes, "free_bytes", lambda: 2**31)
    check_possible(data, jobs=1)
    monkeypatch.setattr(member_recipes, "free_bytes", lambda: 2**30)
    with pytest.raises(InvalidValue, match=r"--jobs 2 processes need about 2\.0 GiB of memory, and 1\.0 GiB are free"):
        check_possible(data, jobs=2)
    monkeypatch.setattr(member_recipes, "free_bytes", lambda: 4 * total)
    with pytest.raises(InvalidValue, match=rf"ensemble\.members=3 networks of {total:,} weights need about"):
        check_possible(data, jobs=1)
    monkeypatch.setattr(member_recipes, "free_bytes", lambda: None)
    check_possible(data, jobs=2)


def test_a_soup_without_validation_rows_is_refused_before_it_is_trained(prepared_job) -> None:
    _, data = prepared_job({"ensemble.kind": "soup"})
    splits = dataclasses.replace(data.splits, validation=data.splits.validation[:0])
    with pytest.raises(InvalidValue, match=r"ensemble\.kind=soup judges weights on validation rows, and 'corners' has"):
        check_possible(dataclasses.replace(data, splits=splits), jobs=1)
