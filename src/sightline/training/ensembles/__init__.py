"""Several networks trained to answer as one."""
