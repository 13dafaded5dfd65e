"""`publish`: a bundle as a folder that is a repository of the Hugging Face Hub, uploaded only where that is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sightline.bundles.bundle import EMBEDDED, FOLDER as OWN, load_bundle
from sightline.bundles.published import FOLDER, check_hub_name
from sightline.errors import InvalidBundle, InvalidValue
from sightline.integrations.hub.model_cards import check_licence, readme
from sightline.integrations.hub.repository import ATTRIBUTES, README, attributes, check_folder, copy_bundle
from sightline.integrations.hub.upload import check_login, upload
from sightline.records import Bundle, Run
from sightline.system.files import staged_files, write_atomically


@dataclass(frozen=True)
class Published:
    """A folder that was published; printed, it is what `sightline publish` says.

    Attributes:
        path: the folder: `README.md`, and the bundle in `bundle/`.
        readme: the card of the hub.
        bundle: the folder that `predict` and all others take; so is `path`.
        remarks: what is otherwise in it than in the bundle that it was made of, a sentence each.
        page: its page on the hub, None where nothing was uploaded.

    Example:
        >>> import sightline
        >>> published = sightline.publish("runs/mnist-fast-001", out="digits")
        >>> published.remarks[-1][:38], published.page
        ('Where its images lie on the machine th', None)
    """

    path: Path
    readme: Path
    bundle: Path
    remarks: tuple[str, ...] = ()
    page: str | None = None

    def __str__(self) -> str:
        lines = [f"{'changed':<11}{remark}" for remark in self.remarks]
        lines.append(f"{'published':<11}{self.path}, with {self.readme.name} and {self.bundle.name}/")
        lines.append(f"{'uploaded':<11}{self.page or 'nothing: --hub OWNER/NAME does'}")
        return "\n".join(lines)

    __repr__ = __str__


def publish(  # noqa: PLR0913  # each is an option of the command line, and none is a group of others
    bundle: str | Path | Bundle | Run,
    *,
    out: str | Path,
    hub: str | None = None,
    public: bool = False,
    licence: str | None = None,
    datasets: Sequence[str] = (),
    with_images: bool = False,
    overwrite: bool = False,
) -> Published:
    """Write a bundle as a folder for the Hugging Face Hub, which `predict` takes as well; upload it if that is asked.

    The folder holds `README.md`, a card with what the hub reads of one (licence, tags, data sets, the test figures with
    their intervals in words), and the bundle, whose answers are the same byte for byte. No image leaves, and no name of
    one, unless `with_images` says so: made images take the place of those by which the bundle is verified, small
    pictures and names of train images are left out, and so is where the images lie on this machine. What had to be
    changed is told, in the card, too; where nothing had to be, the bundle is the same file by file.

    Args:
        bundle: a bundle or a run, or its folder.
        out: the folder; new or empty, or one that was published before, with `overwrite`.
        hub: OWNER/NAME of a repository on the hub that the folder is uploaded to, by the login of `hf auth login`;
            nothing is sent where it is left out. A repository that is new is private.
        public: whether a repository that is new may be seen by everybody.
        licence: of the whole, as the hub calls it: "apache-2.0"; else "other", and the card says what is known.
        datasets: names of data sets on the hub that it learned from; of "mnist" and others by name, known.
        with_images: whether images of the data, and their names, may travel with the bundle as it is.
        overwrite: whether a folder that was published before may be renewed.

    Returns:
        The Published: where it lies, and what was changed.

    Raises:
        InvalidBundle: there is none, or it is the network inside the package.
        InvalidValue: no repository or licence is called so, or `out` lies in a bundle.
        OutputExists: `out` is taken.
        MissingPackage: huggingface_hub is not installed, and `hub` was named.
        CannotWrite: the disk is full or read-only; nobody is logged in; or the hub refuses or cannot be reached, and
            the folder is there all the same.

    Example:
        >>> import sightline
        >>> published = sightline.publish("runs/mnist-fast-001", out="digits", licence="cc-by-sa-3.0")
        >>> published.readme.name, published.bundle.name, published.page
        ('README.md', 'bundle', None)
        >>> images = sightline.load("mnist").images[-3:]
        >>> there, here = (sightline.predict(place, images) for place in ("digits", "runs/mnist-fast-001"))
        >>> bool((there.logits == here.logits).all())
        True
    """
    place = Path(out)
    for name, said in ((hub, f"--hub {hub}"), *((one, f"--dataset {one}") for one in _names(datasets))):
        if name is not None:
            check_hub_name(name, said=said)
    check_licence(licence)
    if public and hub is None:
        raise InvalidValue(
            "--public says who may see a repository on the hub, and none is named. Add --hub OWNER/NAME."
        )
    opened = load_bundle(bundle.bundle if isinstance(bundle, Run) else bundle)
    if opened.path == OWN:
        raise InvalidBundle(
            f"{EMBEDDED}: it comes with the package and is not yours to publish. Name a run or a bundle."
        )
    check_folder(place, [opened.path], overwrite=overwrite)
    if hub is not None:
        check_login(hub)
    with staged_files(place) as staging:
        remarks = copy_bundle(opened, staging / FOLDER, with_images=with_images)
        card = (staging / FOLDER / "card.md").read_text(encoding="utf-8")
        copied = load_bundle(staging / FOLDER, is_own=True)
        text = readme(copied, card, hub=hub, licence=licence, datasets=_names(datasets), remarks=remarks)
        write_atomically(staging / README, text)
        write_atomically(staging / ATTRIBUTES, attributes())
    page = None if hub is None else upload(place, hub, is_public=public)
    return Published(place, place / README, place / FOLDER, tuple(remarks), page)


def _names(datasets: Sequence[str]) -> list[str]:
    return [datasets] if isinstance(datasets, str) else [*datasets]
