"""Fetch the emoji packages with the ordinary npm client and cut the sprite atlases out of them.

A fresh clone already has the atlases (`workers/training/sprites/*.png`), so this stage is only needed to make
them again. Licences of the drawings: see `workers/training/sprites/LICENCES.md`.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from workers.training.objects import OBJECTS
from workers.training.sprites import COLUMNS, EDGE, atlas_path


@dataclass(frozen=True)
class Package:
    """An npm package that holds one drawing style.

    Attributes:
        spec: name@version, as npm takes it.
        archive: the file `npm pack` makes of it.
        sha256: of that file.
        member: path of a drawing in the archive, with {code} for the code point.
    """

    spec: str
    archive: str
    sha256: str
    member: str


PACKAGES: dict[str, Package] = {
    "noto": Package(
        "emoji-datasource-google@16.0.0",
        "emoji-datasource-google-16.0.0.tgz",
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
        "package/img/google/64/{code}.png",
    ),
    "twemoji": Package(
        "emoji-datasource-twitter@16.0.0",
        "emoji-datasource-twitter-16.0.0.tgz",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        "package/img/twitter/64/{code}.png",
    ),
    "fluent": Package(
        "@lobehub/fluent-emoji-3d@1.1.0",
        "lobehub-fluent-emoji-3d-1.1.0.tgz",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        "package/assets/{code}.webp",
    ),
}


class PackageError(RuntimeError):
    """A package could not be fetched, or is not the one that was measured."""


def fetch(package: Package, folder: Path) -> Path:
    """Return the package's archive in the folder, packed by npm if it is not there yet.

    Raises:
        PackageError: npm failed, or the archive has another SHA-256.
    """
    archive = folder / package.archive
    if not archive.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", package.spec]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PackageError(f"npm pack {package.spec} failed: {done.stderr.strip()[-500:]}")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise PackageError(f"{archive.name} has SHA-256 {digest}, expected {package.sha256}")
    return archive


def build_atlas(style: str, folder: Path) -> Path:
    """Cut the vocabulary's drawings out of a style's package into one PNG, 64 x 64 pixels each."""
    package = PACKAGES[style]
    rows = -(-len(OBJECTS) // COLUMNS)
    atlas = Image.new("RGBA", (COLUMNS * EDGE, rows * EDGE))
    with tarfile.open(fetch(package, folder)) as archive:
        # One pass over the names: a gzip archive cannot be read at random without unpacking it each time.
        wanted = {_member(package, code, archive): place for place, code in enumerate(OBJECTS.values())}
        for member in archive.getmembers():
            if member.name in wanted and (data := archive.extractfile(member)) is not None:
                row, column = divmod(wanted[member.name], COLUMNS)
                drawing = Image.open(io.BytesIO(data.read())).convert("RGBA")
                drawing = drawing.resize((EDGE, EDGE), Image.Resampling.LANCZOS)
                atlas.paste(drawing, (column * EDGE, row * EDGE))
    atlas.save(atlas_path(style), optimize=True)
    return atlas_path(style)


def _member(package: Package, code: str, archive: tarfile.TarFile) -> str:
    """The drawing's path: some packages leave the emoji variation selector out of the file name."""
    names = {package.member.format(code=form) for form in (code, code.removesuffix("-fe0f"))}
    found = names & set(archive.getnames())
    if not found:
        raise PackageError(f"{package.archive} has no drawing of {code}")
    return max(found, key=len)
