"""The paper's language model on the Penn Treebank: its tables, the search, where widening pays."""
