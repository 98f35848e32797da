"""Corpora: one layout of files a module; each lists the utterances of a split."""
