"""Runs the samples and makes the gallery's pictures of what they draw; `make pictures` does, and takes some minutes.

    python docs/gallery_pictures.py [NAME ...]

Expected: docs/gallery/NAME.webp for each sample, or for those named, at most 480 pixels wide.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import gallery
from PIL import Image

from glraster import mesh
from glraster.cli import main as main_of_glraster

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "samples"))

from bear import bear  # noqa: E402 - a sample

WIDTH = 480
# What a sample writes for --out, which of it is shown, and options that shorten what would take minutes.
RUNS: dict[str, tuple[str, str, list[str]]] = {
    "triangle": ("picture.png", "picture.png", []),
    "cube": ("", "cube.png", []),
    "pose": ("picture.png", "picture.png", ["--trials", "8"]),
    "fit_mesh": ("", "comparison.png", ["--max-iter", "600"]),
    "remesh_fit": ("", "comparison.png", ["--seconds", "1000", "--max-iter", "150", "--resolution", "256"]),
    "finemesh": ("picture.png", "picture.png", []),
    "intersect": ("picture.png", "picture.png", []),
    "gauss_newton": ("picture.png", "picture.png", ["--max-iter", "40"]),
    "earth": (
        "",
        "earth_anisotropic.png",
        ["--mip", "--max-iter", "60", "--pictures", "32", "--size", "128", "--resolution", "128"],
    ),
    "floor": ("", "floor.png", []),
    "envphong": ("", "envphong.png", ["--max-iter", "80", "--resolution", "96"]),
    "materials": ("picture.png", "picture.png", []),
    "peel": ("picture.png", "picture.png", ["--max-iter", "60", "--resolution", "64"]),
    "bake": ("", "bake.png", ["--max-iter", "60"]),
    "ranges": ("picture.png", "picture.png", []),
    "distributed": ("", "loss.png", ["--max-iter", "40"]),
    "soft_turntable": ("", "turntable.png", ["--frames", "16"]),
    "soft_deform": ("", "comparison.png", ["--max-iter", "60"]),
    "soft_pose": ("", "trials.png", ["--trials", "8", "--max-iter", "40"]),
    "stochastic_texture": ("", "stochastic_texture.png", ["--size", "256", "--max-iter", "50"]),
    "stochastic_mesh": ("", "comparison.png", ["--max-iter", "120"]),
    "stochastic_subdivision": (
        "",
        "comparison.png",
        ["--size", "96", "--resolution", "96", "--cells", "10", "--max-iter", "60"],
    ),
    "stochastic_cel": ("picture.png", "picture.png", ["--max-iter", "80"]),
    "stochastic_splats": ("picture.png", "picture.png", ["--splats", "256", "--max-iter", "100"]),
    "stochastic_volume": ("picture.png", "picture.png", ["--voxels", "16", "--max-iter", "80"]),
    "render_ray": ("", "", []),
}


def run(name: str, folder: Path) -> Image.Image:
    """Runs a sample on the CPU; what it draws."""
    if name == "render_ray":
        return rendered(folder)
    out, shown, options = RUNS[name]
    place = folder / name
    place.mkdir()
    on_cpu = [] if name.startswith("stochastic") else ["--device", "cpu"]
    command = [sys.executable, f"samples/{name}.py", "--out", str(place / out), *on_cpu, *options]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    return Image.open(place / shown).convert("RGB")


def rendered(folder: Path) -> Image.Image:
    """What a task of render_ray.py draws; Ray itself is not needed for that."""
    mesh.save(folder / "bear.obj", bear(60))
    outputs = ["color", "normals", "depth"]
    options = ["--views", "3", "--resolution", "240", "--outputs", ",".join(outputs), "--depth-scale", "12000"]
    if main_of_glraster(["render", str(folder / "bear.obj"), "--out", str(folder / "ray"), "--jobs", "1", *options]):
        raise SystemExit("error: glraster render failed")
    rows = [sorted((folder / "ray" / "bear" / output).glob("*.png")) for output in outputs]
    picture = Image.new("RGB", (3 * 240, len(rows) * 240), "white")
    for y, row in enumerate(rows):
        for x, path in enumerate(row):
            view = Image.open(path)
            view = view.convert("RGBA") if y < 2 else view.point(lambda depth: depth / 256).convert("L")
            picture.paste(view, (x * 240, y * 240), view if view.mode == "RGBA" else None)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *RUNS], metavar="NAME", help="samples (default: all)")
    names = parser.parse_args().names or list(RUNS)
    gallery.PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            picture = run(name, Path(folder))
            width = min(WIDTH, picture.width)
            small = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
            small.save(gallery.PICTURES / f"{name}.webp", quality=80, method=6)
            print(f"Wrote {gallery.PICTURES / name}.webp.", flush=True)


if __name__ == "__main__":
    main()
