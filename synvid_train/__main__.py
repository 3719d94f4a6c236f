"""Run the command line with `python -m synvid_train`, or on several GPUs with torchrun:

torchrun --nproc-per-node 8 -m synvid_train pretrain --preset moving_shapes
"""

from __future__ import annotations

from synvid_train.cli.main import main

if __name__ == "__main__":
    main(prog_name="synvid-train")
