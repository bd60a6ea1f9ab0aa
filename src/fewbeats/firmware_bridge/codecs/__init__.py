"""Wire formats, one file each: pure, incremental, with an encoder beside each decoder."""
