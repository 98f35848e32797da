"""Speech recognition: corpora, features, models, the CTC task, decoding and error rates."""
