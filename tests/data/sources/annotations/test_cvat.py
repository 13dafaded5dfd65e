"""CVAT's exports: "CVAT for images 1.1", and "ImageNet 1.0" with and without its images."""

from __future__ import annotations

import zipfile

import pytest

import sightline
from sightline.errors import InvalidSource

XML = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>4</id>
      <name>pets &amp; co</name>
      <size>5</size>
      <mode>annotation</mode>
      <overlap>0</overlap>
      <subset>Train</subset>
      <labels>
        <label>
          <name>cat</name>
          <color>#c06060</color>
          <type>tag</type>
          <attributes>
          </attributes>
        </label>
      </labels>
    </task>
    <dumped>2024-05-02 10:08:39.157926+00:00</dumped>
  </meta>
  <image id="0" name="a.jpg" width="6" height="4">
    <tag label="cat" source="manual">
      <attribute name="certain">true</attribute>
    </tag>
    <box label="ear" source="manual" occluded="0" xtl="1.00" ytl="1.00" xbr="2.00" ybr="2.00" z_order="0">
    </box>
  </image>
  <image id="1" name="deep/b &amp; c.jpg" width="6" height="4">
    <tag label="dog" source="manual">
    </tag>
  </image>
  <image id="2" name="unlabelled.jpg" width="6" height="4">
  </image>
  <image id="3" name="gone.jpg" width="6" height="4">
    <tag label="dog" source="manual">
    </tag>
  </image>
  <image id="4" name="../secret.jpg" width="6" height="4">
    <tag label="dog" source="manual">
    </tag>
  </image>
</annotations>
"""


def write(folder, text, name="annotations.xml"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


@pytest.mark.parametrize("inside", ["", "images/"])
def test_the_tag_of_an_image_is_its_class(pictures, told, inside):
    folder = pictures([f"{inside}{name}" for name in ("a.jpg", "deep/b & c.jpg", "unlabelled.jpg")])
    path = write(folder, XML)
    data = sightline.load(folder)
    assert told(data) == {f"{inside}a.jpg": ("cat", ""), f"{inside}deep/b & c.jpg": ("dog", "")}
    assert told(sightline.load(path)) == told(data)
    assert dict(data.left_out) == {
        "unlabelled.jpg": "has no label (image 2)",
        "gone.jpg": "there is no such file (image 3)",
        "../secret.jpg": "leads out of its folder (image 4)",
    }


def test_subsets_of_a_project_are_splits_and_their_images_lie_in_folders(pictures, told):
    folder = pictures(["images/Train/a.jpg", "images/Validation/a.jpg", "images/default/b.jpg"])
    text = "".join(
        f'  <image id="{number}" name="{name}" subset="{subset}" task_id="{number}" width="6" height="4">\n'
        f'    <tag label="{label}" source="manual">\n    </tag>\n  </image>\n'
        for number, (name, subset, label) in enumerate(
            [("a.jpg", "Train", "cat"), ("a.jpg", "Validation", "dog"), ("b.jpg", "default", "dog")]
        )
    )
    write(folder, f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n{text}</annotations>\n')
    assert told(sightline.load(folder)) == {
        "images/Train/a.jpg": ("cat", "train"),
        "images/Validation/a.jpg": ("dog", "validation"),
        "images/default/b.jpg": ("dog", ""),
    }


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_its_encoding_is_that_which_it_declares(pictures, told, encoding):
    folder = pictures(["a.jpg", "é.jpg"])
    declared = "utf-8" if encoding == "utf-8-sig" else encoding.replace("latin-1", "iso-8859-1")
    text = (
        f'<?xml version="1.0" encoding="{declared}"?><annotations><image name="a.jpg"><tag label="chat"/></image>'
        '<image name="é.jpg"><tag label="vélo"/></image></annotations>'
    )
    assert told(sightline.load(write(folder, text.encode(encoding)))) == {"a.jpg": ("chat", ""), "é.jpg": ("vélo", "")}


def test_an_image_of_several_tags_is_refused_by_name(pictures):
    text = XML.replace('<tag label="dog" source="manual">', '<tag label="dog"></tag><tag label="cat">')
    path = write(pictures(["a.jpg", "deep/b & c.jpg"]), text)
    with pytest.raises(
        InvalidSource, match=r"\.\./secret\.jpg has several labels: cat, dog \(image 4\); so have 2 others"
    ):
        sightline.load(path)


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE annotations [<!ENTITY a "lol">'
    + "".join(
        f'<!ENTITY {chr(98 + at)} "{"&" + chr(97 + at) + ";" * 1}{("&" + chr(97 + at) + ";") * 9}">' for at in range(10)
    )
    + ']><annotations><image name="&k;"><tag label="x"/></image></annotations>'
)
OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE annotations [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    '<annotations><image name="a.jpg"><tag label="&x;"/></image></annotations>'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "declares a document type, which nothing is read from"),
        (OUTSIDE, "declares a document type, which nothing is read from"),
        (XML.replace("</annotations>", ""), "is no readable XML .no element found"),
        (XML.replace("&amp;", "&amp"), "is no readable XML"),
        ("<annotations>" + "<a>" * 40 + "</a>" * 40 + "</annotations>", "nested more than 32 deep"),
        ('<?xml version="1.0" encoding="klingon"?><annotations></annotations>', "is no readable XML"),
        ("<annotations></annotations>", "names no image"),
        ("<x><annotations></annotations></x>", "holds 'x', not 'annotations'"),
        ('<annotations><track label="cat"><box frame="0"/></track></annotations>', "is of a video"),
        (
            '<annotations><image name="a.jpg"><box label="cat"/></image></annotations>',
            r"has 1 shape \(box\)\. Export shapes as COCO",
        ),
        (
            '<annotations><image name="a.jpg" name="b.jpg"><tag label="cat"/></image></annotations>',
            "duplicate attribute",
        ),
        ('<annotations><image><tag label="cat"/></image></annotations>', r"image number-1 has no path"),
    ],
)
def test_a_file_that_is_none_or_does_harm_is_refused(pictures, text, message):
    path = write(pictures(["a.jpg", "b.jpg"]), text)
    with pytest.raises(InvalidSource, match=message) as refusal:
        sightline.load(path)
    assert str(refusal.value).startswith(f"{path}: ")


def test_other_xml_is_no_source(tmp_path):
    for text in ("<html></html>", "annotations", ""):
        with pytest.raises(InvalidSource, match="cannot be opened as a source"):
            sightline.load(write(tmp_path, text, "other.xml"))


def test_lists_without_images_count_lines_of_synsets_from_0(pictures, told):
    folder = pictures(["images/a.jpg", "images/deep/b.jpg", "images/my cat.jpg", "images/c.jpg"])
    write(folder, "dog\nbig cat\nno label\n", "synsets.txt")
    write(folder, 'a.jpg 0\ndeep/b.jpg 0\n"my cat".jpg 1\n', "train.txt")
    write(folder, "c.jpg 1\r\nd.jpg \ngone.jpg 0\n", "Validation.txt")
    write(folder, "Some words about the export.\n", "README.txt")
    data = sightline.load(folder)
    assert told(data) == {
        "images/a.jpg": ("dog", "train"),
        "images/deep/b.jpg": ("dog", "train"),
        "images/my cat.jpg": ("big cat", "train"),
        "images/c.jpg": ("big cat", "validation"),
    }
    assert dict(data.left_out) == {
        "d.jpg": "has no label (Validation line 2)",
        "gone.jpg": "there is no such file (Validation line 3)",
    }
    assert told(sightline.load(folder / "train.txt"))["images/a.jpg"] == ("dog", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg 0\nb.jpg 7\n", r"line 2 names the class 7, and synsets\.txt has no such line"),
        ("a.jpg 0\nb.jpg 99999999999999999999999\n", "names the class 99999999999999999999, and"),
        ("a.jpg 0\nb.jpg one\n", r"line 2 is 'b\.jpg one'; it must be the name of an image and numbers"),
        ("a.jpg 0 1\nb.jpg 1\n", r"a\.jpg has several labels: cat, dog \(line 1\)"),
    ],
)
def test_a_bad_list_is_refused(pictures, text, message):
    folder = pictures(["a.jpg", "b.jpg"])
    write(folder, "dog\ncat\n", "synsets.txt")
    with pytest.raises(InvalidSource, match=message):
        sightline.load(write(folder, text, "default.txt"))


def test_the_export_with_images_is_an_ordinary_folder(pictures, told):
    folder = pictures(["cat/a.jpg", "cat/deep/b.jpg", "dog/c.jpg"])
    assert set(told(sightline.load(folder)).values()) == {("cat", ""), ("dog", "")}
    write(folder, "dog\ncat\n", "synsets.txt")
    assert set(told(sightline.load(folder)).values()) == {("cat", ""), ("dog", "")}, "a list of classes says nothing"


def test_an_export_that_is_still_packed_says_so(pictures, tmp_path):
    path = tmp_path / "task.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(pictures(["images/a.jpg"]) / "images" / "a.jpg", "images/a.jpg")
    with pytest.raises(InvalidSource, match=r"one class only (?!.*unpack)"):
        sightline.load(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("annotations.xml", XML)
    with pytest.raises(InvalidSource, match=r"It holds annotations\.xml: unpack it, and name the folder"):
        sightline.load(path)
