"""Runtime pieces: compiled functions over raw addresses that generated modules inline."""
