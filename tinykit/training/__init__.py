"""Update plans and the training graph."""
