"""Where asset values live on disk: Parquet files, adapter directories, JSON reports; each write is committed."""
