"""What master and worker must agree on, and nothing else."""
