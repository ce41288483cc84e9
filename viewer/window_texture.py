"""The window's pictures as textures."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .camera import Camera
from .grid import Legend, Picture

if TYPE_CHECKING:
    from .images import Snapshot
    from .pictures import Source
    from .window_cuda import CudaTexture

__all__ = ["Texture"]


class Texture:
    """One picture as a texture, uploaded when it changes. Its first row is the picture's top row."""

    def __init__(self, gl: Any):
        self._gl = gl
        self._texture: Any = None
        self._state: tuple | None = None
        self._kept: object = None
        self._on_gpu: CudaTexture | None = None
        self.label = ""
        self.legend: Legend | None = None
        self.shape = (1, 1)

    @property
    def number(self) -> int:
        """OpenGL's name of the texture."""
        return self._on_gpu.number if self._on_gpu is not None else self._texture.glo

    def show(self, name: str, source: "Source | Picture", camera: Camera, size: tuple[int, int]) -> None:
        """Takes what there is to see, if it has changed; meshes are drawn in `size` (height, width)."""
        if isinstance(source, Picture):
            if source is not self._kept:
                self._kept = source
                self._upload(source)
            return
        from .images import Snapshot  # only in the loop's process, which has torch
        from .pictures import make_pictures, picture_state

        state = picture_state(source, camera, size)
        if state == self._state:
            return
        self._state, self._kept = state, source  # kept, so that no other takes its place
        if isinstance(source, Snapshot) and source.tensor.is_cuda and self._show_on_gpu(name, source):
            return
        (picture,) = make_pictures({name: source}, camera, mesh_size=size)
        self._upload(picture)

    def _upload(self, picture: Picture) -> None:
        self.label, self.legend, self.shape = picture.name, picture.legend, picture.pixels.shape[:2]
        size = self.shape[1], self.shape[0]
        if self._texture is None or self._texture.size != size:
            self.release()
            self._texture = self._gl.texture(size, 3, alignment=1)
            self._texture.filter = self._gl.LINEAR_MIPMAP_LINEAR, self._gl.NEAREST
        self._texture.write(np.ascontiguousarray(picture.pixels), alignment=1)
        self._texture.build_mipmaps()

    def _show_on_gpu(self, name: str, source: "Snapshot") -> bool:
        """Keeps a picture of a CUDA tensor on the GPU; False where OpenGL and CUDA do not work together."""
        from .window_cuda import CudaTexture, works

        if not works(source.tensor.device.index):
            return False
        if self._on_gpu is None:
            self.release()
            self._on_gpu = CudaTexture(source.tensor.device.index)
        self.label, self.legend, self.shape = self._on_gpu.show(name, source)
        return True

    def release(self) -> None:
        """Gives the texture back."""
        for texture in (self._texture, self._on_gpu):
            if texture is not None:
                texture.release()
        self._texture = self._on_gpu = None
