"""Models that we trained ourselves, as they are loaded and asked: encoder, specialists and routers."""
