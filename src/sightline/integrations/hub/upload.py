"""The upload to the Hugging Face Hub: only what was asked for, with the hub's own login, which is never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sightline.bundles.published import FOLDER, imported_hub, silent_hub
from sightline.errors import CannotWrite
from sightline.system.text import printable


def check_login(name: str) -> None:
    """Refuse before anything is written where nobody is logged in to the hub."""
    hub = imported_hub(f"--hub {name}")
    if not hub.get_token():
        raise CannotWrite(f"--hub {name}: nobody is logged in to the hub on this machine. Run: hf auth login")


def upload(folder: Path, name: str, *, is_public: bool) -> str:
    """Upload a published folder; the address of its page.

    A repository that is not there yet is made, private unless `is_public`; of one that is there, what lay in the
    bundle's folder and is no longer part of it goes in the same commit, and who may see it stays as it is.
    """
    hub = imported_hub(f"--hub {name}")
    try:
        with silent_hub(hub):
            api = hub.HfApi(library_name="sightline")
            made = api.create_repo(name, repo_type="model", private=not is_public, exist_ok=True)
            api.upload_folder(
                repo_id=made.repo_id,
                folder_path=str(folder),
                commit_message="Publish a bundle of Sightline",
                delete_patterns=[f"{FOLDER}/*"],
            )
    except Exception as error:  # what its client raises has no one root
        raise CannotWrite(
            f"--hub {name}: {_reason(hub, error)}. What was written to {printable(str(folder))} is whole; the same "
            "command with --overwrite tries again."
        ) from error
    return str(made)


def _reason(hub: Any, error: Exception) -> str:
    """Why it failed, in words of ours: what the hub says may hold addresses that are signed."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return "the hub does not take the login of this machine. Run: hf auth login"
    if status == 403:
        return "whoever is logged in here may not write there. Name a repository of yours, or log in with a write token"
    if status is not None:
        return f"the hub answers with status {status}"
    if isinstance(error, hub.errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so that nothing is sent"
    return f"the hub cannot be reached ({type(error).__name__})"
