"""The orchestrator: plans, runs, collects, judges and stores measurements of training steps on devices."""
