"""Label Studio's exports of classification: JSON as it keeps tasks, JSON-MIN and CSV as its converter writes them."""

from __future__ import annotations

import csv
import json

import pytest

import sightline
from sightline.data.sources.loading import is_table, open_again
from sightline.errors import InvalidSource

CAT, DOG, COW = "0e0d4ab8-cat_1.jpg", "9cbb1d2f-my dog.jpg", "77aa0b1c-cow.jpg"


def task(number, image, *answers, control="choice", **changes):
    """A task as the export in JSON has it, with an annotation for each list of choices."""
    annotations = [
        {
            "id": 10 * number + at,
            "completed_by": at + 1,
            "result": [
                {
                    "value": {"choices": choices},
                    "id": "8dRWKGl-Ns",
                    "from_name": control,
                    "to_name": "image",
                    "type": "choices",
                    "origin": "manual",
                }
            ]
            if choices
            else [],
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": "2024-05-02T10:08:39.157926Z",
            "updated_at": "2024-05-02T10:08:39.157968Z",
            "draft_created_at": None,
            "lead_time": 2.834,
            "prediction": {},
            "result_count": 1,
            "unique_id": "d9bb6f4c-8f5a-4a53-a8e5-c1c9b6f9d2d1",
            "task": number,
            "project": 1,
        }
        for at, choices in enumerate(answers)
    ]
    return {
        "id": number,
        "annotations": annotations,
        "file_upload": image.rpartition("/")[2],
        "drafts": [],
        "predictions": [{"result": [{"type": "choices", "from_name": control, "value": {"choices": ["Guess"]}}]}],
        "data": {"image": image},
        "meta": {},
        "inner_id": number,
        "total_annotations": len(annotations),
        "project": 1,
        **changes,
    }


def write(folder, content, name="project-1-at-2024-05-02-10-09-1a2b3c4d.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


TASKS = [
    task(1, f"/data/upload/1/{CAT}", ["Cat"]),
    task(2, f"/data/upload/1/{DOG.replace(' ', '%20')}", ["Dog"], ["Dog"]),
    task(3, f"/data/upload/1/{COW}", ["Cat"], ["Cow"]),
    task(4, "/data/upload/1/11111111-gone.jpg", ["Cow"]),
    task(5, f"/data/upload/1/{CAT}"),
]


@pytest.mark.parametrize("inside", ["", "images/", "1/", "media/upload/1/"])
def test_uploaded_images_are_found_beside_the_file_wherever_they_were_copied(pictures, told, inside):
    folder = pictures([f"{inside}{name}" for name in (CAT, DOG, COW)])
    data = sightline.load(write(folder, TASKS))
    assert told(data) == {f"{inside}{CAT}": ("Cat", ""), f"{inside}{DOG}": ("Dog", "")}
    assert dict(data.left_out) == {
        f"{inside}{COW}": "has different labels: Cat, Cow (task 3)",
        "1/11111111-gone.jpg": "there is no such file (task 4)",
        f"1/{CAT}": "has no label (task 5)",
    }


def test_images_under_the_names_that_they_had_before_they_were_uploaded_are_found(pictures, told):
    folder = pictures(["photos/cat_1.jpg", "photos/my dog.jpg"])
    assert told(sightline.load(write(folder, TASKS))) == {
        "photos/cat_1.jpg": ("Cat", ""),
        "photos/my dog.jpg": ("Dog", ""),
    }


def test_files_of_local_storage_are_found_by_the_end_of_their_paths(pictures, told):
    folder = pictures(["cats/1.jpg", "dogs/1.jpg", "dogs/2+2 é.jpg"])
    tasks = [
        task(1, "/data/local-files/?d=srv/photos/cats/1.jpg", ["Cat"]),
        task(2, "/data/local-files/?d=srv/photos/dogs/1.jpg", ["Dog"]),
        task(3, "http://localhost:8080/data/local-files/?d=srv/photos/dogs/2%2B2%20%C3%A9.jpg", ["Dog"]),
        task(4, "/data/local-files/?d=srv/photos/../../secret.jpg", ["Dog"]),
        task(5, "https://example.org/5.jpg", ["Dog"]),
        task(6, "s3://bucket/6.jpg", ["Dog"]),
        task(7, "/data/local-files/?d=/srv/photos/cats%2F..%2F7.jpg", ["Dog"]),
    ]
    data = sightline.load(write(folder, tasks))
    assert told(data) == {"cats/1.jpg": ("Cat", ""), "dogs/1.jpg": ("Dog", ""), "dogs/2+2 é.jpg": ("Dog", "")}
    assert {reason for _, reason in data.left_out} == {
        "leads out of its folder (task 4)",
        "is an address, and nothing is downloaded (task 5)",
        "is an address, and nothing is downloaded (task 6)",
        "leads out of its folder (task 7)",
    }


def minimal():
    """What the converter makes of the first two tasks for JSON-MIN."""
    return [
        {
            "image": f"/data/upload/1/{name}",
            "id": number,
            "choice": label,
            "annotator": 1,
            "annotation_id": 10 * number,
            "created_at": "2024-05-02T10:08:39.157926Z",
            "updated_at": "2024-05-02T10:08:39.157968Z",
            "lead_time": 2.834,
        }
        for number, name, label in ((1, CAT, "Cat"), (2, DOG, "Dog"))
    ]


def test_the_minimal_json_says_the_same(pictures, told):
    folder = pictures([CAT, DOG])
    path = write(folder, json.dumps(minimal(), indent=2, ensure_ascii=False), "result.json")
    assert told(sightline.load(path)) == {CAT: ("Cat", ""), DOG: ("Dog", "")}
    several = [*minimal(), {**minimal()[0], "choice": {"choices": ["Cat", "Cow"]}}]
    with pytest.raises(
        InvalidSource, match=rf"1/{CAT} has several labels: Cat, Cow \(task 1\)\. If an image may have several"
    ):
        sightline.load(write(folder, several, "result.json"))


@pytest.mark.parametrize(("name", "separator"), [("result.csv", ","), ("result.tsv", "\t")])
def test_the_table_says_the_same(pictures, told, name, separator):
    folder = pictures([CAT, DOG])
    with (folder / name).open("w", encoding="utf8") as stream:
        columns = sorted(minimal()[0])
        writer = csv.DictWriter(stream, fieldnames=columns, quoting=csv.QUOTE_NONNUMERIC, delimiter=separator)
        writer.writeheader()
        writer.writerows({**record, "annotator": "me@example.org"} for record in minimal())
    data = sightline.load(folder / name)
    assert told(data) == {CAT: ("Cat", ""), DOG: ("Dog", "")}
    text = (folder / name).read_text(encoding="utf-8").replace('"Cat"', '"{""choices"": [""Cat"", ""Cow""]}"')
    with pytest.raises(InvalidSource, match="has several labels: Cat, Cow"):
        sightline.load(write(folder, text, name))


def test_where_there_are_several_questions_or_images_one_is_named(pictures, told):
    folder = pictures(["a.jpg", "b.jpg"])
    tasks = [
        task(number, name, [label], control="species", data={"front": name, "back": f"x{name}", "note": "n"})
        for number, name, label in ((1, "a.jpg", "Cat"), (2, "b.jpg", "Dog"))
    ]
    for one in tasks:
        one["annotations"] += task(9, "a.jpg", ["Sharp"], control="quality")["annotations"]
    path = write(folder, tasks)
    assert is_table(path)
    with pytest.raises(
        InvalidSource, match=r"answers of choices by several names: quality, species\. Say which: .*--column label"
    ):
        sightline.load(path)
    with pytest.raises(
        InvalidSource, match=r"called as images are by several names: back, front\. Say which: .*--column path"
    ):
        sightline.load(path, columns={"label": "species"})
    with pytest.raises(InvalidSource, match=r"no answers of choices by the name of 'specie'\. Did you mean 'species'"):
        sightline.load(path, columns={"label": "specie"})
    with pytest.raises(InvalidSource, match="has no split; columns name path and label"):
        sightline.load(path, columns={"split": "species"})
    expected = {"a.jpg": ("Cat", ""), "b.jpg": ("Dog", "")}
    assert told(sightline.load(path, columns={"path": "front", "label": "species"})) == expected
    assert told(open_again(path, {"columns": "path=front,label=species"})) == expected
    with pytest.raises(InvalidSource, match="quality, species"):
        open_again(path, {"columns": "path=front,label=other"})


def test_skipped_annotations_do_not_count_and_empty_ones_contradict_nobody(pictures, told):
    folder = pictures(["a.jpg", "b.jpg"])
    tasks = [task(1, "a.jpg", ["Cat"], ["Dog"], []), task(2, "b.jpg", ["Dog"])]
    tasks[0]["annotations"][1]["was_cancelled"] = True
    assert told(sightline.load(write(folder, tasks))) == {"a.jpg": ("Cat", ""), "b.jpg": ("Dog", "")}
    old = [{**one, "completions": one.pop("annotations")} for one in tasks]
    assert told(sightline.load(write(folder, old))) == {"a.jpg": ("Cat", ""), "b.jpg": ("Dog", "")}


def test_the_order_of_tasks_and_of_annotations_says_nothing(pictures):
    folder = pictures([CAT, DOG, COW])
    turned = [{**one, "annotations": one["annotations"][::-1]} for one in reversed(TASKS)]
    one = sightline.load(write(folder, TASKS, "one.json"), name="pets")
    other = sightline.load(write(folder, turned, "other.json"), name="pets")
    assert (one.fingerprint, one.left_out) == (other.fingerprint, other.left_out)


BOXES = task(1, "a.jpg", ["Cat"])
BOXES["annotations"][0]["result"][0] |= {"type": "rectanglelabels", "value": {"x": 1, "rectanglelabels": ["Cat"]}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            [BOXES],
            "holds no answers of choices. An image is of a class by Choices in Label Studio; boxes are exported",
        ),
        ([task(1, "a.jpg", ["Cat"]), 7], "number 2 of its tasks is no object"),
        ([task(1, "a.jpg", ["Cat"]), {"id": 2, "annotations": []}], "the task 2 has no object `data`"),
        ([task(1, "a.jpg", ["Cat"], data={"text": "x"})], "holds no data that are called as images are"),
        ('[{"annotations": [], "annotations": []}]', "the key 'annotations' is given twice"),
        ([{"annotation_id": 1, "image": "a.jpg", "choice": None}], "none of its 1 task has an answer"),
        ([task(1, "a.jpg", ["Cat"]), task(2, "b.jpg", ["Cat"])], "one class only"),
        ([task(1, "/data/upload/1/x.jpg", ["Cat"])], "none of the 1 files it names exists, such as '1/x.jpg'"),
    ],
)
def test_a_file_that_is_none_is_refused(pictures, content, message):
    path = write(pictures(["a.jpg", "b.jpg"]), content)
    with pytest.raises(InvalidSource, match=message) as refusal:
        sightline.load(path)
    assert str(refusal.value).startswith(f"{path}: ")
