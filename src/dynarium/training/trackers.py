"""Trackers: where curves, images and videos go besides ``metrics.jsonl``."""

import importlib
import io
import tempfile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from dynarium.errors import UserError


@runtime_checkable
class Tracker(Protocol):
    """Takes what a run has to show."""

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Log named numbers."""
        ...

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        """Log a picture, ``uint8`` [h, w, c]."""
        ...

    def video(self, name: str, frames: np.ndarray, step: int, fps: int = 4) -> None:
        """Log a video, ``uint8`` [t, h, w, c]."""
        ...

    def close(self) -> None:
        """Finish writing."""
        ...


def make_tracker(name: str, directory: Path, config: dict[str, Any]) -> Tracker:
    """Create a tracker.

    Raises:
        UserError: Its package is not installed.
    """
    if name == "tensorboard":
        return TensorBoard(directory)
    try:
        module = importlib.import_module(name)
    except ImportError:
        raise UserError(f"training.trackers: {name} needs a package: pip install 'dynarium[{name}]'") from None
    return WandbLike(module, directory, config)


class TensorBoard:
    """TensorBoard events; videos are animated GIFs, which TensorBoard plays without further packages."""

    def __init__(self, directory: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(directory))

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Log named numbers."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        """Log a picture."""
        self.writer.add_image(name, image, step, dataformats="HWC")

    def video(self, name: str, frames: np.ndarray, step: int, fps: int = 4) -> None:
        """Log a video."""
        from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        picture = Summary.Image(
            height=frames.shape[1],
            width=frames.shape[2],
            colorspace=3,
            encoded_image_string=_gif(frames, fps),
        )
        value = Summary.Value(tag=name, image=picture)
        self.writer._get_file_writer().add_summary(Summary(value=[value]), step)

    def close(self) -> None:
        """Finish writing."""
        self.writer.close()


class WandbLike:
    """wandb, or trackio, which speaks the same words."""

    def __init__(self, module: Any, directory: Path, config: dict[str, Any]) -> None:
        self.module = module
        options = {"dir": str(directory)} if module.__name__ == "wandb" else {}
        module.init(project="dynarium", name=directory.name, config=config, **options)

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Log named numbers."""
        self.module.log(values, step=step)

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        """Log a picture."""
        self.module.log({name: self.module.Image(image)}, step=step)

    def video(self, name: str, frames: np.ndarray, step: int, fps: int = 4) -> None:
        """Log a video."""
        with tempfile.TemporaryDirectory() as folder:  # from an array they encode with packages that may not be there
            file = Path(folder) / "video.gif"
            file.write_bytes(_gif(frames, fps))
            self.module.log({name: self.module.Video(str(file), format="gif")}, step=step)

    def close(self) -> None:
        """Finish writing."""
        self.module.finish()


def _gif(frames: np.ndarray, fps: int) -> bytes:
    stream = io.BytesIO()
    images = [Image.fromarray(frame.squeeze(-1) if frame.shape[-1] == 1 else frame) for frame in frames]
    images[0].save(stream, "GIF", save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0)
    return stream.getvalue()
