"""Jobs that do not know of each other, on the cores of this machine or on a cluster."""

import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, TypeVar

from dynarium.errors import UserError

Backend = Literal["loky", "dask", "ray"]
"""``loky``: processes of this machine; ``dask`` or ``ray``: a cluster that shares the file system."""

T = TypeVar("T")


def run_jobs(jobs: Sequence[Callable[[], T]], workers: int = 1, backend: Backend = "loky") -> Iterator[T]:
    """Run jobs that can be pickled in whatever processes the backend has; yield what they return as they are done.

    A single job, or the jobs of a single worker, run in this process, in order.
    """
    if backend == "loky" and (workers == 1 or len(jobs) == 1):
        for job in jobs:
            yield job()
        return
    import joblib

    # Ray's backend cannot hand results over one by one.
    order = "list" if backend == "ray" else "generator_unordered"
    with joblib.parallel_config(backend=backend, n_jobs=workers), warnings.catch_warnings():
        # Processes that have grown are replaced between two jobs; nothing is lost.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
        yield from joblib.Parallel(return_as=order)(joblib.delayed(_call)(job) for job in jobs)  # pyright: ignore[reportReturnType]


def cluster(backend: Backend, workers: int, scheduler: str | None) -> AbstractContextManager[object]:
    """Connect to the cluster of a backend, or start a local one.

    Raises:
        UserError: The backend's package is not installed, or its scheduler does not answer.
    """
    try:
        if backend == "dask":
            from distributed import Client

            if scheduler is None:
                with _deaf_to_ctrl_c():
                    return Client(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            return Client(scheduler, timeout=20)
        if backend == "ray":
            import ray  # pyright: ignore[reportMissingImports]
            from ray.util.joblib import register_ray  # pyright: ignore[reportMissingImports]

            ray.init(address=scheduler, num_cpus=None if scheduler else workers)
            register_ray()
    except ImportError:
        raise UserError(f"--backend {backend} needs a package: pip install 'dynarium[{backend}]'") from None
    except OSError as error:
        raise UserError(f"--scheduler {scheduler}: no answer ({error})") from None
    return nullcontext()


def _call(job: Callable[[], T]) -> T:
    return job()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Start processes that leave Ctrl-C to this one, which ends them quietly."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, old)
