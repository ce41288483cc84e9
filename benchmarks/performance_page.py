"""Writes the tables of cpu.py into a page, between its two marks."""

import math
import re
from pathlib import Path

__all__ = ["write_page"]

BEGIN, END = "<!-- what benchmarks/cpu.py measured -->", "<!-- end -->"


def write_page(page: Path, command: str, where: str, rows: list, base, grown: list, compared: list) -> None:
    """Replaces what stands between the marks of `page`.

    Args:
        page: a Markdown file.
        command: that was run.
        where: machine and commit.
        rows: of cpu.py, of all scenes.
        base: the scene of the first table.
        grown: operation, slope over pixels, slope over triangles.
        compared: work, peer, our milliseconds, the peer's.
    """
    in_order = list(dict.fromkeys(row.operation for row in rows))
    text = [f"Measured by `{command} --page docs/performance.md` on {where}.", ""]
    text += [f"![Time over pixels and over triangles]({page.stem}.png)", ""]
    text += [f"{base.images} images of {base.size} x {base.size} pixels, {base.triangles:,} triangles, {base.channels}"]
    text[-1] += f" channels, {base.threads} threads; the last column is the time on one thread over that on two:"
    text += ["", *table(["", "ms", "x floor", "peak MiB", "one thread"], scene_lines(rows, base, in_order))]
    lines = [[operation, f"{pixels:.2f}", f"{triangles:.2f}"] for operation, pixels, triangles in grown]
    text += ["", "Exponents with which time grows, from the second largest scene to the largest (1: linear):", ""]
    text += table(["", "over pixels", "over triangles"], lines)
    for name, attribute in (("Triangles", "triangles"), ("Sides of one image", "size"), ("Channels", "channels")):
        text += ["", f"{name}, milliseconds:", "", *sweep_table(rows, attribute, in_order)]
    lines = [[work, peer, f"{ms:.1f}", f"{peer_ms:.1f}", f"{peer_ms / ms:.2f}"] for work, peer, ms, peer_ms in compared]
    text += ["", f"Beside others, in the same run, {base.threads} threads each unless they have but one:", ""]
    text += table(["", "beside", "ms", "theirs", "times as long"], lines)
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text("\n".join([before + BEGIN, *text, END]) + rest.partition(END)[2])


def table(head: list[str], lines: list[list[str]]) -> list[str]:
    rule = ["---", *["---:" if re.fullmatch(r"[\d.,-]*", cell) else "---" for cell in (lines or [head])[0][1:]]]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *lines)]


def scene_lines(rows: list, base, in_order: list[str]) -> list[list[str]]:
    of_base = {row.operation: row for row in reversed(rows) if row.scene == base}
    alone = {row.operation: row.ms for row in rows if row.threads == 1}
    lines = []
    for operation in in_order:
        row = of_base[operation]
        peak = "-" if math.isnan(row.peak_mib) else f"{row.peak_mib:.0f}"
        one = f"{alone[operation] / row.ms:.2f}" if operation in alone else "-"
        lines.append([operation, f"{row.ms:.2f}", f"{row.ratio:.1f}", peak, one])
    return lines


def sweep_table(rows: list, attribute: str, in_order: list[str]) -> list[str]:
    """Operations against the values of one quantity, of the scenes that differ in nothing else."""
    others = [name for name in ("triangles", "size", "images", "channels", "threads") if name != attribute]
    groups: dict[tuple, dict] = {}
    for row in rows:
        key = tuple(getattr(row, name) for name in others)
        groups.setdefault(key, {}).setdefault(getattr(row, attribute), {})[row.operation] = row.ms
    columns = max(groups.values(), key=len)
    values = sorted(columns)
    lines = [[name, *(f"{columns[v][name]:.1f}" if name in columns[v] else "-" for v in values)] for name in in_order]
    return table(["", *(f"{value:,}" for value in values)], lines)
