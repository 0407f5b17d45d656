"""Write the vector fields of a run of slds-nascar or slds-lorenz, as they stand in its report, as a picture of their own.

    python benchmarks/slds_fields.py RUN PICTURE.svg [NAME OF THE X AXIS] [NAME OF THE Y AXIS]

The run must have been evaluated (``dynarium evaluate RUN``).
"""

import sys
from pathlib import Path

from dynarium.reporting.fields import true_and_inferred
from dynarium.reporting.runs import read_run


def main() -> None:
    if len(sys.argv) not in (3, 5):
        print(__doc__)
        return
    axes = (sys.argv[3], sys.argv[4]) if len(sys.argv) == 5 else None
    pictures = [true_and_inferred(record.group("field"), axes) for record in read_run(Path(sys.argv[1])).tasks]
    picture = next((picture for picture in pictures if picture), None)
    if picture is None:
        sys.exit("no vector field in the results of this run")
    Path(sys.argv[2]).write_text(picture + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
