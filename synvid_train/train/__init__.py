"""The training loop, pre-training and fine-tuning."""
