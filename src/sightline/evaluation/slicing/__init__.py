"""Which parts of the judged images are looked at by themselves: classes, groups, properties, columns, clusters."""
