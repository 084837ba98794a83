"""A method: P-RGE with random signs, under another name and with its own learning rate."""

from workloads.method import Method

METHOD = Method(
    "acme-signs",
    "P-RGE with random signs, as Acme has it",
    "Acme's own",
    step="acme_lab.signs_step",
    noise="rademacher",
    default_lr=2e-4,
)
