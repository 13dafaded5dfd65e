"""A bundle as a repository of the Hugging Face Hub: its folder, its card, and the upload that is asked for."""
