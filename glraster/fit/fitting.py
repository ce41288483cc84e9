"""The whole of a fit: geometry, then appearance, with a checkpoint now and then."""

import contextlib
import dataclasses
import os
import time
import zlib
from pathlib import Path
from typing import Any

import torch

import glraster
from glraster.mesh import Mesh
from glraster.viewer import Viewer
from glraster.whole_files import whole

from .appearance import Appearance
from .drawing import draw, of_texture
from .frame import Frame
from .geometry import Geometry
from .photos import Photos
from .settings import Settings

__all__ = ["Fitted", "fit_mesh"]

_VERSION = 1  # of checkpoints
_PERIOD = 20.0  # seconds between two of them


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What a fit found.

    Attributes:
        mesh: in the world of the cameras, with a texture.
        light: [9, 3], spherical harmonics of the light around (`glraster.shading.harmonics_irradiance`), linear; None:
            the texture is as the photos show the object.
        frame: the sphere in which the object was looked for.
        seconds: that the fit took, in all its runs.
    """

    mesh: Mesh
    light: torch.Tensor | None
    frame: Frame
    seconds: float

    @torch.no_grad()
    def draw(self, glctx: glraster.RasterizeContext, photos: Photos) -> torch.Tensor:
        """Returns what the cameras of photos see of the mesh: [N, H, W, 4], sRGB multiplied by opacity, then opacity.

        On the CPU, whatever the context's device.
        """
        mesh = self.mesh.to(glctx.device)
        assert mesh.uv is not None and mesh.uv_tri is not None
        albedo = of_texture(glraster.shading.to_linear(mesh.textures[0]).sqrt(), mesh.uv, mesh.uv_tri)
        light = None if self.light is None else self.light.to(glctx.device)
        pos = ((mesh.pos.double().cpu() - self.frame.centre) / self.frame.radius).float().to(glctx.device)
        matrices, size = self.frame.matrices(photos.views), (photos.images.shape[1], photos.images.shape[2])
        images = [draw(glctx, pos, mesh.tri, one[None].to(pos), size, albedo, light).cpu() for one in matrices]
        return torch.cat(images)


def fit_mesh(
    photos: Photos,
    settings: Settings | None = None,
    *,
    glctx: glraster.RasterizeContext | None = None,
    viewer: Viewer | None = None,
    checkpoint: str | os.PathLike | None = None,
    resume: bool = False,
) -> Fitted:
    """Finds a textured mesh, and the light on it, that look as photos do.

    Args:
        photos: of `read_photos`.
        settings: None: the defaults.
        glctx: a context; None: the software rasterizer on the CPU.
        viewer: what shows it; None: nothing but a progress bar.
        checkpoint: a file for the state, written whole every 20 seconds and at the end.
        resume: go on from that file, if it is there; to the same result as without an interruption.

    Raises:
        ValueError: the cameras do not tell where the object is, or the checkpoint is of other photos or settings.
        RuntimeError: scipy or xatlas is not installed.
        KeyboardInterrupt: somebody interrupted it, or ended the viewer's loop. `resume` goes on.
    """
    settings = settings or Settings()
    glctx = glctx or glraster.SoftwareRasterizer("cpu")
    with contextlib.ExitStack() as stack:
        viewer = viewer or stack.enter_context(Viewer("off"))
        run = _Run(photos, settings, glctx, None if checkpoint is None else Path(checkpoint))
        if resume and run.checkpoint is not None and run.checkpoint.exists():
            run.restore()
        for step in viewer.loop(range(run.done, run.total), desc="fitting"):
            run.step(step, viewer)
        run.save()
        if run.done < run.total:
            raise KeyboardInterrupt
        return run.result()


class _Run:
    """The two parts, one after the other, as steps that are counted through."""

    def __init__(self, photos: Photos, settings: Settings, glctx: glraster.RasterizeContext, checkpoint: Path | None):
        self._photos, self._settings, self._glctx, self.checkpoint = photos, settings, glctx, checkpoint
        self._frame = Frame.around(photos)
        self._common = glctx, photos, self._frame.matrices(photos.views), settings
        self._part: Geometry | Appearance = Geometry(*self._common)
        self.done, self.total = 0, settings.geometry_steps + settings.texture_steps
        self._seconds, self._began = 0.0, time.monotonic()
        self._saved = self._began

    def step(self, step: int, viewer: Viewer) -> None:
        number = step - self._settings.geometry_steps
        if number == 0 and isinstance(self._part, Geometry):
            self._part = Appearance(*self._common, self._part)
        did = self._part.step(step if number < 0 else number)
        self.done = step + 1
        viewer.log(loss=did.loss)
        viewer.show(fit=did.image, photo=did.photo)
        viewer.mesh(did.pos, self._part.tri)
        if time.monotonic() - self._saved > _PERIOD:
            self.save()

    def result(self) -> Fitted:
        found = self._part.mesh()
        light = None if self._part.light is None else self._part.light.detach()
        return Fitted(found.replace(pos=self._frame.to_world(found.pos)), light, self._frame, self.seconds)

    @property
    def seconds(self) -> float:
        return self._seconds + time.monotonic() - self._began

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must be of to go on from it."""
        images = self._photos.images.contiguous().numpy()
        photos = {"count": len(self._photos), "size": list(images.shape[1:3]), "checksum": zlib.crc32(images.tobytes())}
        return {"version": _VERSION, **dataclasses.asdict(self._settings), **photos}

    def save(self) -> None:
        if self.checkpoint is None:
            return
        content = {"identity": self._identity(), "done": self.done, "seconds": self.seconds}
        content |= {"geometry": isinstance(self._part, Geometry), "state": self._part.state()}
        with whole(self.checkpoint) as partial:
            torch.save(content, partial)
        self._saved = time.monotonic()

    def restore(self) -> None:
        assert self.checkpoint is not None
        try:
            content = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            identity = content["identity"]
        except Exception as error:  # every kind of rubbish has its own
            raise ValueError(f"{self.checkpoint} is no checkpoint of a fit: {error}") from error
        wanted = self._identity()
        if differing := [name for name in wanted if identity.get(name) != wanted[name]]:
            was = ", ".join(f"{name} {identity.get(name)} instead of {wanted[name]}" for name in differing)
            raise ValueError(f"{self.checkpoint} is of another fit: {was}")
        if not content["geometry"]:
            self._part = Appearance(*self._common)
        self._part.restore(content["state"])
        self.done, self._seconds = content["done"], content["seconds"]
