"""Scenes: enlarged films with what a model believes and plans drawn over them."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from dynarium.reporting.html import Html, tag
from dynarium.reporting.page import section
from dynarium.reporting.pictures import animation
from dynarium.reporting.rows import words
from dynarium.reporting.runs import RunRecord, TaskRecord
from dynarium.reporting.strips import animated

SIDE = 168
"""Least width of an enlarged frame in pixels."""

MOST = 4
"""Sequences shown at once."""

TRAIL, PLAN, GOAL, BELIEF = (150, 150, 150), (70, 160, 255), (60, 200, 120), (255, 150, 40)
WALL = (96, 110, 130)
"""Colour of the second of two channels."""

LEGEND = {
    "marks/truth": ("the way so far", TRAIL),
    "ahead/plan": ("the plan, as a probe reads it off the imagined latents", PLAN),
    "marks/goal": ("the goal", GOAL),
    "marks/belief": ("where a probe reads the dot off the latent", BELIEF),
}

Points = Mapping[str, Float[np.ndarray, "b t *n"]]


def scenes(run: RunRecord) -> Html | None:
    """Show the scenes of every task that left some; ``None`` where none did."""
    content: list[Html] = []
    for record in run.tasks:
        scene = _scene(record)
        if scene is None:
            continue
        films = {words(record.task): scene_film(scene[:MOST], _points(record))}
        if (decoded := record.examples.get("scene/decoded")) is not None and decoded.shape == scene.shape:
            films["decoded"] = scene_film(decoded[:MOST], {}, like=scene[:MOST])
        content.append(tag("h3", words(record.task).capitalize()))
        content.append(_legend([name for name in LEGEND if name in record.examples]))
        content.append(animated(films, None, "", fps=5, size=SIDE))
    return section("scenes", "Scenes", *content) if content else None


def write_scene(record: TaskRecord) -> list[Path]:
    """Write ``<task>-scene.gif`` beside the results of a task.

    Returns:
        The file; none where the task left no scene.
    """
    scene = _scene(record)
    if scene is None:
        return []
    film = np.moveaxis(scene_film(scene[:MOST], _points(record)), -1, 2)
    stem = record.arrays.with_suffix("")
    return [animation(film, stem.with_name(f"{stem.name}-scene.gif"), fps=8)]


def scene_film(
    scene: np.ndarray, points: Points, like: np.ndarray | None = None
) -> UInt8[np.ndarray, "shown steps H W 3"]:
    """Draw points over enlarged frames.

    Args:
        scene: Frames [b, t, c, h, w], of whatever brightness; two channels are an object and walls.
        points: Of pixels (x to the right, y down, the middle of the first pixel at 0): ``marks/truth``, ``marks/goal`` and
            ``marks/belief`` [b, t, n], of which each pair is a point, and ``ahead/plan`` [b, t, f, 2], a path. What is not
            there is not drawn.
        like: Frames whose brightest pixel is drawn white, channel by channel; ``None``: those of the scene.
    """
    pixels = _coloured(scene, scene if like is None else like)
    factor = max(1, math.ceil(SIDE / max(pixels.shape[2:4])))
    large = pixels.repeat(factor, axis=2).repeat(factor, axis=3)
    for b in range(large.shape[0]):
        for t in range(large.shape[1]):
            image = Image.fromarray(large[b, t])
            _draw(ImageDraw.Draw(image), points, b, t, factor)
            large[b, t] = np.asarray(image)
    return large


def _draw(canvas: ImageDraw.ImageDraw, points: Points, b: int, t: int, factor: int) -> None:
    """Draw one step: the trails, the plan from the belief on, the goals, the beliefs."""

    def at(values: np.ndarray) -> list[tuple[float, float]]:
        placed = (np.asarray(values, dtype=np.float64).reshape(-1, 2) + 0.5) * factor
        return [(float(x), float(y)) for x, y in placed if math.isfinite(x) and math.isfinite(y)]

    if (truth := points.get("marks/truth")) is not None:
        for dot in range(truth.shape[-1] // 2):
            trail = at(truth[b, : t + 1, 2 * dot : 2 * dot + 2])
            if len(trail) > 1:
                canvas.line(trail, fill=TRAIL, width=1)
    if (plan := points.get("ahead/plan")) is not None:
        path = at(plan[b, t])
        if (start := points.get("marks/belief")) is not None:
            path = at(start[b, t, :2]) + path
        if len(path) > 1:
            canvas.line(path, fill=PLAN, width=2)
        for x, y in path[1:]:
            canvas.ellipse((x - 2, y - 2, x + 2, y + 2), fill=PLAN)
    if (goal := points.get("marks/goal")) is not None:
        for x, y in at(goal[b, t]):
            canvas.ellipse((x - 7, y - 7, x + 7, y + 7), outline=GOAL, width=2)
    if (belief := points.get("marks/belief")) is not None:
        for x, y in at(belief[b, t]):
            canvas.line((x - 5, y, x + 5, y), fill=BELIEF, width=2)
            canvas.line((x, y - 5, x, y + 5), fill=BELIEF, width=2)


def _coloured(scene: np.ndarray, like: np.ndarray) -> UInt8[np.ndarray, "b t h w 3"]:
    """Return the frames as RGB, each channel stretched so that the brightest pixel of ``like`` is white."""
    frames, brightest = (np.nan_to_num(np.asarray(x, dtype=np.float64)).clip(0, None) for x in (scene, like))
    frames = frames / np.maximum(brightest.max(axis=(0, 1, 3, 4), keepdims=True), 1e-12)
    frames = np.moveaxis(frames, 2, -1)
    if frames.shape[-1] == 2:
        dot, wall = frames[..., :1], frames[..., 1:]
        frames = np.maximum(dot, wall * np.array(WALL) / 255)
    elif frames.shape[-1] != 3:
        frames = np.repeat(frames.mean(-1, keepdims=True), 3, axis=-1)
    return (frames.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _scene(record: TaskRecord) -> np.ndarray | None:
    """Return the frames of a scene [b, t, c, h, w]; ``None`` where the task left none."""
    scene = record.examples.get("scene")
    return scene if scene is not None and scene.ndim == 5 and scene.size else None


def _points(record: TaskRecord) -> dict[str, np.ndarray]:
    return {name: record.examples[name] for name in LEGEND if name in record.examples}


def _legend(names: list[str]) -> Html:
    keys = []
    for name in names:
        text, colour = LEGEND[name]
        swatch = tag("rect", x=0, y=0, width=14, height=10, fill=f"rgb{colour}".replace(" ", ""))
        drawing = tag("svg", swatch, viewBox="0 0 14 10", width=14, height=10, aria_hidden="true")
        keys.append(tag("span", drawing, " ", text, class_="key"))
    return tag("div", *keys, class_="legend")
