"""What the stack does with questions of known difficulty and known answers."""
