"""What is measured: models, P-RGE and its baselines, quantization, export, artifacts, tasks."""
