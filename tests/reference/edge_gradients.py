"""Reference for edge_gradients: every boundary between two neighbouring pixels moves with the surface that ends there.

A boundary that moves by delta pixels from A towards its right or upper neighbour B adds 1/2 delta (I_A - I_B) to both.
delta is zero; its derivatives are those of a point of the occluding triangle, or of the line where two planes meet.

Source: Pidhorskyi et al., "Rasterized Edge Gradients: Handling Discontinuities Differentiably", ECCV 2024; the
divergence theorem; homogeneous rasterization (Olano and Greer 1997).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .rasterize import decode_id
from .topology import neighbours

ONE_SURFACE, A_OCCLUDES, B_OCCLUDES, INTERSECTION, CREASE = range(5)
GAVE_UP, FOLD, OPEN_EDGE, REACHED = range(4)
MAX_STEPS = 32
FARTHEST = 1 + 1 / 128  # pixels; rasterizers snap corners
STEP = 2 / 3  # both of a boundary whose place is not known, and of the extrapolation of colours


def edge_gradients(color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor, crease: bool | str = True) -> Tensor:
    """Returns `color` with derivatives with respect to `pos`.

    Args:
        color: [N, H, W, C].
        rast: [N, H, W, 4] = (u, v, z/w, id + 1). Ids past the end of tri count as no triangle.
        pos: clip-space positions, [V, 4] or [N, V, 4].
        tri: vertex indices, integer [T, 3].
        crease: whether jumps of colour between two triangles of one surface count; "flat": all differences do.

    Returns:
        float64 [N, H, W, C].
    """
    color, pos, tri = color.double(), pos.double(), tri.long()
    pos = pos.expand(len(color), *pos.shape[-2:])
    ids = decode_id(rast[..., 3])
    ids = torch.where((ids >= 0) & (ids < len(tri)), ids, -1)
    beyond = neighbours(tri)
    out = color
    for axis in (0, 1):  # along X, along Y
        # Every pair along Y is one along X of the transposed image.
        image, seen, moved = [t.transpose(1, 2) if axis else t for t in (color, ids, out)]
        pairs = _Pairs(image.detach(), seen, pos, tri, beyond, axis)
        jump, delta, where = pairs.motion(crease)
        change = 0.5 * jump * (delta - delta.detach())[:, None]
        n, row, column = where
        moved = moved.index_put((n, row, column), change, accumulate=True)
        moved = moved.index_put((n, row, column + 1), change, accumulate=True)
        out = moved.transpose(1, 2) if axis else moved
    return out


class Plane(NamedTuple):
    """lambda = barycentrics / w of P triangles at a point, [P, 3], and their change per pixel along X and Y.

    They solve sum lambda_k (x_k, y_k, w_k) = (f_x, f_y, 1), which is affine in f.
    """

    corners: Tensor  # [P, 3, 4]
    value: Tensor
    slope: tuple[Tensor, Tensor]

    def depth(self) -> Tensor:
        return (self.value * self.corners[..., 2]).sum(-1)

    def depth_slope(self, axis: int) -> Tensor:
        return (self.slope[axis] * self.corners[..., 2]).sum(-1)


def plane(corners: Tensor, f: Tensor, pixel: Tensor) -> Plane:
    """Of triangles [P, 3, 4], at points f [P, 2] in normalised device coordinates; a pixel measures `pixel` [2]."""
    inverse = torch.linalg.inv_ex(corners[..., [0, 1, 3]].mT)[0]  # infinite for triangles without area
    value = (inverse @ torch.nn.functional.pad(f, (0, 1), value=1.0)[..., None])[..., 0]
    return Plane(corners, value, (inverse[..., 0] * pixel[0], inverse[..., 1] * pixel[1]))


def step_limit(corners: Tensor, size: Tensor) -> Tensor:
    """100 times the height of projected triangles over their longest edge; 0 with a corner behind the eye."""
    before = (corners[..., 3] > 0).all(-1)
    point = corners[..., :2] / corners[..., 3:].where(corners[..., 3:] > 0, 1.0) * size / 2
    side = point - point.roll(1, 1)
    area = (side[:, 0, 0] * side[:, 1, 1] - side[:, 0, 1] * side[:, 1, 0]).abs()
    return torch.where(before, 100 * area / side.square().sum(-1).amax(-1).clamp(min=1e-30), 0.0)


class _Pairs:
    """All pairs of an image's neighbours along one axis that see different triangles."""

    def __init__(self, color: Tensor, ids: Tensor, pos: Tensor, tri: Tensor, beyond: Tensor, axis: int):
        self.color, self.ids, self.pos, self.tri, self.beyond, self.axis = color, ids, pos, tri, beyond, axis
        height, width = ids.shape[1:]  # of the image or, along Y, the transposed image
        self.size = torch.tensor([height, width] if axis else [width, height], dtype=torch.float64)
        self.pixel = 2 / self.size
        self.n, self.row, self.column = (ids[:, :, 1:] != ids[:, :, :-1]).nonzero(as_tuple=True)
        self.a, self.b = ids[self.n, self.row, self.column], ids[self.n, self.row, self.column + 1]
        centre = torch.stack([self.row, self.column] if axis else [self.column, self.row], -1)
        self.fa = (2 * centre + 1) / self.size - 1
        self.step = torch.nn.functional.one_hot(torch.tensor(axis), 2) * self.pixel
        self.fb = self.fa + self.step

    def corners(self, which: Tensor, triangle: Tensor) -> Tensor:
        return self.pos[self.n[which, None], self.tri[triangle]]

    def planes(self, which: Tensor) -> tuple[Plane, Plane]:
        """Of both triangles of pairs that see two, each at its own pixel."""
        a, b = (self.corners(which, t[which]).detach() for t in (self.a, self.b))
        return plane(a, self.fa[which], self.pixel), plane(b, self.fb[which], self.pixel)

    def nearer(self, a: Plane, b: Plane) -> tuple[Tensor, Tensor]:
        """By how much a pair's own triangle is nearer at A, and at B."""
        za, zb, sa, sb = a.depth(), b.depth(), a.depth_slope(self.axis), b.depth_slope(self.axis)
        return zb - sb - za, za + sa - zb

    def classify(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The class of each pair, and where the walk from the occluder (of intersections: A) ended."""
        kind = torch.where(self.b < 0, A_OCCLUDES, torch.where(self.a < 0, B_OCCLUDES, ONE_SURFACE))
        both = ((self.a >= 0) & (self.b >= 0)).nonzero()[:, 0]
        a, b = self.planes(both)
        at_a, at_b = self.nearer(a, b)
        least = 0.2 * (a.depth_slope(self.axis).abs() + b.depth_slope(self.axis).abs()) + 1e-6
        found = torch.where((at_a > 0) & (at_b > 0) & (at_a + at_b > least), INTERSECTION, ONE_SURFACE)
        found = torch.where((at_a > least) & (at_b < -least), A_OCCLUDES, found)
        kind[both] = torch.where((at_b > least) & (at_a < -least), B_OCCLUDES, found)
        end, t, how = self.walk(kind)
        return torch.where(how == REACHED, ONE_SURFACE, kind), end, t, how

    def walk(self, kind: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Over the surface to its outline or the other pixel's: the last triangle, how far, and why it ended there."""
        from_b = kind == B_OCCLUDES
        current, t = torch.where(from_b, self.b, self.a), torch.zeros(len(kind), dtype=torch.float64)
        how, f = torch.full_like(kind, GAVE_UP), torch.where(from_b[:, None], self.fb, self.fa)
        going = (kind != ONE_SURFACE).nonzero()[:, 0]
        for _ in range(MAX_STEPS):
            at = current[going]
            corners = self.corners(going, at).detach()
            here = plane(corners, f[going], self.pixel)
            slope = torch.where(from_b[going, None], -1, 1) * here.slope[self.axis]
            times = torch.where(slope < 0, -here.value / slope, torch.inf)
            exit_time, side = times.min(-1)
            beyond = self.beyond[at, (side + 1) % 3]  # of side k, from vertex k to the next, opposite corner k + 2
            beyond = torch.where(beyond < -1, -2 - beyond, beyond)
            opposite = self.tri[beyond // 3, (beyond % 3 + 2) % 3]
            folded = corners.clone()
            folded[torch.arange(len(going)), side] = self.pos[self.n[going], opposite].detach()
            same_side = torch.linalg.det(folded[..., [0, 1, 3]]) * torch.linalg.det(corners[..., [0, 1, 3]]) > 0
            result = torch.where(beyond // 3 == torch.where(from_b, self.a, self.b)[going], REACHED, GAVE_UP)
            result = torch.where(beyond < 0, OPEN_EDGE, torch.where(same_side, FOLD, result))
            lost = (exit_time > FARTHEST) | ~here.value.isfinite().all(-1)
            how[going] = torch.where(lost, GAVE_UP, result)
            ended = lost | (result != GAVE_UP)
            t[going] = exit_time.clamp(0, 1)
            current[going[~ended]] = beyond[~ended] // 3
            going = going[~ended]
        return current, t, how

    def boundary(self, kind: Tensor, end: Tensor, t: Tensor, how: Tensor) -> tuple[Tensor, Tensor]:
        """The triangle and the distance from the occluder's centre at which occlusions end."""
        own = torch.where(kind == B_OCCLUDES, self.b, self.a)
        triangle = torch.where((how == FOLD) | (how == OPEN_EDGE), end, own)
        every = torch.arange(len(kind))
        limit = step_limit(self.corners(every, triangle).detach(), self.size)
        far = torch.where(how == OPEN_EDGE, torch.maximum(t, limit.clamp(max=0.5)), limit.clamp(max=STEP))
        return triangle, torch.where(how == FOLD, t, far)

    def motion(self, crease: bool | str) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Of the boundaries that count: the jump of colour [P, C], delta [P], and the pixel A as three indices [P]."""
        kind, *walked = self.classify()
        which, crease_jump = self.creases(kind, crease) if crease else (self.n[:0], self.color[0, 0, :0])
        counts = kind.clone()
        counts[which] = CREASE
        jump = self.jump(torch.zeros_like(self.ids).index_put((self.n, self.row, self.column), counts))
        parts = [(which, crease_jump, self.crease_motion(which))]
        triangle, far = self.boundary(kind, *walked)
        for one, f, direction in ((A_OCCLUDES, self.fa, 1), (B_OCCLUDES, self.fb, -1)):
            which = (kind == one).nonzero()[:, 0]
            f = f[which] + direction * far[which, None] * self.step
            parts.append((which, jump[which], self.carried(which, triangle[which], f)))
        which = (kind == INTERSECTION).nonzero()[:, 0]
        parts.append((which, jump[which], self.crossing(which)))
        which = torch.cat([part[0] for part in parts])
        where = self.n[which], self.row[which], self.column[which]
        return torch.cat([part[1] for part in parts]), torch.cat([part[2] for part in parts]), where

    def crease_motion(self, which: Tensor) -> Tensor:
        """That of where A's triangle ends, if B's begins there; else half of that, and half of where B's ends."""
        a, b = self.planes(which)
        ends = []
        for own, f, direction, triangle in ((a, self.fa, 1, self.a), (b, self.fb, -1, self.b)):
            slope = direction * own.slope[self.axis]
            t, corner = torch.where(slope < 0, -own.value / slope, torch.inf).min(-1)
            at = f[which] + direction * t.clamp(0, 1)[:, None] * self.step
            ends.append((self.carried(which, triangle[which], at), corner))
        beyond = self.beyond[self.a[which], (ends[0][1] + 1) % 3]
        beyond = torch.where(beyond < -1, -2 - beyond, beyond)
        touches = (beyond >= 0) & (beyond // 3 == self.b[which])
        return torch.where(touches, ends[0][0], 0.5 * (ends[0][0] + ends[1][0]))

    def carried(self, which: Tensor, triangle: Tensor, f: Tensor) -> Tensor:
        """How far the point f of a triangle moves along the axis, in pixels: zero, with its derivative."""
        corners = self.corners(which, triangle)
        weight = plane(corners.detach(), f, self.pixel).value
        offset = corners[..., self.axis] - f[:, self.axis, None] * corners[..., 3]
        return (weight * offset).sum(-1) / self.pixel[self.axis]

    def crossing(self, which: Tensor) -> Tensor:
        """How far the line where two planes meet moves along its normal, as its share along the axis."""
        a, b = self.planes(which)
        at_a, at_b = self.nearer(a, b)
        f = self.fa[which] + (at_a / (at_a + at_b))[:, None] * self.step
        a, b = (plane(self.corners(which, t[which]), f, self.pixel) for t in (self.a, self.b))
        slope = torch.stack([a.depth_slope(k) - b.depth_slope(k) for k in (0, 1)], -1).detach()
        return -(a.depth() - b.depth()) * slope[:, self.axis] / slope.square().sum(-1)

    def color_at(self, which: Tensor, offset: int) -> Tensor:
        """Of the pixel so far along the axis from A, or of the nearest that there is."""
        return self.color[self.n[which], self.row[which], self.clamped(which, offset)]

    def clamped(self, which: Tensor, offset: int) -> Tensor:
        return (self.column[which] + offset).clamp(0, self.color.shape[2] - 1)

    def jump(self, kinds: Tensor) -> Tensor:
        """I_A - I_B, each extrapolated to the boundary from the pixel behind where that shows the same surface.

        Args:
            kinds: [N, H, W], the class of the pair of each pixel and its next one.
        """
        every, last = torch.arange(len(self.n)), self.color.shape[2] - 1
        result = []
        for own, behind, triangle in ((0, -1, self.a), (1, 2, self.b)):
            column = self.column + behind
            pair = kinds[self.n, self.row, (self.column + min(own, behind)).clamp(0, last)]
            smooth = (triangle >= 0) & (column >= 0) & (column <= last) & (pair == ONE_SURFACE)
            inner = self.color_at(every, own)
            result.append(inner + STEP * smooth[:, None] * (inner - self.color_at(every, behind)))
        return result[0] - result[1]

    def lines_of_one_color(self, which: Tensor, own: int, across: Tensor) -> Tensor:
        """On which of the four lines through pixel A (own 0) or B (1) others see its triangle, [P, 4].

        None if one of them has another colour, beside a jump whose square is `across`.
        """
        height, width = self.ids.shape[1:]
        n, row, column = self.n[which], self.row[which], self.column[which] + own
        lines = torch.zeros((len(which), 4), dtype=torch.bool)
        constant = torch.ones(len(which), dtype=torch.bool)
        for line, (up, right) in enumerate(((0, 1), (1, 0), (1, 1), (1, -1))):
            for sign in (1, -1):
                y, x = row + sign * up, column + sign * right
                inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
                y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
                same = inside & (self.ids[n, y, x] == self.ids[n, row, column])
                change = (self.color[n, y, x] - self.color[n, row, column]).square().sum(-1)
                constant &= ~same | (change <= 1e-4 * across)
                lines[:, line] |= same
        return lines & constant[:, None]

    def creases(self, kind: Tensor, crease: bool | str) -> tuple[Tensor, Tensor]:
        """Pairs within one surface whose colours jump, and the jumps."""
        which = ((self.a >= 0) & (self.b >= 0) & (kind == ONE_SURFACE)).nonzero()[:, 0]
        behind_a, a, b, behind_b = (self.color_at(which, k) for k in (-1, 0, 1, 2))
        jump = a - b
        if crease == "flat":
            return which, jump
        across = jump.square().sum(-1)
        lines_a, lines_b = (self.lines_of_one_color(which, own, across) for own in (0, 1))
        flat = (across > 0) & lines_a.any(1) & lines_b.any(1) & ((lines_a | lines_b).sum(1) > 1)
        at = [self.ids[self.n[which], self.row[which], self.clamped(which, k)] for k in (-1, 0, 1, 2)]
        column = self.column[which]
        two = (column >= 1) & (column + 2 < self.color.shape[2]) & (at[0] == at[1]) & (at[2] == at[3])
        extrapolated = (a + 0.5 * (a - behind_a)) - (b + 0.5 * (b - behind_b))
        inside = (a - behind_a).square().sum(-1) + (b - behind_b).square().sum(-1)
        sharp = ~flat & two & (extrapolated.square().sum(-1) > 16 * inside)
        jump = torch.where(flat[:, None], jump, extrapolated)
        return which[flat | sharp], jump[flat | sharp]
