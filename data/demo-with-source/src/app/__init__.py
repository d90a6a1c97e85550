"""Studio: writes short texts to a brief, draft by draft, until an evaluator is satisfied."""
