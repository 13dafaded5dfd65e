"""Other people's engines, each where somebody asks for it by name: none is imported before."""
