"""What went wrong, with the evidence: usual causes tried on tensors, layers, spans and pixels."""
