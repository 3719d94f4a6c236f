"""`python -m synvid_train`, for torchrun: torchrun --nproc-per-node 8 -m synvid_train pretrain --preset moving_shapes."""

from synvid_train.cli import main

if __name__ == "__main__":
    main(prog_name="synvid-train")
