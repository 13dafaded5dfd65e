"""How far figures other than a share can be trusted: intervals of losses, of means over classes, of rankings."""
