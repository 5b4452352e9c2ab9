"""What the measurements have in common: counting by layer, cycles, memory, the golden reference."""
