"""What the screenshots of the documentation show."""

import torch
import trimesh

from glraster.viewer import Viewer
from glraster.viewer.draw import MeshView


def put_on_show(viewer: Viewer) -> None:
    """A mesh, its normals and depth, and a falling loss."""
    ball = trimesh.creation.icosphere(4)
    vertices, faces = torch.tensor(ball.vertices).float(), torch.tensor(ball.faces).int()
    vertices = vertices * (1 + 0.2 * (4 * vertices).sin().prod(dim=1, keepdim=True))
    for i in viewer.loop(range(60)):
        viewer.log(loss=0.9**i, error=1 / (1 + i))
    viewer.mesh(vertices, faces, name="guess")
    for mode in ("normals", "depth"):
        viewer.show(**{mode: MeshView(mode, vertices, faces, mode=mode).draw(viewer.camera, (300, 300))[0]})
