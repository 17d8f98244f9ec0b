"""What scripts/gpu-check does on a card, and how it tells it."""
