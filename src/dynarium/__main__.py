"""``python -m dynarium``."""

from dynarium.cli import main

raise SystemExit(main())
