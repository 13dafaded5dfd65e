"""From rows to figures: which rows count, what they give, what a run kept of them, and what tests say."""
