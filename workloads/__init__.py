"""What is measured: models, methods, quantization, export, artifacts, tasks. Knows nothing of transports.

Start at workload.py, then export/program.py, which makes the modules of a training step.
"""
