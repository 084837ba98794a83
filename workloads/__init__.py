"""What is measured: models, methods, quantization, export, artifacts, tasks. Independent of transports.

Start at workload.py, then export/program.py, which builds the modules of a training step.
"""
