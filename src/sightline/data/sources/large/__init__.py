"""Large files that hold many images each: tar shards, and Parquet files of a column of images."""
