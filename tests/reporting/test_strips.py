import base64
import re
from io import BytesIO

import numpy as np
from PIL import Image

from dynarium.reporting.strips import MARK, MOST_FRAMES, animated, ordered, strip

OBSERVED = np.array([True, False, True, True, False, True])


def films(ball: np.ndarray) -> dict[str, np.ndarray]:
    return ordered({name: ball for name in ("smooth", "reconstruction", "truth", "observed")})


def test_truth_first_and_what_cannot_be_aligned_goes(ball: np.ndarray) -> None:
    given = {"sample-1": ball, "filter": ball, "truth": ball / 255, "short": ball[:, :3], "flat": ball[0, 0]}
    assert list(ordered(given)) == ["truth", "filter", "sample-1"]
    assert ordered({"flat": ball[0, 0]}) == {}
    assert list(ordered({name: ball.repeat(4, axis=2) for name in ("filter", "truth")})) == ["truth", "filter"]


def test_a_strip_shows_each_frame_and_marks_what_was_inferred(ball: np.ndarray) -> None:
    text = strip(films(ball), 1, OBSERVED, "missing")
    assert text.count('class="gone"') == 2, "two frames of the observed film are not there"
    assert text.count("<image ") == 4 * 6 - 2
    assert text.count('class="unseen"') == 2, "the smoothed frames, neither truth nor reconstruction"
    assert "2 missing" in text
    assert [word for word in re.findall(r'strip-label">([^<]*)', text)] == [
        "truth",
        "observed",
        "smoothed",
        "reconstructed",
    ]
    first = re.search(r"base64,([^\"]*)", text)
    assert first
    with Image.open(BytesIO(base64.b64decode(first[1]))) as image:
        assert (np.asarray(image) == ball[1, 0, 0]).all()


def test_without_a_mask_nothing_is_marked(ball: np.ndarray) -> None:
    text = strip(films(ball), 0, None, "")
    assert "unseen" not in text
    assert "gone" not in text


def test_long_films_are_thinned_from_first_to_last_frame() -> None:
    text = strip(ordered({"truth": np.zeros((1, 90, 1, 4, 4), dtype=np.uint8)}), 0, None, "")
    assert text.count("<image ") == MOST_FRAMES
    assert ">0</text>" in text
    assert "90 steps" in text


def test_the_animation_has_every_frame_in_step(ball: np.ndarray) -> None:
    observed = np.broadcast_to(OBSERVED, (4, 6))
    text = animated(films(ball), observed, "missing")
    sources = re.findall(r"base64,([^\"]*)", text)
    still, moving = (Image.open(BytesIO(base64.b64decode(source))) for source in sources)
    with still, moving:
        assert getattr(still, "n_frames", 1) == 1
        assert moving.n_frames == 6  # type: ignore[attr-defined]
        moving.seek(1)
        pixels = np.asarray(moving.convert("RGB"))
    cell = 32 + 2 * 2 + 2
    assert pixels.shape[:2] == (4 * cell, 4 * cell)
    corners = [tuple(pixels[row * cell, 0]) == MARK for row in range(4)]
    assert corners == [False, True, True, False]
    assert (pixels[2:34, 2:34, 0] == ball[0, 1, 0]).all()
