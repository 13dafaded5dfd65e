"""The commands, one module a noun: each parses, calls one function of the library, prints."""
