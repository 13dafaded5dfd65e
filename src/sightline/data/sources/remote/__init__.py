"""Sources that lie in object stores: s3://, gs://, az://, hf://. Nothing here is imported before one is named."""
