"""What a search may choose for each layer, and the projection of a choice onto a budget."""
