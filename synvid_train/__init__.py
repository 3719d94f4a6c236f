"""Train VideoMAE on rendered clips: pre-training, fine-tuning, probing and evaluation. The command is `synvid-train`."""
